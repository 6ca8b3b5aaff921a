"""Why a replica is where it is, and why it is nowhere else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

from corral.planning.placement.asks import Ask
from corral.planning.placement.cards import Machine
from corral.planning.placement.reach import Reach
from corral.planning.placement.room import Room, Seat, index_names, names_of
from corral.planning.placement.values import Refusal


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
