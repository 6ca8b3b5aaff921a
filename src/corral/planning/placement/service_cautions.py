"""What will go wrong or surprise with a service, wherever it runs: unknown and too large needs, counts, volumes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from corral.planning.placement.asks import Ask
from corral.planning.placement.reach import Reach
from corral.planning.placement.values import Card, Caution
from corral.planning.placement.vram import Vram
from corral.units import format_bytes


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
