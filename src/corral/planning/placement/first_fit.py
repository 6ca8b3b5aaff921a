"""A plan in one pass: hard cases first, each on the place that is best for it alone.

It is where the exact search starts from, and what completes a plan in the end. It never puts a replica where `Room`
would refuse it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter

from corral.planning.placement.asks import Ask
from corral.planning.placement.offers import Offers
from corral.planning.placement.room import Room, Unit
from corral.planning.placement.values import Tier

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
