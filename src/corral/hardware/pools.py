"""Groups the GPUs of a node into a pool, and names the class of a GPU: what labels, queues and flavours are made of.

A node is one pool. It is homogeneous when all its GPUs are the same model: then any of them does for any task that
fits, and there is nothing to choose. GPUs of unknown models are never the same. A mixed pool offers one resource
profile for each class of GPU, and each workload must be matched to one.
"""

from __future__ import annotations

from dataclasses import dataclass

from corral.cluster.values import Cluster, Gpu, Node, Workload
from corral.figures import Figure
from corral.hardware.gpu_names import name_class
from corral.units import Bytes

__all__ = ["UNKNOWN_CLASS", "GpuPool", "get_class", "list_pools", "make_pool", "name_class"]

UNKNOWN_CLASS = "unknown"
"""The class of a GPU whose model is not set."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPool:
    """The GPUs of one node, for planning and scheduling."""

    node: str
    gpu_class: str
    """One class (`5070ti`), or all of a mixed pool joined by a dash (`5070ti-3060`), which is a valid label value."""
    classes: tuple[str, ...]
    """Each class once, in the order of the GPUs."""
    count: int
    homogeneous: bool
    """Whether all GPUs are one known model."""
    total_vram: Bytes | None
    """None as soon as one GPU's memory is not known."""
    available_slots: int
    """GPUs that can take a task: those with memory, or with unknown memory."""


def get_class(gpu: Gpu) -> str:
    """Name the class of a GPU of the cluster file; `unknown` when it names no model."""
    return name_class(gpu.model or "") or UNKNOWN_CLASS


def make_pool(node: Node) -> GpuPool | None:
    """Make the pool of a node; None when it has no GPU, or when its GPUs are still to be found."""
    if not node.gpus:
        return None
    classes = tuple(dict.fromkeys(get_class(gpu) for gpu in node.gpus))
    models = {(gpu.model, gpu.memory) for gpu in node.gpus}
    sizes = [gpu.memory for gpu in node.gpus if gpu.memory is not None]
    return GpuPool(
        node=node.name,
        gpu_class="-".join(classes),
        classes=classes,
        count=len(node.gpus),
        homogeneous=len(models) == 1 and UNKNOWN_CLASS not in classes,
        total_vram=Bytes(sum(sizes)) if len(sizes) == len(node.gpus) else None,
        available_slots=sum(gpu.memory != 0 for gpu in node.gpus),
    )


def list_pools(cluster: Cluster) -> tuple[GpuPool, ...]:
    """Make the pools of a cluster, one for each node with GPUs, in the order of the file."""
    return tuple(pool for node in cluster.nodes if (pool := make_pool(node)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """VRAM that a loaded model takes."""

    engine: str
    model: str
    divisible: Figure
    """Bytes that a split over GPUs shares out: weights and KV cache."""
    floor: Figure
    """Bytes that every GPU of a split needs in addition to its share: CUDA context, compute buffers."""
    splits: bool = True
    """Whether the engine can split it over GPUs."""
    read: Figure | None = None
    """Bytes that writing a token reads at least, with an empty cache; None where it writes none."""

    def divide(self, gpus: int) -> int:
        """Bytes on each of so many GPUs when it is split evenly."""
        return -(-round(self.divisible.value) // gpus) + round(self.floor.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResourceProfile:
    """The GPUs of one class in one node, as an offer to workloads."""

    name: str
    """The node of a homogeneous pool (`hydra-compute`); with the class in a mixed one (`hydra-compute-3060`)."""
    node: str
    gpu_class: str
    vram_per_gpu: Bytes | None
    """The smallest GPU's, so that what fits does on any of them; None when one is not known."""
    max_workloads: int
    """One for each GPU that can take a task."""
    parallel_capable: bool
    """Whether one task can have several identical GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadProfile:
    """The needs of a recurring kind of task."""

    name: str
    min_vram: Bytes | None
    """None when not set."""
    prefer_node: str | None
    parallel_capable: bool
    """Whether one task of it can use several GPUs."""

    def fits(self, resource: ResourceProfile) -> bool | None:
        """Return whether any GPU of the profile is enough; None when either size is unknown."""
        if self.min_vram is None or resource.vram_per_gpu is None:
            return None
        return resource.max_workloads > 0 and self.min_vram <= resource.vram_per_gpu


def list_workload_profiles(cluster: Cluster) -> tuple[WorkloadProfile, ...]:
    """Make the profile of every workload of a cluster file, in its order."""
    return tuple(_make_workload_profile(workload) for workload in cluster.workloads.values())


def list_resource_profiles(node: Node) -> tuple[ResourceProfile, ...]:
    """Make the profiles that a node offers: one for each class of GPU, in the order of its GPUs."""
    by_class: dict[str, list[Gpu]] = {}
    for gpu in node.gpus or ():
        by_class.setdefault(get_class(gpu), []).append(gpu)
    return tuple(
        _make_resource_profile(node, name, gpus, name if len(by_class) > 1 else None) for name, gpus in by_class.items()
    )


def _make_workload_profile(workload: Workload) -> WorkloadProfile:
    return WorkloadProfile(
        name=workload.name,
        min_vram=workload.min_vram,
        prefer_node=workload.prefer_node,
        parallel_capable=workload.parallel_capable,
    )


def _make_resource_profile(node: Node, gpu_class: str, gpus: list[Gpu], suffix: str | None) -> ResourceProfile:
    sizes = [gpu.memory for gpu in gpus if gpu.memory is not None]
    return ResourceProfile(
        name=f"{node.name}-{suffix}" if suffix else node.name,
        node=node.name,
        gpu_class=gpu_class,
        vram_per_gpu=min(sizes) if len(sizes) == len(gpus) else None,
        max_workloads=sum(gpu.memory != 0 for gpu in gpus),
        parallel_capable=gpu_class != UNKNOWN_CLASS and sum(gpu.memory != 0 for gpu in gpus) > 1,
    )
