"""Tasks that have ended, played once more: on the slots that they had, and on those of another cluster file.

What they took, with the loading of models, is what they take again. The first play shows how far the simulator is from
what really happened; the second what the other hardware would have made of the same work. On another device model a
task takes what it took, times the ratio of the two models: of what the file declares for both, else of the medians of
tasks of its engine and model that ran on both, else 1, and that is said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from statistics import median

from corral.cluster.values import Cluster
from corral.figures import Figure, Origin, computed
from corral.planning.forecast.values import ClassWaits, summarise_real_waits, summarise_simulated_waits
from corral.planning.forecast.workload_slots import (
    UNKNOWN_MODEL,
    list_cpu_slots,
    list_gpu_slots,
    make_queues,
)
from corral.scheduling.simulator import Outcome, simulate, summarise
from corral.scheduling.simulator.values import Arrival, Run, Trace
from corral.scheduling.values import Demand, Place, PolicyBounds, copy_demand
from corral.work import SlotId

_Kind = tuple[str, str | None]
"""Engine and model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended(Demand):
    """A task that has succeeded, as the queue recorded it."""

    id: int
    needs: tuple[int, ...]
    created_at: datetime
    queued_at: datetime
    started_at: datetime
    finished_at: datetime
    slots: tuple[SlotId, ...]

    @property
    def seconds(self) -> float:
        """The duration of its last attempt."""
        return max(0.0, (self.finished_at - self.started_at).total_seconds())


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayFigures:
    """The tasks once, by one hardware."""

    makespan: Figure
    """From the first arrival to the last end."""
    median_wait: Figure
    waits: Mapping[str, ClassWaits]
    """By class."""
    occupancy: Figure
    """Of all slots together."""
    slots: int
    unfinished: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Play(PlayFigures):
    """The tasks once, with the simulated run that the figures are from."""

    trace: Trace | None = None
    run: Run | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """The same work three times."""

    tasks: int
    real: Play
    again: Play
    """Simulated on the slots that it had."""
    error: Figure
    """How much longer the simulation took than reality, in %."""
    against: Play
    """Simulated on the slots of the other file."""
    gain: Figure
    """How much shorter that is than `again`, in %: one simulation against the other."""
    assumed: tuple[str, ...] = ()


def replay(tasks: Sequence[Ended], before: Cluster, after: Cluster) -> Replay:
    """Play tasks (at least one) on the slots that they had in `before`, and on those of `after`."""
    ordered = sorted(tasks, key=lambda task: (task.created_at, task.id))
    used = _list_used(ordered, before)
    changed = _change_slots(used, before, after)
    tables = _Tables(ordered, used, before, after)
    again = _play_tasks(ordered, used, before, tables)
    against = _play_tasks(ordered, changed, after, tables)
    real = _summarise_real(ordered, used)
    return Replay(
        tasks=len(ordered),
        real=real,
        again=again,
        error=_compare(again.makespan.value, real.makespan.value, "simulated", "real"),
        against=against,
        gain=_compare(again.makespan.value, against.makespan.value, "as it was", "changed", of_first=True),
        assumed=(*tables.list_assumed(changed), *_list_lost_queues(ordered, after)),
    )


def _list_used(tasks: Iterable[Ended], cluster: Cluster) -> tuple[Place, ...]:
    """The slots that the tasks ran on, each with the engines that ran there."""
    engines: defaultdict[SlotId, set[str]] = defaultdict(set)
    for task in tasks:
        for slot in task.slots:
            engines[slot].add(task.engine)
    known = _list_slots(cluster)
    return tuple(
        replace(known.get(name) or _make_unlisted(name), engines=frozenset(able))
        for name, able in sorted(engines.items())
    )


def _make_unlisted(name: SlotId) -> Place:
    """A slot that the file does not have: a processor's, or an instance reached by its address alone."""
    node, _, place = name.partition("/")
    model = "cpu" if place.startswith("cpu") else UNKNOWN_MODEL
    return Place(id=name, node=node, device=name, device_model=model, engines=frozenset())


def _change_slots(used: Sequence[Place], before: Cluster, after: Cluster) -> tuple[Place, ...]:
    """The slots of the other file: those that are in both keep their engines, new ones get those of their node.

    A slot that neither file lists, such as a processor's where no file says how many it has, is kept as it was.
    """
    engines = {slot.id: slot.engines for slot in used}
    by_node: defaultdict[str, frozenset[str]] = defaultdict(frozenset)
    for slot in used:
        by_node[slot.node] |= slot.engines
    old, new = _list_slots(before), _list_slots(after)
    slots = [
        replace(slot, engines=engines.get(slot.id, frozenset() if slot.id in old else by_node[slot.node]))
        for slot in new.values()
    ]
    others = [slot for slot in used if slot.id not in old and slot.id not in new]
    return tuple(slot for slot in (*slots, *others) if slot.engines)


def _list_slots(cluster: Cluster) -> dict[SlotId, Place]:
    return {slot.id: slot for slot in (*list_gpu_slots(cluster, frozenset()), *list_cpu_slots(cluster))}


class _Tables:
    """How long each task takes on any device model."""

    def __init__(self, tasks: Sequence[Ended], used: Sequence[Place], before: Cluster, after: Cluster) -> None:
        self._models = {slot.id: slot.device_model for slot in used}
        self._clusters = (after, before)
        durations: defaultdict[tuple[_Kind, str], list[float]] = defaultdict(list)
        for task in tasks:
            durations[(task.engine, task.model), self._models[task.slots[0]]].append(task.seconds)
        self._medians = {key: median(seconds) for key, seconds in durations.items()}
        self._kinds = {(task.engine, task.model, self._models[task.slots[0]]) for task in tasks}

    def find_durations(self, task: Ended, device_models: Iterable[str]) -> Mapping[str, float]:
        on = self._models[task.slots[0]]
        kind = (task.engine, task.model)
        return {
            device_model: task.seconds * (self._find_ratio(kind, on, device_model) or 1.0)
            for device_model in device_models
        }

    def list_assumed(self, slots: Iterable[Place]) -> tuple[str, ...]:
        """List the device models whose ratio is unknown."""
        models = sorted({slot.device_model for slot in slots})
        return tuple(
            f"{engine} {model or ''}".rstrip() + f" takes as long on {other} as on {on}: no ratio is known"
            for engine, model, on in sorted(self._kinds, key=str)
            for other in models
            if self._find_ratio((engine, model), on, other) is None
        )

    def _find_ratio(self, kind: _Kind, on: str, other: str) -> float | None:
        if on == other:
            return 1.0
        for cluster in self._clusters:
            workload = cluster.find_workload(*kind)
            declared = workload.seconds if workload is not None else dict[str, float]()
            if declared.get(on) and declared.get(other):
                return declared[other] / declared[on]
        first, second = self._medians.get((kind, on)), self._medians.get((kind, other))
        return second / first if first and second else None


def _play_tasks(tasks: Sequence[Ended], slots: tuple[Place, ...], cluster: Cluster, tables: _Tables) -> Play:
    start = tasks[0].created_at
    known = {task.id for task in tasks}
    models = {slot.device_model for slot in slots}
    arrivals = [_make_arrival(task, start, known, tables.find_durations(task, models)) for task in tasks]
    trace = Trace(
        arrivals=tuple(sorted(arrivals, key=lambda arrival: (arrival.at_s, arrival.id))),
        places=slots,
        queues=make_queues(cluster, slots),
        bounds=PolicyBounds(promote_after=cluster.promote_after),
        start=start,
    )
    run = simulate(trace)
    return _play(trace, run, summarise(trace, run))


def _make_arrival(task: Ended, start: datetime, known: set[int], seconds: Mapping[str, float]) -> Arrival:
    """A task that needed others arrives when it was made, and waits for them; any other when it became ready."""
    needs = tuple(need for need in task.needs if need in known)
    at = task.created_at if needs else max(task.queued_at, task.created_at)
    return Arrival(
        **copy_demand(task),
        id=task.id,
        at_s=(at - start).total_seconds(),
        seconds=seconds,
        needs=needs,
    )


def _play(trace: Trace, run: Run, outcome: Outcome) -> Play:
    at = {arrival.id: arrival.at_s for arrival in trace.arrivals}
    waits = [span.from_s - at[span.task] for span in run.spans if not span.lost]
    parts = list(outcome.occupancy.values())
    return Play(
        makespan=computed(outcome.makespan_s, "s", f"simulated on {len(trace.places)} slots"),
        median_wait=computed(median(waits) if waits else 0.0, "s", "from arrival to start"),
        waits=summarise_simulated_waits(outcome),
        occupancy=computed(100 * sum(parts) / len(parts) if parts else 0.0, "%", "mean over the slots"),
        slots=len(trace.places),
        unfinished=len(run.unfinished),
        trace=trace,
        run=run,
    )


def _summarise_real(tasks: Sequence[Ended], used: Sequence[Place]) -> Play:
    start, end = tasks[0].created_at, max(task.finished_at for task in tasks)
    makespan_s = (end - start).total_seconds()
    waits = [(task.started_at - max(task.queued_at, task.created_at)).total_seconds() for task in tasks]
    busy_s = sum(task.seconds * len(task.slots) for task in tasks)
    part = busy_s / (makespan_s * len(used)) if makespan_s else 0.0
    return Play(
        makespan=_measure(makespan_s, "s", "from the first submission to the last end"),
        median_wait=_measure(median(waits), "s", "from ready to start"),
        waits=summarise_real_waits(zip((task.task_class for task in tasks), waits, strict=True)),
        occupancy=_measure(100 * part, "%", f"{len(tasks)} tasks on the {len(used)} slots that they ran on"),
        slots=len(used),
    )


def _measure(value: float, unit: str, source: str) -> Figure:
    return Figure(value=value, unit=unit, origin=Origin.MEASURED, source=source)


def _compare(first: float, second: float, first_name: str, second_name: str, *, of_first: bool = False) -> Figure:
    base = first if of_first else second
    formula = f"({first_name} {first:.6g} s - {second_name} {second:.6g} s) / {base:.6g} s"
    return computed(100 * (first - second) / base if base else 0.0, "%", formula)


def _list_lost_queues(tasks: Iterable[Ended], cluster: Cluster) -> tuple[str, ...]:
    missing = sorted({task.queue for task in tasks} - cluster.queues.keys())
    return tuple(f"queue {name} is not in the other file: its tasks can use every slot" for name in missing)
