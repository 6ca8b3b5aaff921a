"""Plans as values: what runs where, what does not and why, and the GPUs and nodes that a plan can use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from corral.cluster.values import Cluster, Gpu, Node
from corral.figures import Figure
from corral.hardware.fit.memory import get_usable
from corral.hardware.makers import find_maker
from corral.units import Bytes


class Tier(IntEnum):
    """Who goes first. A tier gets what the tiers before it left."""

    FIRST = 0
    """The first replica of what the layout names: without it, the service does not exist."""
    FURTHER = 1
    """Its further replicas."""
    ON_DEMAND = 2
    """Services that want GPUs and that the layout does not name; they can take turns through the queue."""

    @property
    def label(self) -> str:
        """As people read it."""
        return {Tier.FIRST: "first replicas", Tier.FURTHER: "further replicas", Tier.ON_DEMAND: "on demand"}[self]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedGpu:
    """A GPU as placement sees it."""

    node: str
    index: int
    model: str | None
    memory: Bytes | None
    """Its whole VRAM; None is unknown."""
    usable: int | None
    """Bytes that services can plan with: what the driver keeps is taken off."""
    is_unified: bool = False
    """Whether its memory is the node's main memory: what is planned on it is taken from that."""
    maker: str | None = None
    """None is unknown."""

    @property
    def name(self) -> str:
        """Return the name that slots have: `hydra-compute/gpu0`."""
        return f"{self.node}/gpu{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A replica with its place."""

    demand: str
    """The service, or the pod that several services share."""
    services: tuple[str, ...]
    replica: int
    """From 0."""
    tier: Tier
    node: str | None
    """None: any node; nothing binds it, and Kubernetes chooses."""
    gpus: tuple[int, ...]
    """Indexes on the node; empty for what needs no GPU."""
    memory: Figure | None
    """VRAM planned on each of its GPUs; None when unknown: it has the whole GPU."""
    whole: bool
    """Whether its GPUs are its alone."""
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a replica is not on one GPU, or on one node where the reason is the node's."""

    node: str
    gpu: int | None
    reason: str

    @property
    def gpu_or_node(self) -> str:
        """Return the GPU's name, or the node's."""
        return self.node if self.gpu is None else f"{self.node}/gpu{self.gpu}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplaced:
    """A replica without a place."""

    demand: str
    services: tuple[str, ...]
    replica: int
    tier: Tier
    refusals: Sequence[Refusal]
    """One for every GPU of the cluster; for a service without GPUs, one for every node."""
    turns: tuple[str, ...] = ()
    """GPUs on which it would run if it had them for itself; empty when none would do even then."""
    turns_with: tuple[str, ...] = ()
    """Who holds those."""

    @property
    def takes_turns(self) -> bool:
        """Whether it can share GPUs over time, through the queue, rather than never run."""
        return self.tier is Tier.ON_DEMAND and bool(self.turns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caution:
    """Something that will go wrong or surprise, although the plan stands."""

    pitfall: str
    """The id in the catalogue of pitfalls: `A11`; empty for what is not a pitfall but an open end."""
    where: str
    what: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuTotal:
    """The memory planned on a GPU, next to what it has."""

    gpu: PlannedGpu
    planned: int | None
    """Bytes; None when the need of a replica on it is unknown."""
    tenants: tuple[str, ...]
    """`comfyui #1` and so on: demands with their replica, counted from 1."""
    whole: bool
    """Whether one tenant has it alone."""
    open_ended: bool
    """Whether a tenant takes more than is planned when there is more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """How many replicas of a tier are placed, and how many any plan could place at most.

    The bound holds for every plan that places at least as many in each tier before this one.
    """

    tier: Tier
    asked: int
    placed: int
    at_most: int | None
    """None in large clusters, where the tiers are weighed together: `Plan.gap` is about all of them."""

    @property
    def gap(self) -> float:
        """Part of the bound that is missing, from 0 (proven best) to 1."""
        if self.at_most is None or self.at_most <= self.placed:
            return 0.0
        return (self.at_most - self.placed) / self.at_most


@dataclass(frozen=True, slots=True, kw_only=True)
class Preference:
    """How well the wishes beyond "placed" are met: fewer are better, compared in this order."""

    crowded: int
    """Replicas of a service that share a node with another of theirs."""
    mixed: int
    """Models of GPU beyond the first that the replicas of a service have, over all services."""
    left_over: int
    """Unused bytes on GPUs that are used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The placement of one layout: what runs where."""

    layout: str | None
    """None: the services as they stand, without a layout."""
    placed: tuple[Placed, ...]
    unplaced: tuple[Unplaced, ...]
    cautions: tuple[Caution, ...]
    totals: tuple[GpuTotal, ...]
    proofs: tuple[Proof, ...]
    gap: float
    """Part by which another plan could place more, at most: 0 is proven best, 0.02 is two percent."""
    exact: bool
    """Whether it was searched GPU by GPU. If not, the tiers are weighed 100 : 10 : 1, and `gap` is that sum's."""
    preference: Preference

    @property
    def missing(self) -> tuple[Unplaced, ...]:
        """Return what was asked for and can neither be placed nor take turns."""
        return tuple(replica for replica in self.unplaced if not replica.takes_turns)


NODE_RESERVE = 2 * 2**30
"""Bytes of main memory of every node that are not planned with: assumed for the operating system, the kubelet and the
container runtime (the K3s documentation measures 1.6 GiB for a server with a small load, 0.3 GiB for an agent).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A node with the GPUs that the file names, and the main memory that can be planned with."""

    name: str
    gpus: tuple[PlannedGpu, ...]
    described: bool
    """Whether the file says which GPUs it has."""
    memory: int | None
    """Bytes; None is unknown, and then nothing is held against it."""


def list_machines(cluster: Cluster) -> tuple[Machine, ...]:
    """List the nodes in the order of the file."""
    return tuple(_make_machine(node) for node in cluster.nodes)


def _make_machine(node: Node) -> Machine:
    memory = None if node.memory is None else max(0, node.memory - NODE_RESERVE)
    return Machine(
        name=node.name,
        gpus=tuple(sorted((_make_gpu(node.name, gpu, memory) for gpu in node.gpus or ()), key=lambda gpu: gpu.index)),
        described=node.gpus is not None,
        memory=memory,
    )


def _make_gpu(node: str, gpu: Gpu, memory: int | None) -> PlannedGpu:
    usable = None if gpu.memory is None else get_usable(gpu.memory)
    if usable is not None and memory is not None and gpu.is_unified:
        usable = min(usable, memory)
    return PlannedGpu(
        node=node,
        index=gpu.index,
        model=gpu.model,
        memory=gpu.memory,
        usable=usable,
        is_unified=gpu.is_unified,
        maker=find_maker(gpu),
    )
