"""How long tasks wait, by who waits for them: a person (`interactive`) or a night (`batch`).

One median over all tasks would hide the few that a person waits for behind the many that nobody does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from corral.figures import Figure, Origin
from corral.scheduling.simulator import Outcome
from corral.scheduling.simulator.outcome import quantile
from corral.scheduling.values import TaskClass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassWaits:
    """The waits of one class, in seconds; each is one that occurred."""

    p50: Figure
    p99: Figure


def simulated_waits(outcome: Outcome) -> Mapping[str, ClassWaits]:
    """The waits of the tasks that ended in a simulated run."""
    return {
        task_class.value: _told(waits.p50, waits.p99, Origin.COMPUTED, f"{waits.tasks} simulated tasks, from arrival")
        for task_class, waits in outcome.waits.items()
    }


def real_waits(waits: Iterable[tuple[TaskClass, float]]) -> Mapping[str, ClassWaits]:
    """The waits that were measured."""
    found: dict[str, list[float]] = {}
    for task_class, seconds in sorted(waits):
        found.setdefault(task_class.value, []).append(seconds)
    return {
        name: _told(quantile(each, 0.5), quantile(each, 0.99), Origin.MEASURED, f"{len(each)} tasks, from ready")
        for name, each in found.items()
    }


def _told(p50: float, p99: float, origin: Origin, source: str) -> ClassWaits:
    return ClassWaits(
        p50=Figure(value=p50, unit="s", origin=origin, source=f"half of {source} to start"),
        p99=Figure(value=p99, unit="s", origin=origin, source=f"99 % of {source} to start"),
    )
