"""Profiles: what a workload asks of a GPU, and what the GPUs of a node offer to workloads.

A mixed pool offers one resource profile for each class of card, and somebody has to choose; a homogeneous pool offers a
single one, and nobody has to. That is what makes an upgrade to identical cards simpler.
"""

from __future__ import annotations

from dataclasses import dataclass

from corral.cluster.values import Cluster, Gpu, Node, Workload
from corral.hardware.pools import UNKNOWN_CLASS, class_of
from corral.units import Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceProfile:
    """What the cards of one class in one node offer."""

    name: str
    """The node of a homogeneous pool (`hydra-compute`); with the class in a mixed one (`hydra-compute-3060`)."""
    node: str
    gpu_class: str
    vram_per_gpu: Bytes | None
    """The smallest card's, so that what fits does on any of them; None when one is not known."""
    max_workloads: int
    """One for each card that can take a task."""
    parallel_capable: bool
    """Whether one task can have several identical cards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadProfile:
    """What a recurring kind of task asks for."""

    name: str
    min_vram: Bytes | None
    """None when the file does not say."""
    prefer_node: str | None
    parallel_capable: bool
    """Whether one task of it can use several GPUs."""

    def fits(self, resource: ResourceProfile) -> bool | None:
        """Say whether any card of the profile does for it; None when either size is unknown."""
        if self.min_vram is None or resource.vram_per_gpu is None:
            return None
        return resource.max_workloads > 0 and self.min_vram <= resource.vram_per_gpu


def workload_profiles(cluster: Cluster) -> tuple[WorkloadProfile, ...]:
    """Make the profile of every workload of a cluster file, in its order."""
    return tuple(_workload_profile(workload) for workload in cluster.workloads.values())


def resource_profiles(node: Node) -> tuple[ResourceProfile, ...]:
    """Make the profiles that a node offers: one for each class of card, in the order of its cards."""
    by_class: dict[str, list[Gpu]] = {}
    for gpu in node.gpus or ():
        by_class.setdefault(class_of(gpu), []).append(gpu)
    return tuple(
        _resource_profile(node, name, cards, name if len(by_class) > 1 else None) for name, cards in by_class.items()
    )


def _workload_profile(workload: Workload) -> WorkloadProfile:
    return WorkloadProfile(
        name=workload.name,
        min_vram=workload.min_vram,
        prefer_node=workload.prefer_node,
        parallel_capable=workload.parallel_capable,
    )


def _resource_profile(node: Node, gpu_class: str, cards: list[Gpu], suffix: str | None) -> ResourceProfile:
    sizes = [card.memory for card in cards if card.memory is not None]
    return ResourceProfile(
        name=f"{node.name}-{suffix}" if suffix else node.name,
        node=node.name,
        gpu_class=gpu_class,
        vram_per_gpu=min(sizes) if len(sizes) == len(cards) else None,
        max_workloads=sum(card.memory != 0 for card in cards),
        parallel_capable=gpu_class != UNKNOWN_CLASS and sum(card.memory != 0 for card in cards) > 1,
    )
