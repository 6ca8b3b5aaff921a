"""Searches for the best plan: first fit, then tier by tier what an integer program finds better, with its bound.

A tier that first fit places completely needs no search. Small clusters are searched card by card, so the plan is the
best there is; for large ones, cards and replicas that are alike are counted, and the gap that remains is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from corral.planning.placement.asks import Ask
from corral.planning.placement.cards import Machine
from corral.planning.placement.counting import Counting
from corral.planning.placement.first_fit import fill
from corral.planning.placement.room import Room
from corral.planning.placement.seating import seat
from corral.planning.placement.solver import Effort
from corral.planning.placement.stocks import EXACT_LIMIT, groups_of, sorts_of
from corral.planning.placement.values import Proof, Tier

EXACT = Effort(nodes=5_000, gap=0.0, step=0.99)
"""Programs of small clusters are solved to the end; the limit is for the odd one that would take minutes."""
COUNTED = Effort(nodes=200, gap=0.005, step=0.99)
"""A quarter of the 2 % that a large plan may be away from its bound; seating takes the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best plan that was found, and what is proven about it."""

    room: Room
    proofs: tuple[Proof, ...]


def search(machines: Sequence[Machine], asks: Sequence[Ask]) -> Found:
    """Place as many replicas as can be, the first tiers first."""
    room = Room(machines)
    fill(room, asks)
    proofs: list[Proof] = []
    for tier in Tier:
        asked = asked_of(asks, tier)
        bound = asked
        if placed_of(asks, room, tier) < asked:
            room, bound = _improve(machines, asks, room, tier)
        proofs.append(Proof(tier=tier, asked=asked, placed=placed_of(asks, room, tier), at_most=bound))
    return Found(room=room, proofs=tuple(proofs))


def _improve(machines: Sequence[Machine], asks: Sequence[Ask], room: Room, tier: Tier) -> tuple[Room, int]:
    """Return a plan that has more of a tier and no fewer of those before it, if there is one, and the tier's bound."""
    exact = is_exact(asks, room)
    counting = Counting(groups_of(machines, exact=exact), sorts_of(asks, room, exact=exact), exact=exact)
    anywhere = asked_of(asks, tier) - sum(sort.count(tier) for sort in counting.sorts)
    reached = {before: placed_of(asks, room, before) for before in Tier}
    answer, bound = counting.most(tier, _without(asks, counting, reached), EXACT if exact else COUNTED)
    other = seat(counting, answer.values, machines)
    fill(other, asks)
    return max(room, other, key=lambda one: _rank(asks, one)), bound + anywhere


def _without(asks: Sequence[Ask], counting: Counting, reached: Mapping[Tier, int]) -> Mapping[Tier, int]:
    """Take off what may run anywhere: it is placed in every plan and in no program."""
    return {
        tier: count - asked_of(asks, tier) + sum(sort.count(tier) for sort in counting.sorts)
        for tier, count in reached.items()
    }


def is_exact(asks: Sequence[Ask], room: Room) -> bool:
    """Tell whether the cluster is small enough to be searched card by card."""
    return len(asks) * max(len(room.cards), len(room.machines)) <= EXACT_LIMIT


def _rank(asks: Sequence[Ask], room: Room) -> tuple[int, ...]:
    return tuple(placed_of(asks, room, tier) for tier in Tier)


def asked_of(asks: Sequence[Ask], tier: Tier) -> int:
    """Count the replicas of a tier."""
    return sum(ask.tier(replica) is tier for ask in asks for replica in range(ask.replicas))


def placed_of(asks: Sequence[Ask], room: Room, tier: Tier) -> int:
    """Count the replicas of a tier that have a place."""
    return sum(
        ask.tier(replica) is tier and (ask.place, replica) in room.seats
        for ask in asks
        for replica in range(ask.replicas)
    )
