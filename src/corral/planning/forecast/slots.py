"""The slots of a cluster for work of several engines at once, and how long tasks take on them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from corral.cluster.values import Cluster, Workload
from corral.planning.forecast.workload_slots import find_workload_slots, list_gpu_slots, make_queue
from corral.planning.placement.values import Plan
from corral.scheduling.durations import ANY, History
from corral.scheduling.values import DurationKey, Queue, Slot
from corral.work import SlotId

CPU = "cpu"
"""The device model of a processor's slots."""


def list_slots_for(cluster: Cluster, engines: Iterable[str], plans: Sequence[Plan]) -> tuple[Slot, ...]:
    """List the slots on which these engines run.

    An engine with workloads in the file has the slots of these; one without has every slot of the cluster.
    """
    able: defaultdict[SlotId, set[str]] = defaultdict(set)
    every = (*list_gpu_slots(cluster, frozenset()), *list_cpu_slots(cluster))
    for engine in sorted(set(engines)):
        workloads = [workload for workload in cluster.workloads.values() if workload.engine == engine]
        workload_slots = {
            slot.id for workload in workloads for slot in find_workload_slots(cluster, workload, plans).slots
        }
        for name in workload_slots if workloads else [slot.id for slot in every]:
            able[name].add(engine)
    return tuple(replace(slot, engines=frozenset(able[slot.id])) for slot in every if able[slot.id])


def list_cpu_slots(cluster: Cluster) -> tuple[Slot, ...]:
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


def make_queues(cluster: Cluster, slots: Sequence[Slot]) -> dict[str, Queue]:
    """The policy's view of all queues of the file."""
    return {name: make_queue(settings, slots) for name, settings in cluster.queues.items()}


def find_workload(cluster: Cluster, engine: str, model: str | None) -> Workload | None:
    """The workload that a task is one of: with its engine and model, else with its engine and no model."""
    of_engine = [workload for workload in cluster.workloads.values() if workload.engine == engine]
    exact = [workload for workload in of_engine if workload.model == model]
    return next(iter((*exact, *(workload for workload in of_engine if workload.model is None))), None)


def find_durations(
    cluster: Cluster, engine: str, model: str | None, device_models: Iterable[str], history: History | None
) -> Mapping[str, float]:
    """How long a task takes by device model: as measured, else as its workload declares; unknown ones are absent."""
    workload = find_workload(cluster, engine, model)
    declared = workload.seconds if workload is not None else dict[str, float]()
    measured = history.expected if history is not None else dict[DurationKey, float]()
    durations: dict[str, float] = {}
    for device_model in device_models:
        seconds = measured.get(DurationKey(engine, model, device_model), declared.get(device_model, declared.get(ANY)))
        if seconds is not None:
            durations[device_model] = seconds
    return durations
