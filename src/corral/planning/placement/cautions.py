"""What will go wrong or surprise although the plan stands; each with the pitfall that it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from corral.cluster.values import Cluster, Layout, Service, Storage
from corral.hardware.fit.names import TEXT_ENGINES, shape_of_name
from corral.planning.placement.asks import Ask, volumes_of, wants_gpu
from corral.planning.placement.cards import NODE_RESERVE, Machine
from corral.planning.placement.reach import Reach
from corral.planning.placement.room import Room, names_of
from corral.planning.placement.service_cautions import cautions_of_ask
from corral.planning.placement.values import Caution
from corral.units import format_bytes


def cautions_of(cluster: Cluster, layout: Layout | None, asks: Sequence[Ask], reach: Reach) -> tuple[Caution, ...]:
    """List the cautions about nodes, then about services and volumes, in the order of the file."""
    room = reach.room
    found = [
        *_nodes(cluster, asks, room),
        *(caution for ask in asks for caution in cautions_of_ask(ask, reach)),
        *(_sharing(cluster, room) if cluster.kubernetes is not None else ()),
        *_volumes(cluster, layout),
    ]
    return tuple(dict.fromkeys(found))


def _nodes(cluster: Cluster, asks: Sequence[Ask], room: Room) -> Iterator[Caution]:
    limits = _limits_by_node(cluster, asks, room)
    for machine in room.machines.values():
        if cluster.kubernetes is not None:
            yield from _mixed(machine)
        yield from _limits(machine, limits[machine.name])
        yield from _unknown_cards(machine)


def _mixed(machine: Machine) -> Iterator[Caution]:
    models = Counter(card.model or "unknown model" for card in machine.cards)
    if len(models) < 2:
        return
    smallest = min((card.usable for card in machine.cards if card.usable is not None), default=None)
    listed = ", ".join(f"{count} x {model}" for model, count in models.items())
    room_for = "" if smallest is None else f"; only {format_bytes(smallest)} can be counted on"
    yield Caution(
        pitfall="A11",
        where=machine.name,
        what=f"the node has {listed}, and `nvidia.com/gpu` hands out any of them{room_for}",
        hint="choose the card with a device claim (DRA), as `corral render` does unless `gpuMode` says otherwise; or"
        " keep one model in a node",
    )


def _limits_by_node(cluster: Cluster, asks: Sequence[Ask], room: Room) -> Counter[str]:
    limits = {ask.place: sum(cluster.services[name].memory_limit or 0 for name in ask.services) for ask in asks}
    sums: Counter[str] = Counter()
    for (place, node), replicas in room.on_node.items():
        sums[node] += limits[place] * replicas
    return sums


def _limits(machine: Machine, limits: int) -> Iterator[Caution]:
    if machine.memory is None:
        return
    if limits <= machine.memory:
        return
    yield Caution(
        pitfall="A25",
        where=machine.name,
        what=f"the memory limits there add up to {format_bytes(limits)}, and {format_bytes(machine.memory)} are left of"
        f" {format_bytes(machine.memory + NODE_RESERVE)} for services",
        hint="lower the limits, or move a service: nothing checks limits when services start",
    )


def _unknown_cards(machine: Machine) -> Iterator[Caution]:
    if not machine.described:
        yield Caution(
            pitfall="",
            where=machine.name,
            what="the file does not say which GPUs the node has, so nothing is planned on them",
            hint="run `corral inventory` there; it writes the node's section",
        )
    for card in machine.cards:
        if card.usable is None:
            yield Caution(
                pitfall="",
                where=card.name,
                what="the VRAM of the card is unknown, so nothing is checked against it",
                hint="name its `model`, or give its `memory`; `corral inventory` reads both",
            )


def _sharing(cluster: Cluster, room: Room) -> Iterator[Caution]:
    """Warn of cards that Kubernetes would not share as the plan does."""
    for key, card in room.cards.items():
        tenants = room.tenants.get(key, [])
        if len(tenants) > 1:
            yield Caution(
                pitfall="A14",
                where=card.name,
                what=f"{names_of(tenants)} share the card, and nothing holds each to what it declares: one that takes"
                " more makes the others fail",
                hint="set limits with MPS, HAMi or a device claim (DRA) with a capacity, or give one its own card",
            )
        for ask, _ in tenants:
            users = [name for name in ask.services if wants_gpu(cluster.services[name])]
            if len(users) > 1:
                yield Caution(
                    pitfall="A08",
                    where=ask.name,
                    what=f"{' and '.join(users)} use one card from one pod, and `nvidia.com/gpu: 1` gives it to one"
                    " container alone",
                    hint="let both containers name one device claim (DRA), as `corral render` does unless `gpuMode`"
                    " says otherwise; or run them in pods of their own",
                )


def _volumes(cluster: Cluster, layout: Layout | None) -> Iterator[Caution]:
    """Warn of volumes that cannot hold the models of the services that use them."""
    users: dict[str, list[Service]] = {}
    for service in cluster.services.values():
        for name in volumes_of(service, layout):
            users.setdefault(name, []).append(service)
    for volume in cluster.storage.values():
        if volume.size is not None and volume.name in users:
            yield from _too_small(volume, volume.size, users[volume.name])


def _too_small(volume: Storage, size: int, users: Sequence[Service]) -> Iterator[Caution]:
    names = dict.fromkeys(model for one in users if TEXT_ENGINES.intersection(one.engines) for model in one.models)
    shapes = {name: shape for name in names if (shape := shape_of_name(name)) is not None}
    needed = sum(shape.weights for shape in shapes.values())
    if needed > size:
        yield Caution(
            pitfall="E09",
            where=volume.name,
            what=f"the weights of {', '.join(shapes)} take {format_bytes(needed)} on disk, and the volume has"
            f" {format_bytes(size)}",
            hint="enlarge the volume, or keep fewer models",
        )
