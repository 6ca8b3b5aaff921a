"""What the tests of survival share: a dispatcher in this process, and a server in a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

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
