"""A dispatcher on a real database, whose night can be forecast."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from corral.tasks.store.pool import Pool
from doubles.yard import Yard


@pytest.fixture
async def yard(database_url: str, pool: Pool, tmp_path: Path) -> AsyncIterator[Yard]:
    """A yard that is stopped at the end."""
    yard = Yard(database_url, pool, tmp_path)
    yield yard
    await yard.stop()
