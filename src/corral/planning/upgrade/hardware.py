"""Changes of the machines: GPUs with the catalogue's facts, nodes side by side, and the totals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from corral.cluster.values import Cluster, Gpu, Node
from corral.figures import Figure, computed
from corral.hardware.catalogue import GpuModel, resolve_gpu
from corral.hardware.makers import NVIDIA
from corral.hardware.pools import UNKNOWN_CLASS, GpuPool, make_pool
from corral.planning.changes import GpuAddress, GpuMoves
from corral.planning.upgrade.differences import ABSENT, UNKNOWN, Difference, format_amount
from corral.units import Bytes


class GpuChangeKind(StrEnum):
    """What happens to a GPU of a node."""

    REPLACED = "replaced"
    ADDED = "added"
    REMOVED = "removed"
    MOVED = "moved"
    """It goes to another node."""
    RENUMBERED = "renumbered"
    """It stays in its node and gets another index."""
    LIMITED = "limited"
    """The GPU stays, and its power limit changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuChange:
    """A GPU that is replaced, comes, goes or moves, or whose power limit changes."""

    kind: GpuChangeKind
    gpu: str
    """The name of the GPU afterwards (`hydra-compute/gpu1`); its name before when it is gone."""
    before: NodeGpu | None
    after: NodeGpu | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A node before or after the upgrade."""

    gpus: tuple[NodeGpu, ...]
    gpus_known: bool
    """False when the file leaves the GPUs to be found on the machine."""
    pool: GpuPool | None
    """None when it has no GPU, or when its GPUs are still to be found."""
    architectures: tuple[str, ...]
    """In order of first appearance; `unknown` for a GPU that is in no catalogue."""

    @property
    def homogeneous(self) -> bool | None:
        """Whether its GPUs are one model; None when it has none, or when one is unknown."""
        if self.pool is None or UNKNOWN_CLASS in self.pool.classes:
            return None
        return self.pool.homogeneous


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeComparison:
    """A node before and after; None when it is not there."""

    name: str
    before: Side | None
    after: Side | None
    memory: Difference
    """VRAM of all its GPUs, in bytes."""
    tgp: Difference
    """The makers' power limits of all its GPUs, in watts."""
    gpus_change: bool
    """Whether a GPU, or a GPU's power limit, is another one."""

    @property
    def becomes_homogeneous(self) -> bool:
        """Whether a node of several models becomes one of a single model."""
        return _is_mixed(self.before) and self.after is not None and self.after.homogeneous is True

    @property
    def becomes_mixed(self) -> bool:
        """Whether a node of a single model becomes one of several."""
        return self.before is not None and self.before.homogeneous is True and _is_mixed(self.after)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """The machines of a cluster before and after."""

    nodes: tuple[NodeComparison, ...]
    """In the order of the file; nodes that go stand last."""
    changes: tuple[GpuChange, ...]
    memory: Difference
    gpus: Difference

    @property
    def changed(self) -> tuple[NodeComparison, ...]:
        """The nodes whose GPUs change, come or go."""
        return tuple(node for node in self.nodes if node.gpus_change)


def compare_hardware(before: Cluster, after: Cluster, moves: GpuMoves | None = None) -> Hardware:
    """Set the machines side by side, node by node and GPU by GPU.

    Without `moves` a GPU is taken to be the one with its index afterwards.
    """
    changes = _list_changes(before, after, _map_same(before, after) if moves is None else moves)
    touched = {gpu.node for change in changes for gpu in (change.before, change.after) if gpu}
    old = {node.name: node for node in before.nodes}
    new = {node.name: node for node in after.nodes}
    names = [*new, *(name for name in old if name not in new)]
    nodes = tuple(_compare_node(name, old.get(name), new.get(name), is_touched=name in touched) for name in names)
    return Hardware(
        nodes=nodes,
        changes=changes,
        memory=Difference(
            name="Total VRAM",
            before=_add_up([(node.name, node.memory.before) for node in nodes if node.before]),
            after=_add_up([(node.name, node.memory.after) for node in nodes if node.after]),
        ),
        gpus=Difference(name="GPUs", before=_count(before), after=_count(after)),
    )


def _map_same(before: Cluster, after: Cluster) -> GpuMoves:
    there = {(gpu.node, gpu.index) for gpu in list_all_gpus(after)}
    return {
        GpuAddress(node=gpu.node, index=gpu.index): (
            GpuAddress(node=gpu.node, index=gpu.index) if (gpu.node, gpu.index) in there else None
        )
        for gpu in list_all_gpus(before)
    }


def _compare_node(name: str, before: Node | None, after: Node | None, *, is_touched: bool) -> NodeComparison:
    old, new = _make_side(before), _make_side(after)
    return NodeComparison(
        name=name,
        before=old,
        after=new,
        memory=_compare_figures("VRAM", _sum_memory, old, new),
        tgp=_compare_figures("GPU power", _sum_tgp, old, new),
        gpus_change=is_touched or (before is None) != (after is None),
    )


def _compare_figures(
    name: str, quantity: Callable[[Side | None], Figure | None], old: Side | None, new: Side | None
) -> Difference:
    return Difference(
        name=name,
        before=quantity(old),
        after=quantity(new),
        no_before=UNKNOWN if old else ABSENT,
        no_after=UNKNOWN if new else ABSENT,
    )


def _make_side(node: Node | None) -> Side | None:
    if node is None:
        return None
    gpus = list_gpus(node)
    architectures = (gpu.facts.architecture if gpu.facts else None for gpu in gpus)
    return Side(
        gpus=gpus,
        gpus_known=node.gpus is not None,
        pool=make_pool(node),
        architectures=tuple(dict.fromkeys(architecture or "unknown" for architecture in architectures)),
    )


def _list_changes(before: Cluster, after: Cluster, moves: GpuMoves) -> tuple[GpuChange, ...]:
    """List what happens to each GPU, in the order of the file afterwards; those that are gone stand last."""
    new = {gpu.name: gpu for gpu in list_all_gpus(after)}
    came_from: dict[str, NodeGpu] = {}
    gone: list[GpuChange] = []
    for gpu in list_all_gpus(before):
        address = moves.get(GpuAddress(node=gpu.node, index=gpu.index))
        if address is None or str(address) not in new:
            gone.append(GpuChange(kind=GpuChangeKind.REMOVED, gpu=gpu.name, before=gpu, after=None))
        else:
            came_from[str(address)] = gpu
    stay = [
        GpuChange(kind=kind, gpu=name, before=came_from.get(name), after=gpu)
        for name, gpu in new.items()
        if (kind := _find_kind(came_from.get(name), gpu))
    ]
    return (*stay, *gone)


def _find_kind(before: NodeGpu | None, after: NodeGpu) -> GpuChangeKind | None:
    if before is None:
        return GpuChangeKind.ADDED
    if (before.model, before.memory) != (after.model, after.memory):
        return GpuChangeKind.REPLACED
    if before.node != after.node:
        return GpuChangeKind.MOVED
    if before.index != after.index:
        return GpuChangeKind.RENUMBERED
    return GpuChangeKind.LIMITED if before.power_limit_w != after.power_limit_w else None


def _sum_memory(side: Side | None) -> Figure | None:
    if side is None or not side.gpus_known:
        return None
    terms = [gpu.memory for gpu in side.gpus if gpu.memory is not None]
    if len(terms) < len(side.gpus):
        return None
    return computed(sum(terms), "B", " + ".join(format_amount(term, "B") for term in terms) or "no GPU")


def _sum_tgp(side: Side | None) -> Figure | None:
    if side is None or not side.gpus_known:
        return None
    terms = [gpu.facts.tdp_w for gpu in side.gpus if gpu.facts and gpu.facts.tdp_w is not None]
    if len(terms) < len(side.gpus):
        return None
    return computed(sum(terms), "W", " + ".join(f"{term} W" for term in terms) or "no GPU")


def _add_up(parts: list[tuple[str, Figure | None]]) -> Figure | None:
    """Add up what nodes have; None as soon as one is unknown."""
    known = [(name, part) for name, part in parts if part is not None]
    if len(known) < len(parts):
        return None
    terms = " + ".join(f"{format_amount(part.value, part.unit)} ({name})" for name, part in known if part.value)
    return computed(sum(part.value for _, part in known), "B", terms or "no GPU")


def _count(cluster: Cluster) -> Figure | None:
    if any(node.gpus is None for node in cluster.nodes):
        return None
    return computed(sum(len(node.gpus or ()) for node in cluster.nodes), "", "GPUs that the file lists")


def _is_mixed(side: Side | None) -> bool:
    return side is not None and side.homogeneous is False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeGpu:
    """One GPU with its address; None where neither the file nor the catalogue says."""

    node: str
    index: int
    model: str | None
    memory: Bytes | None
    power_limit_w: int | None = None
    facts: GpuModel | None = None

    @property
    def name(self) -> str:
        """Its address, as selectors spell it: `hydra-compute/gpu1`."""
        return f"{self.node}/gpu{self.index}"

    @property
    def is_nvidia(self) -> bool:
        """Whether it is known to take NVIDIA's commands."""
        return self.facts is not None and self.facts.vendor == NVIDIA

    @property
    def title(self) -> str:
        """The model as people say it, or words that replace it."""
        return self.model or "a GPU of unknown model"


def list_gpus(node: Node) -> tuple[NodeGpu, ...]:
    """List a node's GPUs in order of their index; empty when it has none, or when the file does not say."""
    return tuple(_make_gpu(node, gpu) for gpu in sorted(node.gpus or (), key=lambda gpu: gpu.index))


def list_all_gpus(cluster: Cluster) -> tuple[NodeGpu, ...]:
    """List the GPUs of all nodes, in the order of the file."""
    return tuple(gpu for node in cluster.nodes for gpu in list_gpus(node))


def _make_gpu(node: Node, gpu: Gpu) -> NodeGpu:
    return NodeGpu(
        node=node.name,
        index=gpu.index,
        model=gpu.model,
        memory=gpu.memory,
        power_limit_w=gpu.power_limit_w,
        facts=resolve_gpu(gpu.model, memory=gpu.memory),
    )
