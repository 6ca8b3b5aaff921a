"""Eligible GPUs: which of them a replica can have at all, and the reasons for and against each.

It is asked for every replica, and worked out once for those that are alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import overload

from corral.planning.placement.demand import Demand
from corral.planning.placement.ledger import Ledger, Location, list_index_names, list_unit_names, name_unit, suits
from corral.planning.placement.values import Machine, PlannedGpu, Refusal


class Eligibility:
    """The GPUs within reach of demands, in a finished plan."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self._allowed: dict[object, Sequence[PlannedGpu]] = {}
        self._able: dict[object, Sequence[PlannedGpu]] = {}
        self._turns: dict[object, tuple[tuple[str, ...], tuple[str, ...]]] = {}

    def allowed(self, demand: Demand) -> Sequence[PlannedGpu]:
        """List the GPUs that no bond and no layout keeps it from."""
        if not demand.bonds and demand.indexes is None:
            return self._work_out
        key = (demand.bonds, demand.indexes)
        if key not in self._allowed:
            machines = [self.ledger.machines[node] for node in demand.nodes(self.ledger.machines)]
            self._allowed[key] = _select(machines, demand.indexes)
        return self._allowed[key]

    @cached_property
    def _work_out(self) -> Sequence[PlannedGpu]:
        return tuple(self.ledger.gpus.values())

    def most_on_a_node(self, demand: Demand) -> int:
        """Count the GPUs of the node where it can have the most."""
        gpus = self.allowed(demand)
        return self._find_most if gpus is self._work_out else _find_most(gpus)

    @cached_property
    def _find_most(self) -> int:
        return _find_most(self._work_out)

    def able(self, demand: Demand) -> Sequence[PlannedGpu]:
        """List the GPUs that would do if they were empty."""
        if demand.likeness not in self._able:
            self._able[demand.likeness] = tuple(gpu for gpu in self.allowed(demand) if suits(demand, gpu))
        return self._able[demand.likeness]

    def turns(self, demand: Demand) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Name the GPUs on which it would run if it had them for itself, and who holds them."""
        if demand.likeness not in self._turns:
            self._turns[demand.likeness] = self._list_turns(demand)
        return self._turns[demand.likeness]

    def _list_turns(self, demand: Demand) -> tuple[tuple[str, ...], tuple[str, ...]]:
        able = self.able(demand)
        per_node = Counter(gpu.node for gpu in able)
        machines = self.ledger.machines
        roomy = {node for node in per_node if _has_memory(machines[node], demand) and per_node[node] >= demand.gpus}
        gpus = [gpu for gpu in able if gpu.node in roomy]
        tenants = (unit for gpu in gpus for unit in self.ledger.tenants.get((gpu.node, gpu.index), []))
        return tuple(gpu.name for gpu in gpus), tuple(dict.fromkeys(map(name_unit, tenants)))


def _select(machines: Sequence[Machine], indexes: frozenset[int] | None) -> Sequence[PlannedGpu]:
    gpus = (gpu for machine in machines for gpu in machine.gpus)
    return tuple(gpu for gpu in gpus if indexes is None or gpu.index in indexes)


def _find_most(gpus: Sequence[PlannedGpu]) -> int:
    return max(Counter(gpu.node for gpu in gpus).values(), default=0)


def _has_memory(machine: Machine, demand: Demand) -> bool:
    return machine.memory is None or demand.memory <= machine.memory


class Refusals(Sequence[Refusal]):
    """One reason for every GPU; worked out when it is read, for a large cluster has a million of them."""

    def __init__(self, ledger: Ledger, demand: Demand) -> None:
        self._ledger = ledger
        self._demand = demand
        self._found: tuple[Refusal, ...] | None = None

    @overload
    def __getitem__(self, index: int) -> Refusal: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Refusal]: ...
    def __getitem__(self, index: int | slice) -> Refusal | Sequence[Refusal]:
        return self._work_out()[index]

    def __len__(self) -> int:
        return len(self._work_out())

    def _work_out(self) -> tuple[Refusal, ...]:
        if self._found is None:
            self._found = tuple(_list_refusals(self._ledger, self._demand))
        return self._found


def _list_refusals(ledger: Ledger, demand: Demand) -> Iterator[Refusal]:
    for machine in ledger.machines.values():
        why_node = ledger.explain_node_refusal(demand, machine.name)
        if not demand.gpus:
            yield Refusal(node=machine.name, gpu=None, reason=why_node or "has room")
        elif not machine.gpus:
            yield Refusal(node=machine.name, gpu=None, reason=why_node or _explain_no_gpus(machine))
        else:
            yield from _refuse_gpus(ledger, demand, machine, why_node)


def _refuse_gpus(ledger: Ledger, demand: Demand, machine: Machine, why_node: str | None) -> Iterator[Refusal]:
    free = sum(ledger.admits(demand, gpu) for gpu in machine.gpus)
    for gpu in machine.gpus:
        reason = (
            why_node
            or ledger.explain_refusal(demand, gpu)
            or f"wants {demand.gpus} GPUs of one node, {free} here would do"
        )
        yield Refusal(node=machine.name, gpu=gpu.index, reason=reason)


def _explain_no_gpus(machine: Machine) -> str:
    return "has no GPU" if machine.described else "the file does not say which GPUs it has"


def explain_location(eligibility: Eligibility, demand: Demand, location: Location) -> str:
    """Say what made a place the right one."""
    node, indexes = location
    if node is None:
        return "nothing binds it to a node"
    reasons = list(dict.fromkeys(bond.reason for bond in demand.bonds))
    if demand.indexes is not None:
        reasons.append("the layout names " + list_index_names(demand.indexes))
    if not indexes:
        return "; ".join(reasons) or "its main memory fits"
    able = eligibility.able(demand)
    if len(able) == len(indexes):
        reasons.append("nothing else would hold it")
    elif not reasons:
        reasons.append(f"one of {len(able)} GPUs that would hold it")
    others = [unit for index in indexes for unit in eligibility.ledger.tenants[node, index] if unit[0] is not demand]
    if others:
        reasons.append(f"shares its GPU with {list_unit_names(others)}")
    return "; ".join(reasons)
