"""Scenarios and forecasts as values, with the waits of tasks by class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from corral.figures import Figure, Origin
from corral.scheduling.simulator import Outcome
from corral.scheduling.simulator.outcome import find_quantile
from corral.scheduling.simulator.values import Outage, Run, Trace
from corral.scheduling.values import TaskClass
from corral.work import SlotId


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """Differences from a night in which all goes well; all times are in seconds from its start."""

    slowdown: Mapping[SlotId, float] = field(default_factory=dict[SlotId, float])
    """How many times as long tasks take on a slot."""
    outages: tuple[Outage, ...] = ()
    models: int = 1
    """How many models the tasks use in turn; with more than one, models are swapped."""
    swap_every: int = 1
    """After how many tasks the next one asks for another model."""
    load_s: float | None = None
    """How long a model takes to load; None leaves it to the cluster file."""
    spread: float = 0.0
    """How far a task's duration lies from the usual one at most, as a share of it; all between are equally likely."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassWaits:
    """The waits of one class, in seconds; each is one that occurred."""

    p50: Figure
    p99: Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadForecast:
    """One workload by itself over a night. None is unknown; `unknown` says why."""

    workload: str
    unit: str
    """The product of one task: `image`."""
    queue: str
    slots: tuple[SlotId, ...]
    where: str
    """Why it runs on these slots."""
    night_s: float
    seconds: Mapping[str, Figure] = field(default_factory=dict[str, Figure])
    """How long a task takes, by device model."""
    per_hour: Figure | None = None
    per_night: Figure | None = None
    nights: Figure | None = None
    """What several nights make together, where several were asked for."""
    occupancy: Mapping[SlotId, Figure] = field(default_factory=dict[SlotId, Figure])
    waits: Mapping[str, ClassWaits] = field(default_factory=dict[str, ClassWaits])
    """By class, from the night's start."""
    loads: Figure | None = None
    """Times that a model was loaded."""
    swaps: Figure | None = None
    """Of them, those after the first on their slot."""
    lost: Figure | None = None
    """Work that was lost, in slot-seconds."""
    energy: Figure | None = None
    """The energy that its GPUs and the machines around them take in a night, in kWh."""
    energy_each: Figure | None = None
    """For one unit, in Wh."""
    cost_each: Figure | None = None
    """For one unit, in the currency of the tariff."""
    unknown: tuple[str, ...] = ()
    """What could not be worked out, as sentences."""
    assumed: tuple[str, ...] = ()
    """Assumptions in place of values that are not set, as sentences."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast(WorkloadForecast):
    """One workload, with the simulated night that the figures are from."""

    outcome: Outcome | None = None
    trace: Trace | None = None
    run: Run | None = None


def summarise_simulated_waits(outcome: Outcome) -> Mapping[str, ClassWaits]:
    """The waits of the tasks that ended in a simulated run."""
    return {
        task_class.value: _make_waits(
            waits.p50, waits.p99, Origin.COMPUTED, f"{waits.tasks} simulated tasks, from arrival"
        )
        for task_class, waits in outcome.waits.items()
    }


def summarise_real_waits(waits: Iterable[tuple[TaskClass, float]]) -> Mapping[str, ClassWaits]:
    """The waits that were measured."""
    by_class: dict[str, list[float]] = {}
    for task_class, seconds in sorted(waits):
        by_class.setdefault(task_class.value, []).append(seconds)
    return {
        name: _make_waits(
            find_quantile(measured, 0.5),
            find_quantile(measured, 0.99),
            Origin.MEASURED,
            f"{len(measured)} tasks, from ready",
        )
        for name, measured in by_class.items()
    }


def _make_waits(p50: float, p99: float, origin: Origin, source: str) -> ClassWaits:
    return ClassWaits(
        p50=Figure(value=p50, unit="s", origin=origin, source=f"half of {source} to start"),
        p99=Figure(value=p99, unit="s", origin=origin, source=f"99 % of {source} to start"),
    )
