"""The slots of a cluster for work of several engines at once, and how long tasks take on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from corral.cluster.values import Cluster, Workload
from corral.planning.forecast.workload_slots import gpu_slots, queue_of, seats_of
from corral.planning.placement.values import Plan
from corral.scheduling.durations import ANY, History
from corral.scheduling.values import DurationKey, Queue, Slot
from corral.work import SlotId

CPU = "cpu"
"""The device model of a processor's slots."""


def slots_for(cluster: Cluster, engines: Iterable[str], plans: Sequence[Plan]) -> tuple[Slot, ...]:
    """List the slots on which these engines run.

    An engine with workloads in the file has the slots of these; one without has every slot of the cluster.
    """
    able: defaultdict[SlotId, set[str]] = defaultdict(set)
    every = (*gpu_slots(cluster, frozenset()), *cpu_slots(cluster))
    for engine in sorted(set(engines)):
        workloads = [each for each in cluster.workloads.values() if each.engine == engine]
        seats = {slot.id for each in workloads for slot in seats_of(cluster, each, plans).slots}
        for name in seats if workloads else [slot.id for slot in every]:
            able[name].add(engine)
    return tuple(replace(slot, engines=frozenset(able[slot.id])) for slot in every if able[slot.id])


def cpu_slots(cluster: Cluster) -> tuple[Slot, ...]:
    """List the processors' slots, as many as the file says."""
    return tuple(
        Slot(
            id=SlotId(f"{node.name}/cpu{index}"),
            node=node.name,
            device=f"{node.name}/cpu",
            device_model=CPU,
            engines=frozenset(),
        )
        for node in cluster.nodes
        for index in range(node.cpu_slots or 0)
    )


def queues_for(cluster: Cluster, slots: Sequence[Slot]) -> dict[str, Queue]:
    """The policy's view of all queues of the file."""
    return {name: queue_of(settings, slots) for name, settings in cluster.queues.items()}


def workload_of(cluster: Cluster, engine: str, model: str | None) -> Workload | None:
    """The workload that a task is one of: with its engine and model, else with its engine and no model."""
    of_engine = [each for each in cluster.workloads.values() if each.engine == engine]
    exact = [each for each in of_engine if each.model == model]
    return next(iter((*exact, *(each for each in of_engine if each.model is None))), None)


def table_for(
    cluster: Cluster, engine: str, model: str | None, device_models: Iterable[str], history: History | None
) -> Mapping[str, float]:
    """How long a task takes by device model: as measured, else as its workload declares; unknown ones are absent."""
    workload = workload_of(cluster, engine, model)
    declared = workload.seconds if workload is not None else dict[str, float]()
    measured = history.expected if history is not None else dict[DurationKey, float]()
    found: dict[str, float] = {}
    for device_model in device_models:
        seconds = measured.get(DurationKey(engine, model, device_model), declared.get(device_model, declared.get(ANY)))
        if seconds is not None:
            found[device_model] = seconds
    return found
