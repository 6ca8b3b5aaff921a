"""The GPUs that each queue can give out, such that all together give out each GPU once.

Queues with the same pool share a ClusterQueue. If pools only overlap, each GPU is in the quota of the queue with the
smaller pool, and the other queue borrows it within their cohort while it is free: no queue gives out a GPU outside its
pool. GPUs that services keep are in no quota (pitfall H03); they are taken from the widest queue first, which can use
most others.

A flavour is Kueue's name for nodes whose GPUs are alike; each has a quota of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from corral.cluster.values import Cluster, Node, QueueSettings
from corral.hardware.pools import name_class
from corral.rendering.installation import is_mixed
from corral.rendering.names import dns_name
from corral.rendering.nodes import name_class_label

GpuPlace = tuple[str, int]
"""A node and the index of a GPU there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """GPUs of one flavour: a queue's own, and those it can borrow in addition."""

    own: int
    borrowed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """The queues of one ClusterQueue, and their quotas."""

    queues: tuple[QueueSettings, ...]
    overlaps: bool
    """Whether another ClusterQueue can use some of its GPUs as well."""
    quotas: Mapping[str, Quota] = field(default_factory=dict[str, Quota])
    """By flavour; only flavours of its GPUs."""


def map_flavors(cluster: Cluster) -> dict[str, str]:
    """The flavour of each node with GPUs, by the node's name: the class of its GPUs, or the node itself."""
    return {
        node.name: dns_name(node.name if is_own_flavor(cluster, node) else find_class(node))
        for node in cluster.nodes
        if node.gpus
    }


def is_own_flavor(cluster: Cluster, node: Node) -> bool:
    """Return whether a node is a flavour of its own, since nothing else says where its GPUs are.

    It mixes models, or the cluster file does not name them all, or gives the node another class by hand; or a queue can
    use the GPUs of this node and not those of another with the same class: a Job that is admitted by class could start
    on either.
    """
    if is_mixed(node) or any(gpu.model is None for gpu in node.gpus or ()):
        return True
    if node.labels.get(name_class_label(cluster), find_class(node)) != find_class(node):
        return True
    alike = [other for other in cluster.nodes if find_class(other) == find_class(node)]
    return any(len({_has_node(queue.pool, other) for other in alike}) > 1 for queue in cluster.queues.values())


def find_class(node: Node) -> str:
    """The class of the first GPU of a node; empty without GPUs."""
    return next((name_class(gpu.model) for gpu in node.gpus or () if gpu.model), "")


def divide_gpus(cluster: Cluster, flavors: Mapping[str, str], held: Mapping[str, int]) -> list[Share]:
    """Divide the GPUs of a cluster among its queues.

    Args:
        flavors: The flavour of each node, as `map_flavors` returns it.
        held: The number of GPUs of each node that services keep.
    """
    pools: dict[frozenset[GpuPlace], list[QueueSettings]] = {}
    for queue in cluster.queues.values():
        gpus = _list_pool(cluster, queue)
        if gpus:
            pools.setdefault(gpus, []).append(queue)
    own = _assign_gpus(list(pools), flavors, held)
    return [
        Share(
            queues=tuple(queues),
            overlaps=any(gpus & other for other in pools if other != gpus),
            quotas=_build_quotas(flavors, gpus, own[gpus]),
        )
        for gpus, queues in pools.items()
    ]


def _build_quotas(flavors: Mapping[str, str], gpus: frozenset[GpuPlace], own: Mapping[str, int]) -> dict[str, Quota]:
    usable = Counter(flavors[node] for node, _ in gpus)
    return {
        flavor: Quota(own=own.get(flavor, 0), borrowed=usable[flavor] - own.get(flavor, 0))
        for flavor in dict.fromkeys(flavors.values())
        if usable[flavor]
    }


def _assign_gpus(
    pools: Sequence[frozenset[GpuPlace]], flavors: Mapping[str, str], held: Mapping[str, int]
) -> dict[frozenset[GpuPlace], Counter[str]]:
    """Count the GPUs of each flavour that belong to each pool: the smallest with them, less those that are held."""
    counts: dict[frozenset[GpuPlace], Counter[str]] = {}
    assigned: set[GpuPlace] = set()
    for gpus in sorted(pools, key=len):
        counts[gpus] = Counter(flavors[node] for node, _ in gpus - assigned)
        assigned |= gpus
    left: Counter[str] = Counter()
    for node, flavor in flavors.items():
        left[flavor] += held.get(node, 0)
    # The widest pool gives first: its Jobs have the most other GPUs to run on.
    for gpus in sorted(pools, key=len, reverse=True):
        for flavor, count in counts[gpus].items():
            taken = min(count, left[flavor])
            counts[gpus][flavor] -= taken
            left[flavor] -= taken
    return counts


def _list_pool(cluster: Cluster, queue: QueueSettings) -> frozenset[GpuPlace]:
    gpus = [(node.name, gpu.index) for node in cluster.nodes for gpu in node.gpus or ()]
    pool = queue.devices
    if pool is None:
        return frozenset(gpus)
    return frozenset((node, index) for node, index in gpus if node in pool or f"{node}/gpu{index}" in pool)


def _has_node(pool: tuple[str, ...] | None, node: Node) -> bool:
    return pool is None or any(selector.partition("/")[0] == node.name for selector in pool)
