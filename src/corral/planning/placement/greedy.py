"""Plans in one pass: first fit with hard cases first, making way for earlier tiers, and tidying up.

It is where the exact search starts from, and what completes a plan in the end. It never puts a replica where `Room`
would refuse it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from types import MappingProxyType

from corral.planning.placement.candidates import Offers
from corral.planning.placement.demand import Ask
from corral.planning.placement.ledger import Room, Seat, Unit, suits
from corral.planning.placement.values import Card, Preference, Tier

likeness = attrgetter("likeness")


def fill(room: Room, asks: Sequence[Ask]) -> None:
    """Place what still fits, tier by tier."""
    hardest = sorted(asks, key=likeness)
    for tier in Tier:
        for alike in (list(group) for _, group in groupby(hardest, key=likeness)):
            units = [
                (ask, replica)
                for ask in alike
                for replica in range(ask.replicas)
                if ask.tier(replica) is tier and (ask.place, replica) not in room.seats
            ]
            if units:
                seat_all(room, units)


def seat_all(room: Room, units: Iterable[Unit]) -> None:
    """Give replicas that are alike their best places, until there is none left."""
    offers: Offers | None = None
    for unit in units:
        ask = unit[0]
        if is_anywhere(room, ask):
            room.take(unit, (None, ()))
            continue
        offers = offers or Offers(room, ask, ask.nodes(room.machines))
        if not offers.take(unit):
            return


def is_anywhere(room: Room, ask: Ask) -> bool:
    """Tell whether nothing that is known speaks for or against any node."""
    nothing_counted = not ask.memory or all(machine.memory is None for machine in room.machines.values())
    return not ask.gpus and not ask.bonds and nothing_counted


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


_PASSES = 2
"""Moving one replica can open a better place for another; a third pass found nothing on any cluster that was tried."""


def tidy(room: Room, asks: Sequence[Ask]) -> None:
    """Move each replica to the best place that is free for it; what is placed stays placed."""
    for _ in range(_PASSES):
        for unit in [(ask, replica) for ask in asks for replica in range(ask.replicas)]:
            seat = room.seats.get((unit[0].place, unit[1]))
            if seat is not None and seat[0] is not None:
                room.release(unit)
                if not Offers(room, unit[0], unit[0].nodes(room.machines)).take(unit):
                    room.take(unit, seat)


def preference_of(room: Room, asks: Sequence[Ask]) -> Preference:
    """Count how far a plan is from the wishes."""
    return Preference(
        crowded=sum(max(0, replicas - 1) for replicas in room.on_node.values()),
        mixed=sum(max(0, len(room.models.get(ask.place, ())) - 1) for ask in asks),
        left_over=sum(
            room.left[key] or 0 for key, tenants in room.tenants.items() if tenants and not tenants[0][0].is_open
        ),
    )
