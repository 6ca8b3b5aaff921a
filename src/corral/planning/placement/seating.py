"""Turns the counts of a program into seats.

Counts over nodes that are alike need not fit on single nodes; what does not is left over, and the caller tries it
elsewhere. Hard cases come first, so that little is.
"""

from __future__ import annotations

from collections.abc import Sequence

from corral.planning.placement.cards import Machine
from corral.planning.placement.counting import Counting
from corral.planning.placement.offers import Offers
from corral.planning.placement.room import Room, Unit
from corral.planning.placement.stocks import Group, Sort, Stock
from corral.planning.placement.values import Card


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
