"""Adaptations of the cluster file, in addition to the new GPUs, that put the upgrade to use.

A GPU that nothing is sent to changes nothing. Where a node's GPUs are one model after the upgrade, three things
follow: one queue over all of them in place of one per GPU; as many replicas of the service that makes what is forecast
as there are GPUs; and an address of its own for each replica. These are proposals: the report shows them, and
`--adapt` writes them.

Not proposed, because it has a price: several GPUs for one task of a workload that can use them. Such a task waits
until all of them are free, and is lost with any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from corral.cluster.editing.editor import Editor
from corral.cluster.editing.spelling import Plain
from corral.cluster.values import Cluster, Service
from corral.planning.upgrade.hardware import Hardware, NodeComparison

Name = str | int


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """One value of the file; items of a list are named by their `name`."""

    path: tuple[str, ...]
    value: Plain
    """None takes it out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adaptation:
    """Something that should follow from the new GPUs."""

    about: str
    """`queue hydra-compute-pool`."""
    before: str
    after: str
    why: str
    price: str | None
    """Its cost for other services; None when none is known."""
    edits: tuple[Edit, ...]
    """Empty when the user must decide something before the file can have it."""


def propose(after: Cluster, hardware: Hardware) -> tuple[Adaptation, ...]:
    """List what should follow on the nodes that the upgrade changes and leaves with equal GPUs."""
    adaptations: list[Adaptation] = []
    for node in hardware.changed:
        if node.after is None or node.after.homogeneous is not True or len(node.after.gpus) < 2:
            continue
        adaptations += _propose_queue(after, node)
        adaptations += _propose_replicas(after, node)
    return tuple(adaptations)


def adapt(text: str, adaptations: Iterable[Adaptation], *, filename: str) -> str:
    """Write proposals into the text of a cluster file; comments stay.

    Raises: ClusterFileError, UneditableError as the editor does.
    """
    editor = Editor(text, filename=filename)
    for edit in (edit for adaptation in adaptations for edit in adaptation.edits):
        _apply(editor, edit)
    return editor.finish()


def _apply(editor: Editor, edit: Edit) -> None:
    path = _find_steps(editor, edit.path)
    if edit.value is not None and path and path[-1] == _LAST:
        editor.append(path[:-1], edit.value)
    elif edit.value is not None:
        editor.assign(path, edit.value)
    elif editor.has(path):
        editor.remove(path)


_LAST = -1


def _find_steps(editor: Editor, names: Sequence[str]) -> tuple[Name, ...]:
    """Turn names into places of the file; an item that a list does not have yet is its last (-1)."""
    path: tuple[Name, ...] = ()
    for name in names:
        items: Any = editor.get(path)  # plain YAML
        if isinstance(items, list):
            places = [index for index, item in enumerate(cast("list[Any]", items)) if item.get("name") == name]
            path = (*path, places[0] if places else _LAST)
        else:
            path = (*path, name)
    return path


def _propose_queue(after: Cluster, node: NodeComparison) -> Iterable[Adaptation]:
    """Propose one queue over all GPUs of a node where each queue has only some of them."""
    gpus = [gpu.name for gpu in node.after.gpus] if node.after else []
    partial = [queue for queue in after.queues.values() if queue.devices and set(queue.devices) < set(gpus)]
    covering = {name for queue in after.queues.values() for name in queue.devices or ()}
    if not partial or (len(partial) == 1 and not set(gpus) - covering and len(after.queues) > 1):
        return
    name = f"{node.name}-pool" if len(partial) > 1 else partial[0].name
    removals = [Edit(path=("queues", queue.name), value=None) for queue in partial if queue.name != name]
    queue = Edit(path=("queues", name), value={"name": name, "pool": gpus, "order": partial[0].order.value})
    yield Adaptation(
        about=f"queue {name}",
        before="; ".join(f"{queue.name} → {', '.join(queue.pool or ())}" for queue in partial),
        after=f"{name} → {', '.join(gpus)}",
        why="the GPUs are equal: the first task takes the free one, and neither idles while the other has a line",
        price="tasks name their queue: those who submit to "
        + " or ".join(queue.name for queue in partial)
        + f" have to say {name}"
        if removals
        else None,
        edits=(queue, *removals),
    )


def _propose_replicas(after: Cluster, node: NodeComparison) -> Iterable[Adaptation]:
    """Propose as many replicas as there are GPUs, for the first workload whose tasks a service of the node does."""
    service = _choose_leading_service(after, node.name)
    count = len(node.after.gpus) if node.after else 0
    wanted = count // max(1, service.gpus or 1) if service else 0
    if service is None or wanted <= _count_replicas(after, service):
        return
    displaced = _list_displaced(after, service, node.name)
    yield Adaptation(
        about=f"service {service.name}",
        before=f"{_count_replicas(after, service)} replica",
        after=f"{wanted} replicas, one for each GPU of {node.name}",
        why="a replica computes on its own GPU only; a GPU without a replica makes nothing faster",
        price=None if not displaced else f"{', '.join(displaced)} no longer has a GPU of its own and takes turns",
        edits=tuple(_list_replica_edits(after, service, node, wanted, displaced)),
    )
    if service.engines:
        yield _propose_addresses(service, wanted)


def _choose_leading_service(after: Cluster, node: str) -> Service | None:
    """Choose the service of the first workload with a known duration that runs on the node, one GPU for each task."""
    for workload in after.workloads.values():
        service = after.services.get(workload.service or "")
        if service and service.node == node and workload.seconds and not workload.parallel_capable and service.gpus:
            return service
    return None


def _count_replicas(after: Cluster, service: Service) -> int:
    """Count replicas as the layouts that place the service see them; the fewest of them."""
    placed = [layout.services[service.name] for layout in after.layouts.values() if service.name in layout.services]
    counts = [service.replicas if replica.replicas is None else replica.replicas for replica in placed]
    return min([service.replicas, *counts])


def _list_displaced(after: Cluster, service: Service, node: str) -> tuple[str, ...]:
    """List the services that a layout with this one gives a GPU of the node."""
    names = [
        name
        for layout in after.layouts.values()
        if service.name in layout.services
        for name, placement in layout.services.items()
        if name != service.name and placement.node == node and placement.gpus
    ]
    return tuple(dict.fromkeys(names))


def _list_replica_edits(
    after: Cluster, service: Service, node: NodeComparison, wanted: int, displaced: tuple[str, ...]
) -> Iterable[Edit]:
    yield Edit(path=("services", service.name, "replicas"), value=wanted)
    indexes = [gpu.index for gpu in node.after.gpus] if node.after else []
    for layout in after.layouts.values():
        placement = layout.services.get(service.name)
        if placement is None or (placement.node or service.node) != node.name:
            continue
        place = ("layouts", layout.name, "services")
        if placement.gpus:
            yield Edit(path=(*place, service.name, "gpus"), value=indexes)
            yield Edit(path=(*place, service.name, "replicas"), value=wanted)
        yield from (Edit(path=(*place, name), value=None) for name in displaced if name in layout.services)


def _propose_addresses(service: Service, wanted: int) -> Adaptation:
    engine = service.engines[0]
    return Adaptation(
        about=f"engine {engine}",
        before="one address, or none",
        after=f"{wanted} instances, each with an address of its own: `engines.{engine}.instances`",
        why="each replica has a queue and a history of its own; behind one address an answer can come from the one "
        "that never had the task (pitfalls D02)",
        price=None,
        edits=(),
    )
