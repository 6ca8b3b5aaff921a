"""Cautions about a plan that holds: what will go wrong or surprise, by node, service and volume."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from corral.cluster.values import Cluster, Layout, Service, Storage
from corral.hardware.fit.names import TEXT_ENGINES, shape_of_name
from corral.planning.placement.demand import Ask, volumes_of, wants_gpu
from corral.planning.placement.eligibility import Reach
from corral.planning.placement.ledger import Room, names_of
from corral.planning.placement.values import NODE_RESERVE, Card, Caution, Machine
from corral.planning.placement.vram import Vram
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


def cautions_of_ask(ask: Ask, reach: Reach) -> Iterator[Caution]:
    """List what is wrong with a service or pod, wherever it is."""
    if ask.vram is not None:
        yield from _unknown(ask)
        yield from _sizes(ask, reach)
        yield from _counts(ask, reach)
    yield from _bound_by_volume(ask)


def _unknown(ask: Ask) -> Iterator[Caution]:
    assert ask.vram is not None
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


def _sizes(ask: Ask, reach: Reach) -> Iterator[Caution]:
    if ask.vram is None or not ask.vram.models:
        return
    cards = [card for card in _cards(ask, reach) if card.usable is not None]
    if cards:
        best = max(cards, key=lambda card: card.usable or 0)
        yield from _too_large(ask, ask.vram, best)
        yield from _taking_turns(ask, ask.vram, best)


def _too_large(ask: Ask, vram: Vram, best: Card) -> Iterator[Caution]:
    for each in vram.models:
        room = _left(vram, best) if each.within is None else each.within
        if each.bytes is None or each.bytes <= room:
            continue
        has = (
            f"{format_bytes(room)} are usable on {_where(vram, best)}"
            if each.within is None
            else f"`gpuMemory` of {each.service} is {format_bytes(room)}"
        )
        yield Caution(
            pitfall="B08",
            where=f"{ask.name}: {each.model}",
            what=f"the model needs {format_bytes(each.bytes)}, and {has}: what does not fit is computed by the"
            " processor, many times slower",
            hint=f"choose a smaller quantization (`corral fit {each.model}` lists what fits), or a larger card",
        )


def _taking_turns(ask: Ask, vram: Vram, best: Card) -> Iterator[Caution]:
    counted = [each.bytes for each in vram.models if each.bytes is not None and each.within is None]
    if vram.swaps and len(counted) > 1:
        yield Caution(
            pitfall="B10",
            where=ask.name,
            what=f"its {len(counted)} models need {format_bytes(sum(counted))} together, and"
            f" {format_bytes(_left(vram, best))} are usable on {_where(vram, best)}: they take turns, each unloaded"
            " before the next is loaded",
            hint="keep one model loaded at a time (OLLAMA_MAX_LOADED_MODELS=1), or give a model its own card",
        )


def _left(vram: Vram, card: Card) -> int:
    return (card.usable or 0) - vram.declared


def _where(vram: Vram, card: Card) -> str:
    beside = f" beside {format_bytes(vram.declared)} for the rest of the pod" if vram.declared else ""
    return f"{card.name} ({card.model or 'unknown model'}){beside}"


def _cards(ask: Ask, reach: Reach) -> Sequence[Card]:
    """Return the cards it has, or those it could have."""
    seats = [reach.room.seats.get((ask.place, replica)) for replica in range(ask.replicas)]
    mine = [reach.room.cards[seat[0], index] for seat in seats if seat and seat[0] for index in seat[1]]
    return mine or reach.allowed(ask)


def _counts(ask: Ask, reach: Reach) -> Iterator[Caution]:
    cards, most = len(reach.allowed(ask)), reach.most_on_a_node(ask)
    wanted = ask.replicas * ask.gpus
    if ask.whole and 0 < most < ask.gpus:
        yield Caution(
            pitfall="A06",
            where=ask.name,
            what=f"a replica wants {ask.gpus} GPUs, and no node that it may run on has more than {most}: it would wait"
            " for ever",
            hint="ask for fewer GPUs per replica",
        )
    elif ask.whole and wanted > cards and (ask.bonds or ask.indexes):
        yield Caution(
            pitfall="A07",
            where=ask.name,
            what=_too_few(ask, wanted, cards),
            hint="lower `replicas`, or name more GPUs or another node" if cards else "name a node that has GPUs",
        )


def _too_few(ask: Ask, wanted: int, cards: int) -> str:
    each = "a GPU" if ask.gpus == 1 else f"{ask.gpus} GPUs"
    if not cards:
        return f"it wants {each}, and there is none where it may run: it would wait for ever"
    return (
        f"{ask.replicas} replicas with {each} each want {wanted}, and where they may run there"
        f" {'is one' if cards == 1 else f'are {cards}'}: the rest would wait for ever"
    )


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
        if ask.replicas > 1 and not named:
            yield Caution(
                pitfall="E03",
                where=ask.name,
                what=f"its {ask.replicas} replicas share the local volume {bond.volume}, so all of them stay on"
                f" {bond.node}",
                hint="use an nfs volume, or a volume for each node",
            )
