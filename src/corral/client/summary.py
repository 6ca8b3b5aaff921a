"""What a finished batch says about itself; pure.

Durations are those of attempts that succeeded. Percentiles are nearest-rank: a value that was really measured. A slot's
occupancy is the share of the run in which it worked on this batch; the run lasts from its first start to its last end.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from corral.client.progress import TaskView
from corral.work import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSummary:
    """How one engine did."""

    engine: str
    succeeded: int
    total: int
    p50_s: float | None
    p95_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotSummary:
    """How busy one slot was with this batch."""

    slot: str
    tasks: int
    busy_s: float
    occupancy: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """A run in figures."""

    wall_s: float
    """From the first start to the last end."""
    tasks_per_hour: float | None
    engines: tuple[EngineSummary, ...]
    slots: tuple[SlotSummary, ...]
    failures: tuple[TaskView, ...]


def summarise(tasks: Sequence[TaskView]) -> Summary:
    """Compute the figures of a batch."""
    wall = _wall_s(tasks)
    succeeded = sum(task.state == "succeeded" for task in tasks)
    return Summary(
        wall_s=wall,
        tasks_per_hour=succeeded * 3600 / wall if wall > 0 else None,
        engines=tuple(_engine(name, tasks) for name in dict.fromkeys(task.engine for task in tasks)),
        slots=tuple(_slot(name, tasks, wall) for name in sorted({slot for task in tasks for slot in task.slots})),
        failures=tuple(task for task in tasks if task.ended and task.state != "succeeded"),
    )


def percentile(values: Iterable[float], share: float) -> float | None:
    """Return the nearest-rank percentile, `share` from 0 to 1; None when there are no values."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summary_json(summary: Summary) -> dict[str, Json]:
    """Return the figures for programs."""
    return {
        "wall_s": summary.wall_s,
        "tasks_per_hour": summary.tasks_per_hour,
        "engines": [asdict(one) for one in summary.engines],
        "slots": [asdict(one) for one in summary.slots],
        "failures": [
            {"id": task.id, "name": task.name, "state": task.state, "error": task.error} for task in summary.failures
        ],
    }


def _engine(name: str, tasks: Sequence[TaskView]) -> EngineSummary:
    own = [task for task in tasks if task.engine == name]
    durations = [task.ran_s for task in own if task.state == "succeeded" and task.ran_s is not None]
    return EngineSummary(
        engine=name,
        succeeded=sum(task.state == "succeeded" for task in own),
        total=len(own),
        p50_s=percentile(durations, 0.5),
        p95_s=percentile(durations, 0.95),
    )


def _slot(name: str, tasks: Sequence[TaskView], wall: float) -> SlotSummary:
    own = [task for task in tasks if name in task.slots and task.ran_s is not None]
    busy = sum(task.ran_s or 0.0 for task in own)
    return SlotSummary(slot=name, tasks=len(own), busy_s=busy, occupancy=min(1.0, busy / wall) if wall > 0 else 0.0)


def _wall_s(tasks: Sequence[TaskView]) -> float:
    starts = [task.started_at for task in tasks if task.started_at is not None]
    ends = [task.finished_at for task in tasks if task.finished_at is not None]
    return max(0.0, (max(ends) - min(starts)).total_seconds()) if starts and ends else 0.0
