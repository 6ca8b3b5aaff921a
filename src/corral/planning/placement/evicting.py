"""Makes way for replicas of an earlier tier: what goes later gives up its place, where that is worth it.

Seating the counts of a program can leave a first replica without a place while a further one of another service has
one. That would be worse than what the program said by more than the count tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from corral.planning.placement.asks import Ask
from corral.planning.placement.room import Room, Seat, Unit, suits
from corral.planning.placement.values import Card, Tier

WORTH: Mapping[Tier, int] = MappingProxyType({Tier.FIRST: 100, Tier.FURTHER: 10, Tier.ON_DEMAND: 1})
"""What a replica is worth in large clusters, where plans are not exact: a first one as much as ten further ones."""
_Way = tuple[Seat, tuple[Unit, ...]]
"""A seat, and who has to give up their places for it."""


def make_way(room: Room, asks: Sequence[Ask]) -> None:
    """Give places of later tiers to replicas of earlier ones that have none, and are worth more."""
    easiest = sorted(asks, key=lambda ask: (ask.gpus, ask.needed, ask.place))
    for tier in (Tier.FIRST, Tier.FURTHER):
        hopeless: set[object] = set()
        loose = _loose_cards(room, tier)
        for unit in [(ask, replica) for ask in easiest for replica in range(ask.replicas)]:
            ask, replica = unit
            waits = ask.tier(replica) is tier and (ask.place, replica) not in room.seats
            if waits and ask.gpus and ask.likeness not in hopeless and not _make_way_for(room, unit, loose):
                hopeless.add(ask.likeness)


def _loose_cards(room: Room, tier: Tier) -> dict[str, list[Card]]:
    """List by node the cards that are empty, or that somebody of a later tier is on."""
    loose: dict[str, list[Card]] = {}
    for key, card in room.cards.items():
        tenants = room.tenants.get(key)
        if not tenants or any(ask.tier(replica) > tier for ask, replica in tenants):
            loose.setdefault(card.node, []).append(card)
    return loose


def _make_way_for(room: Room, unit: Unit, loose: Mapping[str, Sequence[Card]]) -> bool:
    way = _cheapest(room, unit, loose)
    if way is None or sum(_worth(each) for each in way[1]) >= _worth(unit):
        return False
    seat, leaving = way
    for each in leaving:
        room.release(each)
    room.take(unit, seat)
    return True


def _worth(unit: Unit) -> int:
    return WORTH[unit[0].tier(unit[1])]


def _cheapest(room: Room, unit: Unit, loose: Mapping[str, Sequence[Card]]) -> _Way | None:
    """Find the seat for which the fewest must leave."""
    ask, replica = unit
    best: _Way | None = None
    for node in ask.nodes(loose):
        way = _way(room, ask, ask.tier(replica), node, loose[node])
        if way is not None and (best is None or len(way[1]) < len(best[1])):
            best = way
        if best is not None and len(best[1]) <= 1:
            break
    return best


def _way(room: Room, ask: Ask, tier: Tier, node: str, cards: Sequence[Card]) -> _Way | None:
    costs = sorted(
        (len(leaving), card.index, leaving)
        for card in cards
        if suits(ask, card) and (leaving := _leaving(room, ask, card, tier)) is not None
    )[: ask.gpus]
    if len(costs) < ask.gpus:
        return None
    leaving = {(unit[0].place, unit[1]): unit for _, _, units in costs for unit in units}
    left = room.memory_left[node]
    if left is not None and left + sum(unit[0].memory for unit in leaving.values()) < ask.memory:
        return None
    return (node, tuple(sorted(index for _, index, _ in costs))), tuple(leaving.values())


def _leaving(room: Room, ask: Ask, card: Card, tier: Tier) -> tuple[Unit, ...] | None:
    """List who would have to leave a card, or None when somebody on it does not have to."""
    tenants = room.tenants.get((card.node, card.index), [])
    later = [unit for unit in tenants if unit[0].tier(unit[1]) > tier]
    if ask.whole or any(unit[0].whole for unit in tenants):
        return tuple(tenants) if len(later) == len(tenants) else None
    left = room.left[card.node, card.index] or 0
    leaving: list[Unit] = []
    for unit in sorted(later, key=lambda unit: (-unit[0].needed, unit[0].place, unit[1])):
        if left >= ask.needed:
            break
        leaving.append(unit)
        left += unit[0].needed
    return tuple(leaving) if left >= ask.needed else None
