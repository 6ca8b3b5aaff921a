"""What will go wrong or surprise although the plan stands; each with the pitfall that it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from corral.cluster.values import Cluster, Layout
from corral.hardware.fit.names import TEXT_ENGINES, shape_of_name
from corral.planning.placement.asks import Ask, volumes_of, wants_gpu
from corral.planning.placement.cards import NODE_RESERVE, Machine
from corral.planning.placement.room import Room, names_of
from corral.planning.placement.values import Card, Caution
from corral.units import format_bytes


def cautions_of(cluster: Cluster, layout: Layout | None, asks: Sequence[Ask], room: Room) -> tuple[Caution, ...]:
    """List the cautions about nodes, then about services, in the order of the file."""
    found = [
        *_nodes(cluster, asks, room),
        *(caution for ask in asks for caution in _of_ask(ask, room)),
        *(_sharing(cluster, room) if cluster.kubernetes is not None else ()),
        *_volumes(cluster, layout),
    ]
    return tuple(dict.fromkeys(found))


def _nodes(cluster: Cluster, asks: Sequence[Ask], room: Room) -> Iterator[Caution]:
    for machine in room.machines.values():
        if cluster.kubernetes is not None:
            yield from _mixed(machine)
        yield from _limits(cluster, asks, room, machine)
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
        hint="choose the card with a device claim (DRA), keep one model in a node, or plan for the smallest card",
    )


def _limits(cluster: Cluster, asks: Sequence[Ask], room: Room, machine: Machine) -> Iterator[Caution]:
    if machine.memory is None:
        return
    limits = sum(
        cluster.services[service].memory_limit or 0
        for ask in asks
        for service in ask.services
        for _ in range(room.on_node[ask.place, machine.name])
    )
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
    for card in machine.cards:
        if card.usable is None:
            yield Caution(
                pitfall="",
                where=card.name,
                what="the VRAM of the card is unknown, so nothing is checked against it",
                hint="name its `model`, or give its `memory`; `corral inventory` reads both",
            )


def _of_ask(ask: Ask, room: Room) -> Iterator[Caution]:
    if ask.vram is not None:
        yield from _models(ask, room)
        yield from _counts(ask, room)
    yield from _bound_by_volume(ask)


def _models(ask: Ask, room: Room) -> Iterator[Caution]:
    assert ask.vram is not None
    cards = _cards(ask, room)
    usable = [card.usable for card in cards if card.usable is not None]
    if ask.vram.figure is None:
        yield Caution(
            pitfall="",
            where=ask.name,
            what="what it needs in VRAM is unknown, so it has its card alone and nothing is checked",
            hint="give its `gpuMemory`, or its `models`",
        )
    elif unknown := [each.model for each in ask.vram.models if each.bytes is None and ask.vram.is_open]:
        yield Caution(
            pitfall="",
            where=ask.name,
            what=f"what {', '.join(unknown)} need in VRAM is unknown",
            hint="name the models with their size, or run `corral fit` on them",
        )
    if usable:
        yield from _sizes(ask, max(usable), _describe(cards))


def _sizes(ask: Ask, usable: int, where: str) -> Iterator[Caution]:
    assert ask.vram is not None
    left = usable - ask.vram.declared
    beside = f" beside {format_bytes(ask.vram.declared)} for the rest of the pod" if ask.vram.declared else ""
    for each in ask.vram.models:
        room = left if each.within is None else each.within
        if each.bytes is None or each.bytes <= room:
            continue
        has = (
            f"{format_bytes(room)} are usable on {where}{beside}"
            if each.within is None
            else (f"`gpuMemory` of {each.service} is {format_bytes(room)}")
        )
        yield Caution(
            pitfall="B08",
            where=f"{ask.name}: {each.model}",
            what=f"the model needs {format_bytes(each.bytes)}, and {has}: what does not fit is computed by the"
            " processor, many times slower",
            hint=f"choose a smaller quantization (`corral fit {each.model}` lists what fits), or a larger card",
        )
    counted = [each.bytes for each in ask.vram.models if each.bytes is not None and each.within is None]
    if ask.vram.swaps and len(counted) > 1:
        yield Caution(
            pitfall="B10",
            where=ask.name,
            what=f"its {len(counted)} models need {format_bytes(sum(counted))} together, and {format_bytes(left)} are"
            f" usable on {where}{beside}: they take turns, each unloaded before the next is loaded",
            hint="keep one model loaded at a time (OLLAMA_MAX_LOADED_MODELS=1), or give a model its own card",
        )


def _cards(ask: Ask, room: Room) -> list[Card]:
    """Return the cards it has, or those it could have."""
    mine = [
        room.cards[node, index]
        for replica in range(ask.replicas)
        for node, indexes in [room.seats.get((ask.place, replica), (None, ()))]
        if node is not None
        for index in indexes
    ]
    if mine:
        return mine
    return _possible(ask, room)


def _describe(cards: Sequence[Card]) -> str:
    best = max(cards, key=lambda card: card.usable or 0)
    return f"{best.name} ({best.model or 'unknown model'})"


def _counts(ask: Ask, room: Room) -> Iterator[Caution]:
    cards = _possible(ask, room)
    per_node = Counter(card.node for card in cards)
    if ask.whole and per_node and max(per_node.values()) < ask.gpus:
        yield Caution(
            pitfall="A06",
            where=ask.name,
            what=f"a replica wants {ask.gpus} GPUs, and no node that it may run on has more than"
            f" {max(per_node.values())}: it would wait for ever",
            hint="ask for fewer GPUs per replica",
        )
    elif ask.whole and ask.replicas * ask.gpus > len(cards) and (ask.bonds or ask.indexes):
        yield Caution(
            pitfall="A07",
            where=ask.name,
            what=f"{ask.replicas} replicas with {ask.gpus} GPU each want {ask.replicas * ask.gpus}, and there are"
            f" {len(cards)} where it may run: the rest would wait for ever",
            hint="lower `replicas`, or name more GPUs or another node",
        )


def _possible(ask: Ask, room: Room) -> list[Card]:
    may = [card for card in room.cards.values() if ask.may_run_on(card.node)]
    return [card for card in may if ask.indexes is None or card.index in ask.indexes]


def _bound_by_volume(ask: Ask) -> Iterator[Caution]:
    for bond in ask.bonds:
        if bond.volume is None:
            continue
        named = any(other.volume is None and other.node == bond.node for other in ask.bonds)
        if not named:
            yield Caution(
                pitfall="E01",
                where=ask.name,
                what=f"nothing but its volume {bond.volume} says where it runs: that lies on {bond.node} and keeps it"
                " there",
                hint=f"write `node: {bond.node}`, or use a volume that every node reaches",
            )
        if ask.replicas > 1:
            yield Caution(
                pitfall="E03",
                where=ask.name,
                what=f"its {ask.replicas} replicas share the local volume {bond.volume}, so all of them stay on"
                f" {bond.node}",
                hint="use an nfs volume, or a volume for each node",
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
                    hint="let both containers name one device claim (DRA), or run them in pods of their own",
                )


def _volumes(cluster: Cluster, layout: Layout | None) -> Iterator[Caution]:
    """Warn of volumes that cannot hold the models of the services that use them."""
    for volume in cluster.storage.values():
        users = [one for one in cluster.services.values() if volume.name in volumes_of(one, layout)]
        names = dict.fromkeys(model for one in users if TEXT_ENGINES.intersection(one.engines) for model in one.models)
        shapes = {name: shape for name in names if (shape := shape_of_name(name)) is not None}
        needed = sum(shape.weights for shape in shapes.values())
        if volume.size is not None and needed > volume.size:
            yield Caution(
                pitfall="E09",
                where=volume.name,
                what=f"the weights of {', '.join(shapes)} take {format_bytes(needed)} on disk, and the volume has"
                f" {format_bytes(volume.size)}",
                hint="enlarge the volume, or keep fewer models",
            )
