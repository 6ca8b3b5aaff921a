"""Eligible GPUs: which of them a replica may have at all, and the reasons for and against each.

It is asked for every replica, and worked out once for those that are alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import overload

from corral.planning.placement.demand import Ask
from corral.planning.placement.ledger import Room, Seat, index_names, names_of, suits, unit_name
from corral.planning.placement.values import Card, Machine, Refusal


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


class Refusals(Sequence[Refusal]):
    """One reason for every GPU; worked out when somebody looks, for a large cluster has a million of them."""

    def __init__(self, room: Room, ask: Ask) -> None:
        self._room = room
        self._ask = ask
        self._found: tuple[Refusal, ...] | None = None

    @overload
    def __getitem__(self, index: int) -> Refusal: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Refusal]: ...
    def __getitem__(self, index: int | slice) -> Refusal | Sequence[Refusal]:
        return self._all()[index]

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> tuple[Refusal, ...]:
        if self._found is None:
            self._found = tuple(_refusals(self._room, self._ask))
        return self._found


def _refusals(room: Room, ask: Ask) -> Iterator[Refusal]:
    for machine in room.machines.values():
        why_node = room.node_refusal(ask, machine.name)
        if not ask.gpus:
            yield Refusal(node=machine.name, gpu=None, reason=why_node or "has room")
        elif not machine.cards:
            yield Refusal(node=machine.name, gpu=None, reason=why_node or _no_cards(machine))
        else:
            yield from _of_cards(room, ask, machine, why_node)


def _of_cards(room: Room, ask: Ask, machine: Machine, why_node: str | None) -> Iterator[Refusal]:
    free = sum(room.admits(ask, card) for card in machine.cards)
    for card in machine.cards:
        reason = why_node or room.refusal(ask, card) or f"wants {ask.gpus} GPUs of one node, {free} here would do"
        yield Refusal(node=machine.name, gpu=card.index, reason=reason)


def _no_cards(machine: Machine) -> str:
    return "has no GPU" if machine.described else "the file does not say which GPUs it has"


def why_here(reach: Reach, ask: Ask, seat: Seat) -> str:
    """Say what made a place the right one."""
    node, indexes = seat
    if node is None:
        return "nothing binds it to a node"
    told = list(dict.fromkeys(bond.reason for bond in ask.bonds))
    if ask.indexes is not None:
        told.append("the layout names " + index_names(ask.indexes))
    if not indexes:
        return "; ".join(told) or "its main memory fits"
    able = reach.able(ask)
    if len(able) == len(indexes):
        told.append("nothing else would hold it")
    elif not told:
        told.append(f"one of {len(able)} GPUs that would hold it")
    others = [unit for index in indexes for unit in reach.room.tenants[node, index] if unit[0] is not ask]
    if others:
        told.append(f"shares its card with {names_of(others)}")
    return "; ".join(told)
