"""What the tests of survival share: a dispatcher in this process, and a server in a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chaos.client import PatientClient
from chaos.kept import Kept, corral_up, keeping
from corral.tasks.store.pool import Pool
from doubles.short_folders import lend_short_folder
from doubles.yard import Yard


@pytest.fixture
async def yard(database_url: str, pool: Pool, tmp_path: Path) -> AsyncIterator[Yard]:
    """A dispatcher of this process, which is stopped at the end."""
    yard = Yard(database_url, pool, tmp_path)
    yield yard
    await yard.stop()


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for PostgreSQL's socket."""
    with lend_short_folder() as folder:
        yield folder


@pytest.fixture
def cluster_file(short_folder: Path, request: pytest.FixtureRequest) -> Path:
    """The cluster file of the module: its `CLUSTER`."""
    path = short_folder / "cluster.yaml"
    path.write_text(request.module.CLUSTER)
    return path


@pytest.fixture
async def server(short_folder: Path, cluster_file: Path, database_url: str) -> AsyncIterator[Kept]:
    """A server on the tests' PostgreSQL, started again at once when it is killed."""
    env = {"CORRAL_DATABASE_URL": database_url}
    server = corral_up(short_folder / "data", cluster_file, short_folder / "server.log", env=env)
    async with keeping(server):
        yield server
        await server.stop()


@pytest.fixture
async def client(short_folder: Path) -> AsyncIterator[PatientClient]:
    """A client of whichever server runs on the test's data directory."""
    async with PatientClient(short_folder / "data") as client:
        yield client
