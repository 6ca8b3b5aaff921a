"""The search for the best plan: first fit, then tier by tier what an integer program finds better, with its bound.

A cluster in which first fit places everything needs no search. Small clusters are searched card by card and tier by
tier: no plan has more of a tier without having fewer of one before it. In large ones, cards and replicas that are alike
are counted, and tiers are weighed: a plan may give up one first replica for more than ten further ones. How much better
any plan could be is known in both cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

from corral.planning.placement.alike import EXACT_LIMIT, Detail, Group, Sort, Stock
from corral.planning.placement.candidates import Offers
from corral.planning.placement.demand import Ask
from corral.planning.placement.greedy import WORTH, fill, make_way
from corral.planning.placement.integer_program import Counting
from corral.planning.placement.ledger import Room, Unit
from corral.planning.placement.values import Card, Machine, Proof, Tier

_ROUNDING = 1e-6
"""What a bound may be off by in the solver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """The best plan that was found, and what is proven about it."""

    room: Room
    proofs: tuple[Proof, ...]
    gap: float
    """Part by which another plan could be better at most, from 0 (proven best) to 1."""
    exact: bool


def search(machines: Sequence[Machine], asks: Sequence[Ask]) -> Found:
    """Place as many replicas as can be, the first tiers first."""
    room = Room(machines)
    fill(room, asks)
    if all(placed_of(asks, room, tier) == asked_of(asks, tier) for tier in Tier):
        proofs = tuple(_proof(asks, room, tier, asked_of(asks, tier)) for tier in Tier)
        return Found(room=room, proofs=proofs, gap=0.0, exact=is_exact(asks, room))
    return _exactly(machines, asks, room) if is_exact(asks, room) else counted_search(machines, asks, room)


def is_exact(asks: Sequence[Ask], room: Room) -> bool:
    """Tell whether the cluster is small enough to be searched card by card."""
    return len(asks) * max(len(room.cards), len(room.machines)) <= EXACT_LIMIT


def _exactly(machines: Sequence[Machine], asks: Sequence[Ask], room: Room) -> Found:
    """Count the alike cards of a node together, and only where that cannot be seated, search card by card."""
    found = _tier_by_tier(machines, asks, room, Detail.NODE)
    return found if found.gap == 0 else _tier_by_tier(machines, asks, found.room, Detail.CARD)


def _tier_by_tier(machines: Sequence[Machine], asks: Sequence[Ask], room: Room, detail: Detail) -> Found:
    """Those tiers that the room has completely need no program, until one that it has not."""
    counting = Counting(machines, asks, room, detail)
    reached: dict[Tier, int] = {}
    bounds: dict[Tier, int] = {}
    values: Sequence[int] = ()
    for tier in Tier:
        counted = sum(sort.count(tier) for sort in counting.sorts)
        outside = asked_of(asks, tier) - counted  # placed in every plan, in no program
        reached[tier], bounds[tier] = counted, counted + outside
        if values or placed_of(asks, room, tier) < bounds[tier]:
            answer = counting.most(tier, reached)
            values, reached[tier] = answer.values, round(answer.objective)
            bounds[tier] = outside + floor(answer.bound + _ROUNDING)
    other = seat(counting, values, machines)
    fill(other, asks)
    best = max(room, other, key=lambda one: [placed_of(asks, one, tier) for tier in Tier])
    proofs = tuple(_proof(asks, best, tier, bounds[tier]) for tier in Tier)
    return Found(room=best, proofs=proofs, gap=max(proof.gap for proof in proofs), exact=True)


def counted_search(machines: Sequence[Machine], asks: Sequence[Ask], room: Room) -> Found:
    """Count what a large cluster can hold, and seat it; `room` is a plan to better."""
    counting = Counting(machines, asks, room, Detail.KIND)
    answer = counting.worthiest(WORTH)
    other = seat(counting, answer.values, machines)
    fill(other, asks)
    make_way(other, asks)
    fill(other, asks)
    best = max(room, other, key=lambda one: worth_of(asks, one))
    counted = sum(WORTH[tier] * sort.count(tier) for sort in counting.sorts for tier in Tier)
    outside = sum(WORTH[tier] * asked_of(asks, tier) for tier in Tier) - counted
    bound = answer.bound + outside
    missing = bound - worth_of(asks, best)
    proofs = tuple(_proof(asks, best, tier, None) for tier in Tier)
    return Found(room=best, proofs=proofs, gap=missing / bound if missing > _ROUNDING else 0.0, exact=False)


def _proof(asks: Sequence[Ask], room: Room, tier: Tier, bound: int | None) -> Proof:
    return Proof(tier=tier, asked=asked_of(asks, tier), placed=placed_of(asks, room, tier), at_most=bound)


def worth_of(asks: Sequence[Ask], room: Room) -> int:
    """Weigh what is placed."""
    return sum(WORTH[tier] * placed_of(asks, room, tier) for tier in Tier)


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


def seat(counting: Counting, values: Sequence[int], machines: Sequence[Machine]) -> Room:
    """Place the replicas that an answer counts, as far as they can be."""
    room = Room(machines)
    numbers = sorted(range(len(counting.sorts)), key=lambda number: _hardness(counting.sorts[number]))
    for number in numbers:
        waiting = counting.sorts[number].units
        for place, group in enumerate(counting.groups):
            if counting.sorts[number].like.gpus == 1:
                _seat_on_stocks(room, counting, values, number, group, waiting)
            elif column := counting.replicas.get((number, place)):
                stocks = [stock for stock in group.stocks if _value(counting, values, number, stock)]
                _seat(room, counting.sorts[number], group, stocks, waiting, values[column])
    return room


def _hardness(sort: Sort) -> tuple[object, ...]:
    like = sort.like
    return (not like.bonds, like.indexes is None, -like.gpus, not like.whole, -like.needed, -like.memory, like.place)


def _seat_on_stocks(
    room: Room, counting: Counting, values: Sequence[int], number: int, group: Group, waiting: list[Unit]
) -> None:
    for stock in group.stocks:
        if count := _value(counting, values, number, stock):
            _seat(room, counting.sorts[number], group, [stock], waiting, count)


def _value(counting: Counting, values: Sequence[int], number: int, stock: Stock) -> int:
    column = counting.cards.get((number, stock.number))
    return 0 if column is None else values[column]


def _seat(room: Room, sort: Sort, group: Group, stocks: Sequence[Stock], waiting: list[Unit], count: int) -> None:
    def allowed(card: Card) -> bool:
        return any(stock.has(card) for stock in stocks)

    offers = Offers(room, sort.like, sort.like.nodes(group.nodes), allowed)
    for _ in range(count):
        if not waiting or not offers.take(waiting[0]):
            return
        waiting.pop(0)
