"""GPUs that are alike and replicas that are alike, so that programs count them instead of naming each.

An answer of a program that counts need not be a plan: it is a relaxation. Its bound holds, and how much of it can be
seated is seen by seating it. The less is counted together, the more can be; the more, the smaller the program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from corral.planning.placement.demand import Ask
from corral.planning.placement.greedy import is_anywhere
from corral.planning.placement.ledger import Room, Unit, suits
from corral.planning.placement.values import Card, Machine, Tier


class Detail(StrEnum):
    """What is counted together."""

    CARD = "card"
    """Nothing: each card is a stock. An answer is a plan."""
    NODE = "node"
    """Cards of a node that are alike. Only memory that several share on a card can go wrong."""
    KIND = "kind"
    """Nodes that are alike, with all their cards."""


EXACT_LIMIT = 4_000
"""Asks times cards up to which a plan is searched card by card: that many columns are solved well within a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Nodes that are alike."""

    nodes: tuple[str, ...]
    memory: int | None
    """Of each node."""
    stocks: tuple[Stock, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stock:
    """Cards that are alike, on the nodes of a group."""

    number: int
    card: Card
    """One of them, to ask what it would do for."""
    count: int
    """In the whole group."""
    indexes: frozenset[int] | None
    """Which cards of the node they are; None where it is for several nodes."""

    def has(self, card: Card) -> bool:
        """Tell whether a card of one of the group's nodes is in the stock."""
        if self.indexes is not None:
            return card.index in self.indexes
        return (card.model, card.usable) == (self.card.model, self.card.usable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sort:
    """Replicas that are alike."""

    like: Ask
    asks: tuple[Ask, ...]

    @property
    def units(self) -> list[Unit]:
        """List the replicas: all first ones, then the further ones."""
        units = [(ask, replica) for ask in self.asks for replica in range(ask.replicas)]
        return sorted(units, key=lambda unit: unit[0].tier(unit[1]))

    def count(self, tier: Tier) -> int:
        """Count the replicas of a tier."""
        return sum(ask.tier(replica) is tier for ask in self.asks for replica in range(ask.replicas))


def groups_of(machines: Sequence[Machine], asks: Sequence[Ask], detail: Detail) -> tuple[Group, ...]:
    """Put nodes that are alike together, or each by itself.

    Nodes that something is bound to stand apart: part of their cards is spoken for, and so they hold fewer replicas
    that want several cards.
    """
    named = {bond.node for ask in asks if ask.gpus for bond in ask.bonds}
    alike: dict[object, list[Machine]] = {}
    for machine in machines:
        contents = sorted((card.model or "", card.usable or 0, card.usable is None) for card in machine.cards)
        key = (machine.name in named, machine.memory, tuple(contents)) if detail is Detail.KIND else machine.name
        alike.setdefault(key, []).append(machine)
    groups: list[Group] = []
    for members in alike.values():
        first = sum(len(group.stocks) for group in groups)
        pinned = [ask.indexes for ask in asks if ask.indexes and ask.may_run_on(members[0].name)]
        groups.append(_group(members, first, pinned, detail))
    return tuple(groups)


def _group(members: Sequence[Machine], first: int, pinned: Sequence[frozenset[int]], detail: Detail) -> Group:
    alike: dict[object, list[Card]] = {}
    for card in members[0].cards:
        pins = tuple(card.index in indexes for indexes in pinned)
        own = {Detail.CARD: card.index, Detail.NODE: pins, Detail.KIND: None}[detail]
        alike.setdefault((card.model, card.usable, own), []).append(card)
    stocks = [
        Stock(
            number=first + place,
            card=cards[0],
            count=len(members) * len(cards),
            indexes=None if detail is Detail.KIND else frozenset(card.index for card in cards),
        )
        for place, cards in enumerate(alike.values())
    ]
    return Group(nodes=tuple(one.name for one in members), memory=members[0].memory, stocks=tuple(stocks))


def sorts_of(asks: Sequence[Ask], room: Room) -> tuple[Sort, ...]:
    """Put asks that the program need not tell apart together; those that may run anywhere need no program."""
    bound = [ask for ask in asks if not is_anywhere(room, ask)]
    sizes = sorted({card.usable for card in room.cards.values() if card.usable is not None})
    keys = {ask.place: _key(ask, sizes) for ask in bound}
    ordered = sorted(bound, key=lambda ask: (keys[ask.place], ask.place))
    grouped = [list(members) for _, members in groupby(ordered, key=lambda ask: keys[ask.place])]
    return tuple(Sort(like=members[0], asks=tuple(members)) for members in grouped)


def _key(ask: Ask, sizes: Sequence[int]) -> tuple[object, ...]:
    """Tell asks apart by what the program sees: a whole card is as good as another that is also large enough."""
    needed = ask.needed
    if ask.whole and needed:
        needed = next((size for size in sizes if size >= needed), needed)
    nodes = tuple(sorted({bond.node for bond in ask.bonds}))
    return (ask.on_demand, ask.gpus, ask.whole, needed, ask.memory, nodes, sorted(ask.indexes or ()))


def would_suit(sort: Sort, group: Group, stock: Stock) -> bool:
    """Tell whether a replica could have a card of the stock."""
    nodes = sort.like.nodes(group.nodes)
    if not nodes or not suits_alike(sort.like, stock):
        return False
    return group.memory is None or sort.like.memory <= group.memory


def suits_alike(ask: Ask, stock: Stock) -> bool:
    """Tell whether a stock's cards are large enough, and of the indexes that are allowed where the stock has one."""
    if (
        stock.indexes is None and ask.indexes is not None
    ):  # alike cards have several indexes: only their size counts here
        return ask.whole if stock.card.usable is None else ask.needed <= stock.card.usable
    return suits(ask, stock.card)
