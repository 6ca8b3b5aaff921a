"""What is free while a plan is made: the one place where a replica takes cards and memory.

Whatever chose a place, it is taken here, and here it is refused when it is not free: no plan gives a byte of a card or
of a node twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from corral.planning.placement.asks import Ask
from corral.planning.placement.cards import Machine
from corral.planning.placement.values import Card
from corral.units import format_bytes

Seat = tuple[str | None, tuple[int, ...]]
"""A node and the indexes of GPUs on it; no node at all for what may run anywhere."""


class NotFreeError(ValueError):
    """A place was given away twice: a mistake of the planner."""


class Room:
    """Cards, memory and who has them."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self.machines = {machine.name: machine for machine in machines}
        self.cards = {(card.node, card.index): card for machine in machines for card in machine.cards}
        self.left = {key: card.usable for key, card in self.cards.items()}
        self.memory_left = {machine.name: machine.memory for machine in machines}
        self.tenants: dict[tuple[str, int], list[tuple[Ask, int]]] = {key: [] for key in self.cards}
        self.seats: dict[tuple[int, int], Seat] = {}
        """By the ask's place and the replica."""
        self.on_node: Counter[tuple[int, str]] = Counter()
        """Replicas of an ask on a node."""

    def take(self, ask: Ask, replica: int, seat: Seat) -> None:
        """Give a replica its place. Raises: NotFreeError."""
        node, indexes = seat
        if node is not None and (refusal := self.node_refusal(ask, node)):
            raise NotFreeError(f"{ask.name} on {node}: {refusal}")
        for index in indexes:
            if node is None or (refusal := self.refusal(ask, self.cards[node, index])):
                raise NotFreeError(f"{ask.name} on {node}/gpu{index}: {refusal if node else 'no node'}")
        if len(set(indexes)) != ask.gpus:
            raise NotFreeError(f"{ask.name} wants {ask.gpus} cards, not {indexes}")
        self._take(ask, replica, node, indexes)

    def _take(self, ask: Ask, replica: int, node: str | None, indexes: Iterable[int]) -> None:
        for index in indexes:
            assert node is not None
            self.tenants[node, index].append((ask, replica))
            left = self.left[node, index]
            self.left[node, index] = None if left is None else left - ask.needed
        if node is not None:
            left = self.memory_left[node]
            self.memory_left[node] = None if left is None else left - ask.memory
            self.on_node[ask.place, node] += 1
        self.seats[ask.place, replica] = (node, tuple(indexes))

    def node_refusal(self, ask: Ask, node: str) -> str | None:
        """Say why no replica of an ask can be on a node, or None."""
        for bond in ask.bonds:
            if bond.node != node:
                return bond.reason
        left = self.memory_left[node]
        if left is None or ask.memory <= left:
            return None
        return f"requests {format_bytes(ask.memory)} of main memory, {format_bytes(max(0, left))} left"

    def refusal(self, ask: Ask, card: Card) -> str | None:
        """Say why a card cannot be one of a replica's, whatever other cards it gets; None when it can."""
        if ask.indexes is not None and card.index not in ask.indexes:
            listed = ", ".join(f"gpu{index}" for index in sorted(ask.indexes))
            return f"the layout keeps it to {listed}"
        if why := misfit(ask, card):
            return why
        tenants = self.tenants[card.node, card.index]
        if not tenants:
            return None
        names = _names(tenants)
        if any(other.whole for other, _ in tenants):
            return f"held by {names}"
        if ask.whole:
            return f"wants the whole card, shared by {names}"
        left = self.left[card.node, card.index] or 0
        if ask.needed > left:
            return f"needs {format_bytes(ask.needed)}, {format_bytes(left)} left beside {names}"
        return None

    def free_cards(self, ask: Ask, node: str) -> list[Card]:
        """List the cards of a node that a replica could use, in the order of their indexes."""
        return [card for card in self.machines[node].cards if self.refusal(ask, card) is None]


def misfit(ask: Ask, card: Card) -> str | None:
    """Say why a card would not do even if it were empty, or None."""
    if card.usable is None:
        return None if ask.whole else "its VRAM is unknown, so it cannot be shared"
    if ask.needed > card.usable:
        return f"needs {format_bytes(ask.needed)}, {format_bytes(card.usable)} usable"
    return None


def _names(tenants: Iterable[tuple[Ask, int]]) -> str:
    return ", ".join(tenant_name(ask, replica) for ask, replica in tenants)


def tenant_name(ask: Ask, replica: int) -> str:
    """Name a replica: `comfyui #2`; without a number when there is one only."""
    return ask.name if ask.replicas == 1 else f"{ask.name} #{replica + 1}"
