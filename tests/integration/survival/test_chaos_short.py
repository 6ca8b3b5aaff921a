"""The storm of `make chaos`, short: 60 faults in real servers, workers, ComfyUI doubles, PostgreSQL and the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chaos.storm import Size, storm
from doubles.short_folders import lend_short_folder

SEED = 20
"""Any seed must pass; this one draws every kind of fault."""
FAULTS = 60
WEIGHTS = {
    "server": 8,
    "worker": 20,
    "comfyui": 8,
    "postmaster": 10,
    "backend": 24,
    "frozen server": 12,
    "frozen comfyui": 10,
    "full disk": 8,
}
"""As in the long storm, but less of what takes seconds of processor time to start again."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for PostgreSQL's socket."""
    with lend_short_folder("storm") as folder:
        yield folder


async def test_every_task_ends_once_while_everything_fails(folder: Path) -> None:
    size = Size(tasks=90, kills=FAULTS, batches=6, drain_s=90, weights=WEIGHTS, haste=4)
    report = await storm(folder, seed=SEED, size=size)
    assert report.problems == [], (folder / "server.log").read_text()[-50_000:]
    assert sum(report.findings.attempts.values()) >= size.tasks
    left_out = set[str]() if report.disk_is_small else {"full disk"}
    assert {kill.kind for kill in report.kills} == WEIGHTS.keys() - left_out
