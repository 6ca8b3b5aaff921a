"""GPUs that are alike and replicas that are alike, so that programs count them instead of naming each.

An answer of a program that counts need not be a plan: it is a relaxation. Its bound holds, and how much of it can be
placed is seen by placing it. The less is counted together, the more can be; the more, the smaller the program.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import groupby

from corral.planning.placement.demand import Demand
from corral.planning.placement.greedy import is_anywhere
from corral.planning.placement.ledger import Ledger, Unit, suits
from corral.planning.placement.values import Machine, PlannedGpu, Tier


class Detail(StrEnum):
    """The things that are counted together."""

    GPU = "gpu"
    """Nothing: each GPU is a GPU group. An answer is a plan."""
    NODE = "node"
    """GPUs of a node that are alike. Only memory that several share on a GPU can go wrong."""
    KIND = "kind"
    """Nodes that are alike, with all their GPUs."""


EXACT_LIMIT = 4_000
"""Demands times GPUs up to which a plan is searched GPU by GPU: that many columns are solved well within a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGroup:
    """Nodes that are alike."""

    nodes: tuple[str, ...]
    memory: int | None
    """Of each node."""
    gpu_groups: tuple[GpuGroup, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuGroup:
    """GPUs that are alike, on the nodes of a group."""

    number: int
    gpu: PlannedGpu
    """One of them, to ask what it would do for."""
    count: int
    """In the whole group."""
    indexes: frozenset[int] | None
    """Which GPUs of the node they are; None where it is for several nodes."""

    def has(self, gpu: PlannedGpu) -> bool:
        """Return whether a GPU of one of the group's nodes is in the GPU group."""
        if self.indexes is not None:
            return gpu.index in self.indexes
        return (gpu.model, gpu.usable) == (self.gpu.model, self.gpu.usable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sort:
    """Replicas that are alike."""

    like: Demand
    demands: tuple[Demand, ...]

    @property
    def units(self) -> list[Unit]:
        """List the replicas: all first ones, then the further ones."""
        units = [(demand, replica) for demand in self.demands for replica in range(demand.replicas)]
        return sorted(units, key=lambda unit: unit[0].tier(unit[1]))

    def count(self, tier: Tier) -> int:
        """Count the replicas of a tier."""
        return sum(demand.tier(replica) is tier for demand in self.demands for replica in range(demand.replicas))


def group_nodes(machines: Sequence[Machine], demands: Sequence[Demand], detail: Detail) -> tuple[NodeGroup, ...]:
    """Put nodes that are alike together, or each by itself.

    Nodes that something is bound to stand apart: part of their GPUs is spoken for, and so they hold fewer replicas
    that want several GPUs.
    """
    named = {bond.node for demand in demands if demand.gpus for bond in demand.bonds}
    alike: dict[object, list[Machine]] = {}
    for machine in machines:
        contents = sorted((gpu.model or "", gpu.usable or 0, gpu.usable is None) for gpu in machine.gpus)
        key = (machine.name in named, machine.memory, tuple(contents)) if detail is Detail.KIND else machine.name
        alike.setdefault(key, []).append(machine)
    groups: list[NodeGroup] = []
    for members in alike.values():
        first = sum(len(group.gpu_groups) for group in groups)
        pinned = [demand.indexes for demand in demands if demand.indexes and demand.may_run_on(members[0].name)]
        groups.append(_make_group(members, first, pinned, detail))
    return tuple(groups)


def _make_group(members: Sequence[Machine], first: int, pinned: Sequence[frozenset[int]], detail: Detail) -> NodeGroup:
    alike: dict[object, list[PlannedGpu]] = {}
    for gpu in members[0].gpus:
        pins = tuple(gpu.index in indexes for indexes in pinned)
        own = {Detail.GPU: gpu.index, Detail.NODE: pins, Detail.KIND: None}[detail]
        alike.setdefault((gpu.model, gpu.usable, own), []).append(gpu)
    gpu_groups = [
        GpuGroup(
            number=first + index,
            gpu=gpus[0],
            count=len(members) * len(gpus),
            indexes=None if detail is Detail.KIND else frozenset(gpu.index for gpu in gpus),
        )
        for index, gpus in enumerate(alike.values())
    ]
    return NodeGroup(
        nodes=tuple(member.name for member in members), memory=members[0].memory, gpu_groups=tuple(gpu_groups)
    )


def sort_out_alike(demands: Sequence[Demand], ledger: Ledger) -> tuple[Sort, ...]:
    """Join demands that the program need not distinguish; those that can run anywhere need no program."""
    bound = [demand for demand in demands if not is_anywhere(ledger, demand)]
    sizes = sorted({gpu.usable for gpu in ledger.gpus.values() if gpu.usable is not None})
    is_plain = not any(gpu.is_unified for gpu in ledger.gpus.values())
    keys = {demand.number: _make_key(demand, sizes if is_plain else ()) for demand in bound}
    ordered = sorted(bound, key=lambda demand: (keys[demand.number], demand.number))
    grouped = [list(members) for _, members in groupby(ordered, key=lambda demand: keys[demand.number])]
    return tuple(Sort(like=members[0], demands=tuple(members)) for members in grouped)


def _make_key(demand: Demand, sizes: Sequence[int]) -> tuple[object, ...]:
    """Distinguish demands by what the program sees: a whole GPU is as good as another that is also large enough.

    `sizes` are empty where a GPU has its memory from the machine's, which every byte of a need is taken from.
    """
    needed = demand.needed
    if demand.whole and needed:
        needed = next((size for size in sizes if size >= needed), needed)
    nodes = tuple(sorted({bond.node for bond in demand.bonds}))
    indexes = sorted(demand.indexes or ())
    least = demand.vram.least if demand.vram and not sizes else 0
    return (
        demand.on_demand,
        demand.gpus,
        demand.whole,
        needed,
        least,
        demand.memory,
        nodes,
        indexes,
        demand.makers or (),
    )


def would_suit(sort: Sort, group: NodeGroup, gpu_group: GpuGroup) -> bool:
    """Return whether a replica could have a GPU of the GPU group."""
    nodes = sort.like.nodes(group.nodes)
    if not nodes or not suits_alike(sort.like, gpu_group):
        return False
    return group.memory is None or sort.like.memory <= group.memory


def suits_alike(demand: Demand, gpu_group: GpuGroup) -> bool:
    """Return whether a group's GPUs are large enough, and of the indexes that are allowed where it has any."""
    if (
        gpu_group.indexes is None and demand.indexes is not None
    ):  # alike GPUs have several indexes: only their size counts here
        if demand.explain_wrong_maker(gpu_group.gpu.maker) is not None:
            return False
        return demand.whole if gpu_group.gpu.usable is None else demand.needed_on(gpu_group.gpu) <= gpu_group.gpu.usable
    return suits(demand, gpu_group.gpu)
