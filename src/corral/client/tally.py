"""The figures of a batch: its counts, an estimate of its end, and a summary once it has ended; pure.

The estimate spreads the work that is left over the slots that take part. What a task takes is the mean of the ended
tasks of its engine, of all ended tasks where its engine has none; nothing is estimated before the first has ended.

The summary's durations are those of attempts that succeeded. Percentiles are nearest-rank: a value that was really
measured. A slot's occupancy is the share of the run in which it worked on this batch; the run lasts from its first
start to its last end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from corral.client.progress import ACTIVE, TaskProgress, TaskView
from corral.work import Json

_USABLE_FRACTION = 0.1
"""Below this share done, a task's own speed says less than the mean of its engine."""
_ORDER = ("succeeded", "failed", "cancelled", "running", "queued", "waiting")


def count_states(tasks: Sequence[TaskView]) -> dict[str, int]:
    """Count tasks by state, in reading order; a leased task counts as running, states without tasks are left out."""
    counts = Counter("running" if task.state in ACTIVE else task.state for task in tasks)
    return {state: counts[state] for state in _ORDER if counts[state]}


def format_counts(tasks: Sequence[TaskView]) -> str:
    """Write the counts in one line: `8 succeeded, 2 running, 2 waiting`."""
    return ", ".join(f"{count} {state}" for state, count in count_states(tasks).items())


def estimate_remaining_s(
    tasks: Sequence[TaskView], progress: Mapping[int, TaskProgress], *, slots: int, now: datetime
) -> float | None:
    """Estimate the seconds until every task has ended; None while nothing is known. `slots` is how many take part."""
    open_tasks = [task for task in tasks if not task.ended]
    if not open_tasks:
        return 0.0
    means = _compute_means(tasks)
    if not means:
        return None
    parts = [_estimate_left_s(task, progress.get(task.id), means, now) for task in open_tasks]
    return max(sum(parts) / max(1, min(slots, len(open_tasks))), max(parts))


def _compute_means(tasks: Sequence[TaskView]) -> dict[str | None, float]:
    """Mean duration by engine; of all engines under None."""
    durations: dict[str | None, list[float]] = {}
    for task in tasks:
        if task.state == "succeeded" and task.ran_s is not None:
            durations.setdefault(task.engine, []).append(task.ran_s)
            durations.setdefault(None, []).append(task.ran_s)
    return {engine: sum(values) / len(values) for engine, values in durations.items()}


def _estimate_left_s(
    task: TaskView, progress: TaskProgress | None, means: Mapping[str | None, float], now: datetime
) -> float:
    mean = means.get(task.engine, means[None])
    if task.state not in ACTIVE or task.started_at is None:
        return mean
    elapsed = max(0.0, (now - task.started_at).total_seconds())
    if progress is not None and progress.fraction is not None and progress.fraction >= _USABLE_FRACTION:
        return elapsed * (1 - progress.fraction) / progress.fraction
    return max(0.0, mean - elapsed)


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
    wall = _measure_wall_s(tasks)
    succeeded = sum(task.state == "succeeded" for task in tasks)
    return Summary(
        wall_s=wall,
        tasks_per_hour=succeeded * 3600 / wall if wall > 0 else None,
        engines=tuple(_summarise_engine(name, tasks) for name in dict.fromkeys(task.engine for task in tasks)),
        slots=tuple(
            _summarise_slot(name, tasks, wall) for name in sorted({slot for task in tasks for slot in task.slots})
        ),
        failures=tuple(task for task in tasks if task.ended and task.state != "succeeded"),
    )


def find_percentile(values: Iterable[float], share: float) -> float | None:
    """Return the nearest-rank percentile, `share` from 0 to 1; None when there are no values."""
    ordered = sorted(values)
    if not ordered:
        return None
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def summary_to_json(summary: Summary) -> dict[str, Json]:
    """Return the figures for programs."""
    return {
        "wall_s": summary.wall_s,
        "tasks_per_hour": summary.tasks_per_hour,
        "engines": [asdict(engine) for engine in summary.engines],
        "slots": [asdict(slot) for slot in summary.slots],
        "failures": [
            {"id": task.id, "name": task.name, "state": task.state, "error": task.error} for task in summary.failures
        ],
    }


def _summarise_engine(name: str, tasks: Sequence[TaskView]) -> EngineSummary:
    own = [task for task in tasks if task.engine == name]
    durations = [task.ran_s for task in own if task.state == "succeeded" and task.ran_s is not None]
    return EngineSummary(
        engine=name,
        succeeded=sum(task.state == "succeeded" for task in own),
        total=len(own),
        p50_s=find_percentile(durations, 0.5),
        p95_s=find_percentile(durations, 0.95),
    )


def _summarise_slot(name: str, tasks: Sequence[TaskView], wall: float) -> SlotSummary:
    own = [task for task in tasks if name in task.slots and task.ran_s is not None]
    busy = sum(task.ran_s or 0.0 for task in own)
    return SlotSummary(slot=name, tasks=len(own), busy_s=busy, occupancy=min(1.0, busy / wall) if wall > 0 else 0.0)


def _measure_wall_s(tasks: Sequence[TaskView]) -> float:
    starts = [task.started_at for task in tasks if task.started_at is not None]
    ends = [task.finished_at for task in tasks if task.finished_at is not None]
    return max(0.0, (max(ends) - min(starts)).total_seconds()) if starts and ends else 0.0
