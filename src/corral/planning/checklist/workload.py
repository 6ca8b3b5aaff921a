"""The workload phase: services and replicas, Corral's slots and queues, and whether all GPUs work at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from corral.cluster.values import Cluster
from corral.engine_kinds import ENGINES
from corral.planning.checklist.nodes import NodeChange
from corral.planning.checklist.probes import (
    AllBusyAtOnce,
    QueueEmpty,
    QueuePools,
    ReplicasReady,
    SlotsKnown,
    ThroughputReached,
)
from corral.planning.checklist.values import Command, FromFile, Item, Outlook, Phase, Question, Work
from corral.rendering.configuration import KubernetesWorkload


def list_workload_items(
    changes: Sequence[NodeChange], before: Cluster, after: Cluster, outlook: Outlook
) -> Iterator[Item]:
    """List what services and queues need, in order."""
    yield from _ask_about_moved(changes, before, after)
    yield from list_replica_items(before, after, outlook)
    yield from _ask_for_instances(before, after)
    yield from _check_gone_queues(before, after)
    yield from _check_slots(changes, before, after)
    yield from _check_queues(before, after)
    yield from _check_busy(changes)
    yield from _check_throughput(changes, after, outlook)


def _make_item(what: str, *, title: str, why: str, work: Work, node: str | None = None) -> Item:
    return Item(id=f"workload.{what}", phase=Phase.WORKLOAD, node=node, title=title, why=why, work=work)


def _ask_about_moved(changes: Sequence[NodeChange], before: Cluster, after: Cluster) -> Iterator[Item]:
    """Ask where the services went that a layout had pinned to a GPU that is gone."""
    for change in changes:
        for gpu in change.went:
            pinned = _list_pinned_to(before, change.name, gpu.index)
            if not pinned:
                continue
            names = ", ".join(pinned)
            yield _make_item(
                f"moved.{change.name}.gpu{gpu.index}",
                node=change.name,
                title=f"{names}: moved off {gpu.model or 'the old GPU'}",
                why=f"a layout of the old file pins them to {change.name}/gpu{gpu.index}, which is another GPU now",
                work=Question(text=f"does each of {names} answer from its new place?"),
            )


def _list_pinned_to(cluster: Cluster, node: str, index: int) -> list[str]:
    pinned = [
        name
        for layout in cluster.layouts.values()
        for name, placement in layout.services.items()
        if placement.gpus is not None and index in placement.gpus and _find_node(cluster, name, placement.node) == node
    ]
    return list(dict.fromkeys(pinned))


def _find_node(cluster: Cluster, service: str, placed: str | None) -> str | None:
    known = cluster.services.get(service)
    return placed or (known.node if known else None)


def _ask_for_instances(before: Cluster, after: Cluster) -> Iterator[Item]:
    """Ask for one address for each replica of an engine that keeps a queue and a history of its own."""
    for service in after.services.values():
        old = before.services.get(service.name)
        engines = [name for name in service.engines if name in after.engines and ENGINES[name].remote]
        if service.replicas < 2 or not engines or (old and old.replicas == service.replicas):
            continue
        instances = after.engines[engines[0]].instances
        enough = len(instances) >= service.replicas
        names = ", ".join(f"{instance.name} at {instance.url}" for instance in instances)
        yield _make_item(
            f"instances.{service.name}",
            title=f"{service.name}: each replica has an address of its own",
            why="behind one address, a task goes to one replica and the question for its result to another (D02, D03)",
            work=FromFile(evidence=f"the file names {names}")
            if enough
            else Question(
                text=f"does `engines.{engines[0]}.instances` name all {service.replicas}, each with its GPU?"
            ),
        )


def _check_slots(changes: Sequence[NodeChange], before: Cluster, after: Cluster) -> Iterator[Item]:
    slots = tuple(f"{change.name}/gpu{gpu.index}" for change in changes for gpu in change.gpus)
    old = {f"{node.name}/gpu{gpu.index}" for node in before.nodes for gpu in node.gpus or ()}
    new = {f"{node.name}/gpu{gpu.index}" for node in after.nodes for gpu in node.gpus or ()}
    if not any(change.hardware_differs for change in changes) and old == new:
        return
    yield _make_item(
        "restart",
        title="Corral runs with the new cluster file",
        why="the server reads the file at its start; until then its queues are those of the old machine",
        work=Question(text="was the server stopped, and started again with the new file (`corral up --cluster FILE`)?"),
    )
    yield _make_item(
        "slots",
        title="Corral has a slot for every GPU",
        why="a GPU without a slot does nothing, and only the electricity meter shows it",
        work=SlotsKnown(slots=slots, gone=tuple(sorted(old - new))),
    )


def _check_gone_queues(before: Cluster, after: Cluster) -> Iterator[Item]:
    for name in (name for name in before.queues if name not in after.queues):
        yield _make_item(
            f"queue-gone.{name}",
            title=f"queue {name} has run empty",
            why="the new file does not have this queue: what still waits in it runs nowhere",
            work=QueueEmpty(queue=name),
        )


def _check_queues(before: Cluster, after: Cluster) -> Iterator[Item]:
    changed = {
        name: queue.pool
        for name, queue in after.queues.items()
        if name not in before.queues or before.queues[name].pool != queue.pool
    }
    if not changed:
        return
    yield _make_item(
        "queues",
        title=f"queues have their new pools: {', '.join(changed)}",
        why="a queue that still names one GPU leaves the other idle",
        work=QueuePools(pools=tuple(changed.items())),
    )
    yield _make_item(
        "scripts",
        title="scripts and batch files submit to the new queues",
        why="a batch for a queue that is gone is refused",
        work=Question(text=f"do your scripts and batch files name {', '.join(changed)}?"),
    )


def _check_busy(changes: Sequence[NodeChange]) -> Iterator[Item]:
    for change in changes:
        if len(change.gpus) < 2 or not change.came:
            continue
        slots = tuple(f"{change.name}/gpu{gpu.index}" for gpu in change.gpus)
        yield _make_item(
            f"busy.{change.name}",
            node=change.name,
            title=f"{change.name}: all {len(slots)} GPUs work at once",
            why="this is what the upgrade is for; submit a batch of at least twice as many tasks, then look",
            work=AllBusyAtOnce(slots=slots),
        )


def _check_throughput(changes: Sequence[NodeChange], after: Cluster, outlook: Outlook) -> Iterator[Item]:
    """Ask for what was forecast, where a GPU came to a node that has a part in it."""
    came = {change.name for change in changes if change.came}
    for forecast in outlook.forecasts:
        nodes = dict.fromkeys(slot.rpartition("/")[0] for slot in forecast.slots)
        if forecast.per_hour is None or came.isdisjoint(nodes):
            continue
        probe = ThroughputReached(
            workload=forecast.workload,
            engine=after.workloads[forecast.workload].engine,
            slots=forecast.slots,
            unit=forecast.unit,
            per_hour=forecast.per_hour,
        )
        yield _make_item(
            f"throughput.{forecast.workload}",
            node=next(iter(nodes)) if len(nodes) == 1 else None,
            title=f"{forecast.workload}: as fast as forecast",
            why="heat, a narrow PCIe link or a slow disk cost speed without any error",
            work=probe,
        )


_WHY_SCALE = {
    "Deployment": "scale alone: an update that starts pods before it stops old ones can wait for ever for a GPU (A02)",
    "StatefulSet": "the replicas that are there keep running; the Service of each new one comes with its rendered file",
}


def list_replica_items(before: Cluster, after: Cluster, outlook: Outlook) -> Iterator[Item]:
    """List what has other replicas than before; those that get fewer first, since they free what others wait for."""
    changed = sorted(_pair_changed(outlook), key=lambda pair: not (pair[0] and pair[1].replicas < pair[0].replicas))
    for old, new in changed:
        yield from _list_items_of_workload(old, new, is_one_of_several=_count(changed, new) > 1)
    rendered = {name for workload in outlook.after.workloads for name in workload.services}
    for service in after.services.values():
        known = before.services.get(service.name)
        if service.name not in rendered and service.replicas != (known.replicas if known else 0):
            yield _make_replica_item(
                f"replicas.{service.name}",
                title=f"{service.name}: {_count_replicas(service.replicas)}",
                why="the file says so, and nothing that is rendered from it brings them",
                work=Question(text=f"do {service.replicas} of {service.name} run and answer?"),
            )


Pair = tuple[KubernetesWorkload | None, KubernetesWorkload]


def _pair_changed(outlook: Outlook) -> list[Pair]:
    """Pair what is new or has other replicas with what it was; what several layouts share, once."""
    old = {(workload.layout, workload.identity): workload for workload in outlook.before.workloads}
    pairs: dict[tuple[object, ...], Pair] = {}
    for new in outlook.after.workloads:
        before = old.get((new.layout, new.identity))
        if before is None or before.replicas != new.replicas:
            key = (new.identity, new.services, new.replicas, before and before.replicas)
            pairs.setdefault(key, (before, new))
    return list(pairs.values())


def _count(changed: list[Pair], new: KubernetesWorkload) -> int:
    return sum((other.services, other.replica) == (new.services, new.replica) for _, other in changed)


def _list_items_of_workload(
    old: KubernetesWorkload | None, new: KubernetesWorkload, *, is_one_of_several: bool
) -> Iterator[Item]:
    number = "" if new.replica is None else f"-{new.replica}"
    names = ", ".join(new.services) + number
    layout = f" in the layout {new.layout}" if is_one_of_several else ""
    what = new.services[0] + number + (f".{new.layout}" if is_one_of_several else "")
    title = f"{names}: {_count_replicas(new.replicas)}{layout}"
    if old is None:
        deploy = Question(text=f"is the {new.kind} {new.name} applied, as `corral render` writes it?")
        yield _make_replica_item(f"deploy.{what}", title=f"{names}: deploy it{layout}", why="it is new", work=deploy)
    else:
        target = f"{new.kind.lower()}/{new.name}"
        yield _make_replica_item(
            f"scale.{what}",
            title=f"{title}: scale the {new.kind}",
            why=_WHY_SCALE[new.kind] if new.replicas else "it takes turns, and leaves its GPU to who needs it now",
            work=Command(line=f"kubectl -n {new.namespace} scale {target} --replicas={new.replicas}"),
        )
    probe = ReplicasReady(kind=new.kind, name=new.name, namespace=new.namespace, replicas=new.replicas)
    why = "a replica without a GPU of its own stays Pending, and nothing else shows it"
    yield _make_replica_item(f"replicas.{what}", title=f"{title}: ready", why=why, work=probe)


def _count_replicas(count: int) -> str:
    return "1 replica" if count == 1 else f"{count or 'no'} replicas"


def _make_replica_item(what: str, *, title: str, why: str, work: Work) -> Item:
    return Item(id=f"workload.{what}", phase=Phase.WORKLOAD, title=title, why=why, work=work)
