"""The storm of `make chaos`, short: real servers, workers, ComfyUI doubles and PostgreSQL are killed under load."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.storm import Size, storm
from doubles.short_folders import lend_short_folder

SEED = 20
"""Any seed must pass; this one draws every kind of kill."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for PostgreSQL's socket."""
    with lend_short_folder("storm") as folder:
        yield folder


async def test_every_task_ends_once_while_everything_is_killed(folder: Path) -> None:
    report = await storm(folder, seed=SEED, size=Size(tasks=60, kills=8, batches=3, drain_s=60))
    assert report.problems == [], (folder / "server.log").read_text()[-5000:]
    assert sum(report.findings.attempts.values()) >= 60
