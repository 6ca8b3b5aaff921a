"""The ledger of a plan in the making: which GPU and memory is free, and the one place where a replica takes some.

Whatever chose a place, it is taken here, and here it is refused when it is not free: no plan gives a byte of a GPU or
of a node twice.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from corral.planning.placement.demand import Demand
from corral.planning.placement.values import Machine, PlannedGpu
from corral.units import format_bytes

Location = tuple[str | None, tuple[int, ...]]
"""A node and the indexes of GPUs on it; no node at all for what can run anywhere."""
Unit = tuple[Demand, int]
"""A replica: what is placed. The number counts from 0."""


class NotFreeError(ValueError):
    """A place was given away twice, or to a replica that it does not suit: a bug in the planner."""


class Ledger:
    """GPUs, memory and who has them."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self.machines = {machine.name: machine for machine in machines}
        self.gpus = {(gpu.node, gpu.index): gpu for machine in machines for gpu in machine.gpus}
        self.left = {key: gpu.usable for key, gpu in self.gpus.items()}
        self.memory_left = {machine.name: machine.memory for machine in machines}
        self.tenants: dict[tuple[str, int], list[Unit]] = {}
        self.locations: dict[tuple[int, int], Location] = {}
        """By the demand's number and the replica."""
        self.on_node: Counter[tuple[int, str]] = Counter()
        """Replicas of a demand on a node."""
        self.models: dict[int, set[str | None]] = {}
        """Models of GPU that a demand has, by its number."""

    def take(self, unit: Unit, location: Location) -> None:
        """Give a replica its place. Raises: NotFreeError."""
        demand, replica = unit
        node, indexes = location
        if (demand.number, replica) in self.locations or len(set(indexes)) != demand.gpus:
            raise NotFreeError(f"{demand.name} #{replica + 1} cannot have {node} {indexes}")
        if node is None:
            self.locations[demand.number, replica] = location
            return
        gpus = [self.gpus[node, index] for index in indexes]
        if not self.node_admits(demand, node, gpus) or not all(self.admits(demand, gpu) for gpu in gpus):
            raise NotFreeError(f"{demand.name} #{replica + 1} cannot have {node} {indexes}")
        self._take(unit, node, gpus)

    def _take(self, unit: Unit, node: str, gpus: Sequence[PlannedGpu]) -> None:
        demand, replica = unit
        for gpu in gpus:
            key = (node, gpu.index)
            self.tenants.setdefault(key, []).append(unit)
            left = self.left[key]
            self.left[key] = None if left is None else left - demand.needed_on(gpu)
            self.models.setdefault(demand.number, set()).add(gpu.model)
        memory = self.memory_left[node]
        self.memory_left[node] = None if memory is None else memory - demand.count_memory(gpus)
        self.on_node[demand.number, node] += 1
        self.locations[demand.number, replica] = (node, tuple(gpu.index for gpu in gpus))

    def release(self, unit: Unit) -> None:
        """Take a replica's place back."""
        demand, replica = unit
        node, indexes = self.locations.pop((demand.number, replica))
        if node is None:
            return
        for index in indexes:
            self.tenants[node, index].remove(unit)
            left = self.left[node, index]
            self.left[node, index] = None if left is None else left + demand.needed_on(self.gpus[node, index])
        memory = self.memory_left[node]
        self.memory_left[node] = None if memory is None else memory + self.count_memory(demand, (node, indexes))
        self.on_node[demand.number, node] -= 1
        locations = [self.locations.get((demand.number, other), (None, ())) for other in range(demand.replicas)]
        self.models[demand.number] = {
            self.gpus[where, index].model for where, indexes_there in locations if where for index in indexes_there
        }

    def count_memory(self, demand: Demand, location: Location) -> int:
        """Count the bytes of main memory that a replica takes at a place."""
        node, indexes = location
        return demand.memory if node is None else demand.count_memory(self.gpus[node, index] for index in indexes)

    def node_admits(self, demand: Demand, node: str, gpus: Sequence[PlannedGpu] = ()) -> bool:
        """Return whether a replica can be on a node with these GPUs, and its main memory suffices."""
        left = self.memory_left[node]
        return (left is None or demand.count_memory(gpus) <= left) and demand.may_run_on(node)

    def admits(self, demand: Demand, gpu: PlannedGpu) -> bool:
        """Return whether a GPU can be one of a replica's, whatever other GPUs it gets."""
        if not suits(demand, gpu) or (gpu.is_unified and not self.node_admits(demand, gpu.node, (gpu,))):
            return False
        tenants = self.tenants.get((gpu.node, gpu.index))
        if not tenants:
            return True
        left = self.left[gpu.node, gpu.index]
        return not demand.whole and not tenants[0][0].whole and left is not None and demand.needed <= left

    def explain_node_refusal(self, demand: Demand, node: str) -> str | None:
        """Say why no replica can be on a node, or None: `node_admits` in words."""
        for bond in demand.bonds:
            if bond.node != node:
                return bond.reason
        left = self.memory_left[node]
        if left is None or demand.memory <= left:
            return None
        return f"requests {format_bytes(demand.memory)} of main memory, {format_bytes(max(0, left))} left"

    def explain_refusal(self, demand: Demand, gpu: PlannedGpu) -> str | None:
        """Say why a GPU cannot be one of a replica's, or None: `admits` in words."""
        if why := explain_misfit(demand, gpu):
            return why
        tenants = self.tenants.get((gpu.node, gpu.index), [])
        names = list_unit_names(tenants)
        if any(other.whole for other, _ in tenants):
            return f"held by {names}"
        if tenants and demand.whole:
            return f"wants the whole GPU, shared by {names}"
        left = self.left[gpu.node, gpu.index]
        if tenants and left is not None and demand.needed > left:
            return f"needs {format_bytes(demand.needed)}, {format_bytes(left)} left next to {names}"
        if gpu.is_unified and not self.node_admits(demand, gpu.node, (gpu,)):
            wanted, rest = demand.count_memory((gpu,)), self.memory_left[gpu.node] or 0
            return f"needs {format_bytes(wanted)} of the memory that GPU and machine share, {format_bytes(rest)} left"
        return None


def suits(demand: Demand, gpu: PlannedGpu) -> bool:
    """Return whether a GPU would do if it were empty."""
    if demand.indexes is not None and gpu.index not in demand.indexes:
        return False
    if demand.explain_wrong_maker(gpu.maker) is not None:
        return False
    return demand.whole if gpu.usable is None else demand.needed_on(gpu) <= gpu.usable


def explain_misfit(demand: Demand, gpu: PlannedGpu) -> str | None:
    """Say why a GPU would not do even if it were empty, or None: `suits` in words."""
    if demand.indexes is not None and gpu.index not in demand.indexes:
        return f"the layout keeps it to {list_index_names(demand.indexes)}"
    if wrong := demand.explain_wrong_maker(gpu.maker):
        return wrong
    if gpu.usable is None:
        return None if demand.whole else "its VRAM is unknown, so it cannot be shared"
    needed = demand.needed_on(gpu)
    if needed > gpu.usable:
        shared = " of the memory that GPU and machine share" if gpu.is_unified else ""
        return f"needs {format_bytes(needed)}{shared}, {format_bytes(gpu.usable)} usable"
    return None


def list_index_names(indexes: Iterable[int]) -> str:
    """List GPUs of a node: `gpu0, gpu1`."""
    return ", ".join(f"gpu{index}" for index in sorted(indexes))


def list_unit_names(units: Iterable[Unit]) -> str:
    """List replicas by their names."""
    return ", ".join(name_unit(unit) for unit in units)


def name_unit(unit: Unit) -> str:
    """Name a replica: `comfyui #2`; without a number when there is one only."""
    demand, replica = unit
    return demand.name if demand.replicas == 1 else f"{demand.name} #{replica + 1}"
