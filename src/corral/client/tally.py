"""Counts a batch and estimates when it ends; pure.

The estimate spreads the work that is left over the slots that take part. What a task takes is the mean of the ended
tasks of its engine, of all ended tasks where its engine has none; nothing is estimated before the first has ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime

from corral.client.progress import ACTIVE, ProgressView, TaskView

_USABLE_FRACTION = 0.1
"""Below this share done, a task's own speed says less than the mean of its engine."""
_ORDER = ("succeeded", "failed", "cancelled", "running", "queued", "waiting")


def counts(tasks: Sequence[TaskView]) -> dict[str, int]:
    """Count tasks by state, in reading order; a leased task counts as running, states without tasks are left out."""
    found = Counter("running" if task.state in ACTIVE else task.state for task in tasks)
    return {state: found[state] for state in _ORDER if found[state]}


def say_counts(tasks: Sequence[TaskView]) -> str:
    """Write the counts in one line: `8 succeeded, 2 running, 2 waiting`."""
    return ", ".join(f"{count} {state}" for state, count in counts(tasks).items())


def remaining_s(
    tasks: Sequence[TaskView], progress: Mapping[int, ProgressView], *, slots: int, now: datetime
) -> float | None:
    """Estimate the seconds until every task has ended; None while nothing is known. `slots` is how many take part."""
    left = [task for task in tasks if not task.ended]
    if not left:
        return 0.0
    means = _means(tasks)
    if not means:
        return None
    parts = [_left_of(task, progress.get(task.id), means, now) for task in left]
    return max(sum(parts) / max(1, min(slots, len(left))), max(parts))


def _means(tasks: Sequence[TaskView]) -> dict[str | None, float]:
    """Mean duration by engine; of all engines under None."""
    durations: dict[str | None, list[float]] = {}
    for task in tasks:
        if task.state == "succeeded" and task.ran_s is not None:
            durations.setdefault(task.engine, []).append(task.ran_s)
            durations.setdefault(None, []).append(task.ran_s)
    return {engine: sum(values) / len(values) for engine, values in durations.items()}


def _left_of(task: TaskView, progress: ProgressView | None, means: Mapping[str | None, float], now: datetime) -> float:
    mean = means.get(task.engine, means[None])
    if task.state not in ACTIVE or task.started_at is None:
        return mean
    elapsed = max(0.0, (now - task.started_at).total_seconds())
    if progress is not None and progress.fraction is not None and progress.fraction >= _USABLE_FRACTION:
        return elapsed * (1 - progress.fraction) / progress.fraction
    return max(0.0, mean - elapsed)
