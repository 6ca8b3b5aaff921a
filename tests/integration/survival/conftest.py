"""What the tests of survival share: a dispatcher in this process, and a server in a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from corral.tasks.store.pool import Pool
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
    with tempfile.TemporaryDirectory(prefix="corral-", dir="/tmp") as folder:
        yield Path(folder)
