"""A plan in one pass: hard cases first, each on the place that is best for it alone.

It is where the exact search starts from, and what stands where that is not needed. It never puts a replica where `Room`
would refuse it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from corral.planning.placement.asks import Ask
from corral.planning.placement.room import Room, Seat
from corral.planning.placement.values import Card, Tier


def fill(room: Room, asks: Sequence[Ask]) -> None:
    """Place what still fits, tier by tier."""
    for tier in Tier:
        for ask, replica in _in_order(asks, tier):
            if (ask.place, replica) not in room.seats and (seat := best_seat(room, ask)):
                room.take(ask, replica, seat)


def _in_order(asks: Sequence[Ask], tier: Tier) -> Iterator[tuple[Ask, int]]:
    """Bound ones first, then many cards, then large ones."""
    hardest = sorted(asks, key=lambda ask: (not ask.bonds, ask.indexes is None, -ask.gpus, -ask.needed, ask.place))
    return ((ask, replica) for ask in hardest for replica in range(ask.replicas) if ask.tier(replica) is tier)


def best_seat(room: Room, ask: Ask) -> Seat | None:
    """Choose the best free place of a replica: away from its like, one model of card, the least memory left over."""
    if is_anywhere(room, ask):
        return None, ()
    seats = [
        (room.on_node[ask.place, node], *choice)
        for node in room.machines
        if room.node_refusal(ask, node) is None
        for choice in _choices(room, ask, node)
    ]
    if not seats:
        return None
    _, _, _, node, indexes = min(seats)
    return node, indexes


def is_anywhere(room: Room, ask: Ask) -> bool:
    """Tell whether nothing that is known speaks for or against any node."""
    nothing_counted = not ask.memory or all(left is None for left in room.memory_left.values())
    return not ask.gpus and not ask.bonds and nothing_counted


def _choices(room: Room, ask: Ask, node: str) -> Iterator[tuple[int, int, str, tuple[int, ...]]]:
    if not ask.gpus:
        yield 0, -(room.memory_left[node] or 0), node, ()
        return
    free = sorted(room.free_cards(ask, node), key=lambda card: (_left_over(room, ask, card), card.index))
    by_model: dict[str | None, list[Card]] = {}
    for card in free:
        by_model.setdefault(card.model, []).append(card)
    for cards in [*by_model.values(), free]:
        if len(cards) >= ask.gpus:
            chosen = cards[: ask.gpus]
            models = len({card.model for card in chosen})
            left_over = sum(_left_over(room, ask, card) for card in chosen)
            yield models, left_over, node, tuple(sorted(card.index for card in chosen))


def _left_over(room: Room, ask: Ask, card: Card) -> int:
    """Bytes that are wasted on a card; a card of unknown size is the last choice."""
    left = room.left[card.node, card.index]
    return 2**62 if left is None else left - ask.needed
