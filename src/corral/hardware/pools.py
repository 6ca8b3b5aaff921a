"""Groups the cards of a node into a pool, and names the class of a card: what labels, queues and flavours are made of.

A node is one pool. It is homogeneous when all its cards are the same model: then any of them does for any task that
fits, and nobody has to choose. Cards whose model nobody stated are never called the same.
"""

from __future__ import annotations

from dataclasses import dataclass

from corral.cluster.values import Cluster, Gpu, Node
from corral.hardware.gpu_names import gpu_class
from corral.units import Bytes

__all__ = ["UNKNOWN_CLASS", "GpuPool", "class_of", "gpu_class", "pool_of", "pools_of"]

UNKNOWN_CLASS = "unknown"
"""The class of a card whose model nobody stated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuPool:
    """The cards of one node, as those who schedule see them."""

    node: str
    gpu_class: str
    """One class (`5070ti`), or all of a mixed pool joined by a dash (`5070ti-3060`), which is a valid label value."""
    classes: tuple[str, ...]
    """Each class once, in the order of the cards."""
    count: int
    homogeneous: bool
    """Whether all cards are one known model."""
    total_vram: Bytes | None
    """None as soon as one card's memory is not known."""
    available_slots: int
    """Cards that can take a task: those that are known to have memory, or of which nobody said that they have none."""


def class_of(gpu: Gpu) -> str:
    """Name the class of a card of the cluster file; `unknown` when it names no model."""
    return gpu_class(gpu.model or "") or UNKNOWN_CLASS


def pool_of(node: Node) -> GpuPool | None:
    """Make the pool of a node; None when it has no card, or when its cards are still to be found."""
    if not node.gpus:
        return None
    classes = tuple(dict.fromkeys(class_of(gpu) for gpu in node.gpus))
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


def pools_of(cluster: Cluster) -> tuple[GpuPool, ...]:
    """Make the pools of a cluster, one for each node with cards, in the order of the file."""
    return tuple(pool for node in cluster.nodes if (pool := pool_of(node)))
