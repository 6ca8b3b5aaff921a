"""The ledger of a plan in the making: which GPU and memory is free, and the one place where a replica takes some.

Whatever chose a place, it is taken here, and here it is refused when it is not free: no plan gives a byte of a card or
of a node twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from corral.planning.placement.demand import Ask
from corral.planning.placement.values import Card, Machine
from corral.units import format_bytes

Seat = tuple[str | None, tuple[int, ...]]
"""A node and the indexes of GPUs on it; no node at all for what may run anywhere."""
Unit = tuple[Ask, int]
"""A replica: what is placed. The number counts from 0."""


class NotFreeError(ValueError):
    """A place was given away twice, or to somebody whom it does not suit: a mistake of the planner."""


class Room:
    """Cards, memory and who has them."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self.machines = {machine.name: machine for machine in machines}
        self.cards = {(card.node, card.index): card for machine in machines for card in machine.cards}
        self.left = {key: card.usable for key, card in self.cards.items()}
        self.memory_left = {machine.name: machine.memory for machine in machines}
        self.tenants: dict[tuple[str, int], list[Unit]] = {}
        self.seats: dict[tuple[int, int], Seat] = {}
        """By the ask's place and the replica."""
        self.on_node: Counter[tuple[int, str]] = Counter()
        """Replicas of an ask on a node."""
        self.models: dict[int, set[str | None]] = {}
        """Models of card that an ask has, by its place."""

    def take(self, unit: Unit, seat: Seat) -> None:
        """Give a replica its place. Raises: NotFreeError."""
        ask, replica = unit
        node, indexes = seat
        if (ask.place, replica) in self.seats or len(set(indexes)) != ask.gpus:
            raise NotFreeError(f"{ask.name} #{replica + 1} cannot have {node} {indexes}")
        if node is None:
            self.seats[ask.place, replica] = seat
            return
        cards = [self.cards[node, index] for index in indexes]
        if not self.node_admits(ask, node) or not all(self.admits(ask, card) for card in cards):
            raise NotFreeError(f"{ask.name} #{replica + 1} cannot have {node} {indexes}")
        self._take(unit, node, cards)

    def _take(self, unit: Unit, node: str, cards: Sequence[Card]) -> None:
        ask, replica = unit
        for card in cards:
            key = (node, card.index)
            self.tenants.setdefault(key, []).append(unit)
            left = self.left[key]
            self.left[key] = None if left is None else left - ask.needed
            self.models.setdefault(ask.place, set()).add(card.model)
        memory = self.memory_left[node]
        self.memory_left[node] = None if memory is None else memory - ask.memory
        self.on_node[ask.place, node] += 1
        self.seats[ask.place, replica] = (node, tuple(card.index for card in cards))

    def release(self, unit: Unit) -> None:
        """Take a replica's place back."""
        ask, replica = unit
        node, indexes = self.seats.pop((ask.place, replica))
        if node is None:
            return
        for index in indexes:
            self.tenants[node, index].remove(unit)
            left = self.left[node, index]
            self.left[node, index] = None if left is None else left + ask.needed
        memory = self.memory_left[node]
        self.memory_left[node] = None if memory is None else memory + ask.memory
        self.on_node[ask.place, node] -= 1
        mine = [self.seats.get((ask.place, other), (None, ())) for other in range(ask.replicas)]
        self.models[ask.place] = {self.cards[where, index].model for where, each in mine if where for index in each}

    def node_admits(self, ask: Ask, node: str) -> bool:
        """Tell whether a replica may be on a node, and its main memory suffices."""
        left = self.memory_left[node]
        return (left is None or ask.memory <= left) and ask.may_run_on(node)

    def admits(self, ask: Ask, card: Card) -> bool:
        """Tell whether a card can be one of a replica's, whatever other cards it gets."""
        if not suits(ask, card):
            return False
        tenants = self.tenants.get((card.node, card.index))
        if not tenants:
            return True
        left = self.left[card.node, card.index]
        return not ask.whole and not tenants[0][0].whole and left is not None and ask.needed <= left

    def node_refusal(self, ask: Ask, node: str) -> str | None:
        """Say why no replica can be on a node, or None: `node_admits` in words."""
        for bond in ask.bonds:
            if bond.node != node:
                return bond.reason
        left = self.memory_left[node]
        if left is None or ask.memory <= left:
            return None
        return f"requests {format_bytes(ask.memory)} of main memory, {format_bytes(max(0, left))} left"

    def refusal(self, ask: Ask, card: Card) -> str | None:
        """Say why a card cannot be one of a replica's, or None: `admits` in words."""
        if why := misfit(ask, card):
            return why
        tenants = self.tenants.get((card.node, card.index), [])
        names = names_of(tenants)
        if any(other.whole for other, _ in tenants):
            return f"held by {names}"
        if tenants and ask.whole:
            return f"wants the whole card, shared by {names}"
        left = self.left[card.node, card.index]
        if tenants and left is not None and ask.needed > left:
            return f"needs {format_bytes(ask.needed)}, {format_bytes(left)} left beside {names}"
        return None


def suits(ask: Ask, card: Card) -> bool:
    """Tell whether a card would do if it were empty."""
    if ask.indexes is not None and card.index not in ask.indexes:
        return False
    return ask.whole if card.usable is None else ask.needed <= card.usable


def misfit(ask: Ask, card: Card) -> str | None:
    """Say why a card would not do even if it were empty, or None: `suits` in words."""
    if ask.indexes is not None and card.index not in ask.indexes:
        return f"the layout keeps it to {index_names(ask.indexes)}"
    if card.usable is None:
        return None if ask.whole else "its VRAM is unknown, so it cannot be shared"
    if ask.needed > card.usable:
        return f"needs {format_bytes(ask.needed)}, {format_bytes(card.usable)} usable"
    return None


def index_names(indexes: Iterable[int]) -> str:
    """List GPUs of a node: `gpu0, gpu1`."""
    return ", ".join(f"gpu{index}" for index in sorted(indexes))


def names_of(units: Iterable[Unit]) -> str:
    """List replicas by their names."""
    return ", ".join(unit_name(unit) for unit in units)


def unit_name(unit: Unit) -> str:
    """Name a replica: `comfyui #2`; without a number when there is one only."""
    ask, replica = unit
    return ask.name if ask.replicas == 1 else f"{ask.name} #{replica + 1}"
