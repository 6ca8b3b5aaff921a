"""A server as a process with two processors to lend, started again at once when it is killed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from chaos.client import PatientClient
from chaos.kept import Kept, corral_up, keeping
from doubles.short_folders import lend_short_folder

CLUSTER = """\
apiVersion: corral/v1
name: lending
nodes: [{name: here, gpus: [], cpu: {slots: 1}}]
engines:
  llama: {enabled: false}
  whisper: {enabled: false}
  piper: {enabled: false}
  sleep: {enabled: true}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket."""
    with lend_short_folder() as folder:
        yield folder


@pytest.fixture
async def server(folder: Path, database_url: str) -> AsyncIterator[Kept]:
    (folder / "cluster.yaml").write_text(CLUSTER)
    env = {"CORRAL_DATABASE_URL": database_url}
    server = corral_up(folder / "data", folder / "cluster.yaml", folder / "server.log", env=env)
    async with keeping(server):
        yield server
        await server.stop()


@pytest.fixture
async def client(folder: Path, server: Kept) -> AsyncIterator[PatientClient]:
    async with PatientClient(folder / "data") as client:
        await client.leading()
        yield client
