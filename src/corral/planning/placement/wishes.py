"""What is better between plans that place the same: apart, alike, and with little left over.

In this order: replicas of a service on different nodes (one dead node then takes one of them); one model of card for
all replicas of a service, and inside a replica that has several (they keep step); the smallest card that does. First
fit and seating choose by this rule, and in small clusters every replica is moved to a better place where there is one
when the counts are settled. That no plan meets the wishes better is not proven.
"""

from __future__ import annotations

from collections.abc import Sequence

from corral.planning.placement.asks import Ask
from corral.planning.placement.offers import Offers
from corral.planning.placement.room import Room
from corral.planning.placement.values import Preference

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
