"""Which cards something may have at all, whoever holds them.

It is asked for every replica, and worked out once for those that are alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property

from corral.planning.placement.asks import Ask
from corral.planning.placement.cards import Machine
from corral.planning.placement.room import Room, suits, unit_name
from corral.planning.placement.values import Card


class Reach:
    """The cards within reach of asks, in a finished plan."""

    def __init__(self, room: Room) -> None:
        self.room = room
        self._allowed: dict[object, Sequence[Card]] = {}
        self._able: dict[object, Sequence[Card]] = {}
        self._turns: dict[object, tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def allowed(self, ask: Ask) -> Sequence[Card]:
        """List the cards that no bond and no layout keeps it from."""
        if not ask.bonds and ask.indexes is None:
            return self._all
        key = (ask.bonds, ask.indexes)
        if key not in self._allowed:
            machines = [self.room.machines[node] for node in ask.nodes(self.room.machines)]
            self._allowed[key] = _named(machines, ask.indexes)
        return self._allowed[key]

    @cached_property
    def _all(self) -> Sequence[Card]:
        return tuple(self.room.cards.values())

    def most_on_a_node(self, ask: Ask) -> int:
        """Count the cards of the node where it may have the most."""
        cards = self.allowed(ask)
        return self._most if cards is self._all else _most(cards)

    @cached_property
    def _most(self) -> int:
        return _most(self._all)

    def able(self, ask: Ask) -> Sequence[Card]:
        """List the cards that would do if they were empty."""
        if ask.likeness not in self._able:
            self._able[ask.likeness] = tuple(card for card in self.allowed(ask) if suits(ask, card))
        return self._able[ask.likeness]

    def turns(self, ask: Ask) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Name the GPUs on which it would run if it had them for itself, and who holds them."""
        if ask.likeness not in self._turns:
            self._turns[ask.likeness] = self._turns_of(ask)
        return self._turns[ask.likeness]

    def _turns_of(self, ask: Ask) -> tuple[tuple[str, ...], tuple[str, ...]]:
        able = self.able(ask)
        per_node = Counter(card.node for card in able)
        machines = self.room.machines
        roomy = {node for node in per_node if _has_memory(machines[node], ask) and per_node[node] >= ask.gpus}
        cards = [card for card in able if card.node in roomy]
        tenants = (unit for card in cards for unit in self.room.tenants.get((card.node, card.index), []))
        return tuple(card.name for card in cards), tuple(dict.fromkeys(map(unit_name, tenants)))


def _named(machines: Sequence[Machine], indexes: frozenset[int] | None) -> Sequence[Card]:
    cards = (card for machine in machines for card in machine.cards)
    return tuple(card for card in cards if indexes is None or card.index in indexes)


def _most(cards: Sequence[Card]) -> int:
    return max(Counter(card.node for card in cards).values(), default=0)


def _has_memory(machine: Machine, ask: Ask) -> bool:
    return machine.memory is None or ask.memory <= machine.memory
