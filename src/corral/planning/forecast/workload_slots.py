"""The slots of a cluster, and those of one workload: the ones that its service has in the plan and a queue reaches.

A service that takes turns has the GPUs on which it could; a workload without a service has every GPU with the memory
that it needs. The queue is the one whose pool covers most of these slots; what it does not cover is not used. Where no
pool covers any of them, it is a queue without a pool.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from corral.cluster.values import Cluster, Gpu, Node, QueueSettings, Workload
from corral.planning.placement.values import Plan
from corral.scheduling.durations import ANY, History
from corral.scheduling.values import DurationKey, Place, Queue
from corral.work import SlotId

UNKNOWN_MODEL = "unknown"
"""The device model of a GPU without a stated model, as the server calls it."""
DEFAULT = "default"

CPU = "cpu"
"""The device model of a processor's slots."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadSlots:
    """The slots of a workload, its queue, and why these."""

    slots: tuple[Place, ...]
    queue: Queue
    because: str


def find_workload_slots(cluster: Cluster, workload: Workload, plans: Sequence[Plan]) -> WorkloadSlots:
    """Find the slots on which a workload runs; none when it has no place."""
    every = list_gpu_slots(cluster, frozenset({workload.engine}))
    able = {slot.id: slot for slot in every if slot.is_on(workload.node)}
    wanted, because = _choose_slots(cluster, workload, plans, able)
    if workload.node is not None:
        because += f", on node {workload.node} alone"
    queue = _choose_queue(cluster, [able[name] for name in wanted])
    slots = tuple(able[name] for name in wanted if queue.pool is None or name in queue.pool)
    if len(slots) < len(wanted):
        because += f", of which queue {queue.name} reaches {len(slots)}"
    return WorkloadSlots(slots=slots, queue=queue, because=because)


def list_gpu_slots(cluster: Cluster, engines: frozenset[str]) -> tuple[Place, ...]:
    """List a slot for each GPU of the file, free, with nothing loaded."""
    return tuple(_make_slot(node, gpu, engines) for node in cluster.nodes for gpu in node.gpus or ())


def make_queue(settings: QueueSettings, slots: Iterable[Place]) -> Queue:
    """The policy's view of a queue over these slots."""
    pool = settings.devices
    return Queue(
        name=settings.name,
        pool=None if pool is None else frozenset(slot.id for slot in slots if _is_in(slot, pool)),
        order=settings.order,
        max_running_per_owner=settings.max_running_per_owner,
        hours=settings.hours,
    )


def _choose_slots(
    cluster: Cluster, workload: Workload, plans: Sequence[Plan], able: dict[SlotId, Place]
) -> tuple[list[SlotId], str]:
    instances = cluster.engines[workload.engine].instances if workload.engine in cluster.engines else ()
    bound = [
        SlotId(f"{instance.node}/gpu{instance.gpu}")
        for instance in instances
        if instance.node and instance.gpu is not None
    ]
    if bound:
        return _keep_known(bound, able), f"the instances of {workload.engine} compute there"
    if workload.service is not None:
        return _find_planned(workload.service, plans, able)
    fits = [slot.id for slot in able.values() if _is_large_enough(workload, slot)]
    return fits, "every GPU with the memory that it needs" if workload.min_vram else "every GPU"


def _find_planned(service: str, plans: Sequence[Plan], able: dict[SlotId, Place]) -> tuple[list[SlotId], str]:
    """The GPUs of a service in the first plan that has any for it."""
    for plan in plans:
        called = f"layout {plan.layout}" if plan.layout else "the plan"
        placed = [
            SlotId(f"{replica.node}/gpu{gpu}")
            for replica in plan.placed
            if service in replica.services
            for gpu in replica.gpus
        ]
        if slots := _keep_known(placed, able):
            return slots, f"service {service} has them in {called}"
        turns = [SlotId(turn) for replica in plan.unplaced if service in replica.services for turn in replica.turns]
        if slots := _keep_known(turns, able):
            return slots, f"service {service} takes turns there in {called}"
    return [], f"service {service} has no GPU in any plan"


def _keep_known(names: Iterable[SlotId], able: dict[SlotId, Place]) -> list[SlotId]:
    return [name for name in dict.fromkeys(names) if name in able]


def _is_large_enough(workload: Workload, slot: Place) -> bool:
    return workload.min_vram is None or (slot.capacity is not None and slot.capacity >= workload.min_vram)


def _choose_queue(cluster: Cluster, wanted: Sequence[Place]) -> Queue:
    """The queue with a pool that reaches most of the slots, the first of the file between equals; else one without."""
    queues = [make_queue(settings, wanted) for settings in cluster.queues.values()] or [Queue(name=DEFAULT)]
    return max(queues, key=lambda queue: (bool(queue.pool), _count_reached(queue, wanted)))


def _count_reached(queue: Queue, wanted: Sequence[Place]) -> int:
    return len(wanted) if queue.pool is None else len(queue.pool)


def _is_in(slot: Place, pool: Iterable[str]) -> bool:
    return any(selector in (slot.node, slot.id) for selector in pool)


def _make_slot(node: Node, gpu: Gpu, engines: frozenset[str]) -> Place:
    name = SlotId(f"{node.name}/gpu{gpu.index}")
    return Place(
        id=name,
        node=node.name,
        device=name,
        device_model=gpu.model or UNKNOWN_MODEL,
        capacity=gpu.memory,
        engines=engines,
        hours=node.find_hours(gpu),
    )


def list_slots_for(cluster: Cluster, engines: Iterable[str], plans: Sequence[Plan]) -> tuple[Place, ...]:
    """List the slots on which these engines run.

    An engine with workloads in the file has the slots of these; one without has every slot of the cluster.
    """
    able: defaultdict[SlotId, set[str]] = defaultdict(set)
    every = (*list_gpu_slots(cluster, frozenset()), *list_cpu_slots(cluster))
    for engine in sorted(set(engines)):
        workloads = [  # their tasks can name another node, and carry their own
            replace(workload, node=None) for workload in cluster.workloads.values() if workload.engine == engine
        ]
        workload_slots = {
            slot.id for workload in workloads for slot in find_workload_slots(cluster, workload, plans).slots
        }
        for name in workload_slots if workloads else [slot.id for slot in every]:
            able[name].add(engine)
    return tuple(replace(slot, engines=frozenset(able[slot.id])) for slot in every if able[slot.id])


def list_cpu_slots(cluster: Cluster) -> tuple[Place, ...]:
    """List the processors' slots, as many as the file says."""
    return tuple(
        Place(
            id=SlotId(f"{node.name}/cpu{index}"),
            node=node.name,
            device=f"{node.name}/cpu",
            device_model=CPU,
            engines=frozenset(),
            hours=node.find_hours(),
        )
        for node in cluster.nodes
        for index in range(node.cpu_slots or 0)
    )


def make_queues(cluster: Cluster, slots: Sequence[Place]) -> dict[str, Queue]:
    """The policy's view of all queues of the file."""
    return {name: make_queue(settings, slots) for name, settings in cluster.queues.items()}


def find_durations(
    cluster: Cluster, engine: str, model: str | None, device_models: Iterable[str], history: History | None
) -> Mapping[str, float]:
    """How long a task takes by device model: as measured, else as its workload declares; unknown ones are absent."""
    workload = cluster.find_workload(engine, model)
    declared = workload.seconds if workload is not None else dict[str, float]()
    measured = history.expected if history is not None else dict[DurationKey, float]()
    durations: dict[str, float] = {}
    for device_model in device_models:
        seconds = measured.get(DurationKey(engine, model, device_model), declared.get(device_model, declared.get(ANY)))
        if seconds is not None:
            durations[device_model] = seconds
    return durations
