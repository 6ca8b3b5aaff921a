"""Kueue's queues (API v1beta2): flavours, ClusterQueues, LocalQueues and priorities; for claims also its configuration.

The queues of the cluster file get quotas such that all together give out each GPU once. Queues with the same pool share
a ClusterQueue. If pools only overlap, each GPU is in the quota of the queue with the smaller pool, and the other queue
borrows it within their cohort while it is free: no queue gives out a GPU outside its pool. A quota has no GPU that a
service always keeps, for Kueue counts its own quota and nothing else (pitfall H03); such GPUs are taken from the widest
queue first, which can use most others. Services that lend their GPUs are workloads of the queue themselves, so that
their GPUs are in the quota: a Job takes them by priority, and they come back when it ends.

A flavour is Kueue's name for nodes whose GPUs are alike; each has a quota of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from corral.cluster.values import Cluster, GpuMode, Node, QueueOrder, QueueSettings, StorageKind
from corral.hardware.makers import find_resource
from corral.hardware.pools import name_class
from corral.rendering.documents import write_document, write_manifests
from corral.rendering.gpu_modes import is_mixed
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes.gpus import DEVICE_CLASS, RESOURCE, count_gpus
from corral.rendering.kubernetes.objects import (
    BATCH,
    EMPTIED,
    INTERACTIVE,
    LENT,
    make_labels,
    name_local_queue,
    render_kustomization,
)
from corral.rendering.kubernetes.volumes import HOSTNAME, format_quantity
from corral.rendering.kubernetes.workloads import group_by_pod, is_lent, list_jobs
from corral.rendering.names import dns_name
from corral.rendering.nodes import name_class_label

Json = dict[str, Any]  # a Kubernetes object as plain values: lightkube has no models of Kueue's kinds

_API = "kueue.x-k8s.io/v1beta2"
_CONFIGURATION = "config.kueue.x-k8s.io/v1beta2"
_SCRATCH = "ephemeral-storage"
_PRIORITIES = {INTERACTIVE: 10_000, BATCH: 1_000, LENT: 100, EMPTIED: 10}
"""Services that lend their GPUs come last: any Job takes one, and Kueue ends as many of them as it needs."""
_READY_TIMEOUT = "30m"
"""The time after which an admitted Job whose pods do not run loses its quota: enough for images of 12 GB and for
loading models."""
_MUCH_CPU = "1000"
_MUCH_MEMORY = "10Ti"
"""Quotas that the cluster file does not limit: pods request both resources, so the queue must cover both (pitfall
H02)."""


def render_queues(installation: Installation) -> Mapping[str, str]:
    """Render the queues of one layout, and a kustomization of them and the layout; texts by path."""
    folder = f"kueue/{installation.name}"
    flavors = map_flavors(installation.cluster)
    objects = [
        *_build_flavors(installation, flavors),
        *_build_queues(installation, flavors),
        *_build_priorities(installation),
    ]
    resources = [f"../../kubernetes/overlays/{installation.name}", "queues.yaml"]
    note = "The layout and its queues together; install Kueue first."
    files = {
        f"{folder}/queues.yaml": write_manifests(installation, objects),
        f"{folder}/kustomization.yaml": render_kustomization(installation, resources, note),
    }
    if installation.gpu_mode is GpuMode.DRA:
        files[f"{folder}/configuration.yaml"] = _render_configuration(installation)
    return files


def _build_flavors(installation: Installation, flavors: Mapping[str, str]) -> list[Json]:
    objects: dict[str, Json] = {}
    for node in installation.cluster.kubernetes_nodes:
        if node.name in flavors:
            by_class = {name_class_label(installation.cluster): find_class(node)}
            labels = {HOSTNAME: node.name} if is_own_flavor(installation.cluster, node) else by_class
            name = flavors[node.name]
            objects[name] = _build_object(installation, "ResourceFlavor", name, spec={"nodeLabels": labels})
    return list(objects.values())


def _build_queues(installation: Installation, flavors: Mapping[str, str]) -> list[Json]:
    objects: list[Json] = []
    for share in divide_gpus(installation.cluster, flavors, _count_held_gpus(installation)):
        name = dns_name(f"{installation.cluster.name}-{share.queues[0].name}")
        objects.append(_build_cluster_queue(installation, name, share, flavors))
        objects += [
            _build_object(
                installation,
                "LocalQueue",
                name_local_queue(queue.name),
                namespace=namespace,
                spec={"clusterQueue": name},
            )
            for queue in share.queues
            for namespace in list_job_namespaces(installation)
        ]
    return objects


def _build_cluster_queue(installation: Installation, name: str, share: Share, flavors: Mapping[str, str]) -> Json:
    is_fifo = all(queue.order is QueueOrder.FIFO for queue in share.queues)
    scratch = [_SCRATCH] if _uses_scratch(installation) else []
    preemption = {"withinClusterQueue": "LowerPriority"}
    spec: Json = {}
    if share.overlaps:
        # Only queues of one cohort lend to each other, and take back what they lent.
        spec["cohortName"] = dns_name(installation.cluster.name)
        preemption["reclaimWithinCohort"] = "LowerPriority"
    gpu_resources = _list_gpu_resources(installation.cluster)
    spec |= {
        "namespaceSelector": {},
        "queueingStrategy": "StrictFIFO" if is_fifo else "BestEffortFIFO",
        "preemption": preemption,
        "resourceGroups": [
            {
                "coveredResources": ["cpu", "memory", *gpu_resources, *scratch],
                "flavors": [
                    {
                        "name": flavor,
                        "resources": _list_resources(
                            installation,
                            [
                                node
                                for node in installation.cluster.kubernetes_nodes
                                if flavors.get(node.name) == flavor
                            ],
                            quota,
                            scratch,
                            overlaps=share.overlaps,
                        ),
                    }
                    for flavor, quota in share.quotas.items()
                ],
            }
        ],
    }
    return _build_object(installation, "ClusterQueue", name, spec=spec)


def _list_gpu_resources(cluster: Cluster) -> list[str]:
    """List the resources of the cluster's GPUs, each once, in the order of the file; NVIDIA's where there is none."""
    resources = [find_resource((gpu,)) for node in cluster.kubernetes_nodes for gpu in node.gpus or ()]
    return list(dict.fromkeys(resource for resource in resources if resource is not None)) or [RESOURCE]


def _split_quota(installation: Installation, nodes: Sequence[Node], quota: Quota) -> Mapping[str, Quota]:
    """Split the quota of a flavour by the resources of its GPUs; each has at most what services leave of it."""
    held = {
        (place.node, index)
        for members in _list_keeping(installation)
        for member in members
        for place in member.places
        for index in place.gpus
    }
    free: Counter[str] = Counter()
    for node in nodes:
        for gpu in node.gpus or ():
            if (resource := find_resource((gpu,))) is not None:
                free[resource] += (node.name, gpu.index) not in held
    if len(free) == 1:
        return dict.fromkeys(free, quota)
    return {resource: Quota(own=min(count, quota.own), borrowed=quota.borrowed) for resource, count in free.items()}


def _list_resources(
    installation: Installation, nodes: Sequence[Node], quota: Quota, scratch: Sequence[str], *, overlaps: bool
) -> list[Json]:
    """The quotas of a queue for one flavour: its GPUs, and the other resources of the flavour's nodes.

    A flavour has a quota for every resource of its group (Kueue, "ResourceGroups"): 0 for GPUs of another maker.
    """
    split, none = _split_quota(installation, nodes, quota), Quota(own=0, borrowed=0)
    gpus = [
        {"name": resource, "nominalQuota": str(split.get(resource, none).own)}
        | ({"borrowingLimit": str(split.get(resource, none).borrowed)} if overlaps else {})
        for resource in _list_gpu_resources(installation.cluster)
    ]
    return [
        {"name": "cpu", "nominalQuota": _sum_cpu(nodes)},
        {"name": "memory", "nominalQuota": _sum_memory(nodes)},
        *gpus,
        *({"name": name, "nominalQuota": _MUCH_MEMORY} for name in scratch),
    ]


def _uses_scratch(installation: Installation) -> bool:
    """Return whether what it admits requests space on a node's disk: a queue must cover every requested resource
    (pitfall H02)."""
    return any(
        storage.kind is StorageKind.EPHEMERAL and storage.size is not None
        for deployed in _list_queued(installation)
        for storage in deployed.storage
    )


def _count_held_gpus(installation: Installation) -> Counter[str]:
    """Count the GPUs of each node that the services of the layout keep; services that are bound to no node take them
    from the node with most free GPUs."""
    if installation.places.by_replica:
        return _count_planned_gpus(installation)
    held: Counter[str] = Counter()
    total = {node.name: len(node.gpus or ()) for node in installation.cluster.kubernetes_nodes}
    always = _list_keeping(installation)
    # Bound services come first, so that the others see what is left.
    for members in sorted(always, key=lambda members: members[0].node is None):
        count = count_gpus(members) * max(member.replicas for member in members)
        node = _find_named_node(members) or max(total, key=lambda name: total[name] - held[name])
        held[node] += count
    return held


def _count_planned_gpus(installation: Installation) -> Counter[str]:
    """Count the GPUs of each node that the plan gives to services; several that share one hold it once."""
    always = [member for members in _list_keeping(installation) for member in members]
    held = {(place.node, index) for member in always for place in member.places for index in place.gpus}
    return Counter(node for node, _ in held if node is not None)


def _list_keeping(installation: Installation) -> list[tuple[Deployed, ...]]:
    """List the pods that keep their GPUs: neither on demand nor lent."""
    return [
        members
        for members in group_by_pod(installation)
        if not all(member.on_demand for member in members) and not is_lent(installation, members)
    ]


def _list_queued(installation: Installation) -> list[Deployed]:
    """List what Kueue admits: Jobs, and services that lend their GPUs."""
    lent = (members[0] for members in group_by_pod(installation) if is_lent(installation, members))
    return [*list_jobs(installation), *lent]


def _find_named_node(members: Sequence[Deployed]) -> str | None:
    return next((member.node for member in members if member.node is not None), None)


def _build_priorities(installation: Installation) -> list[Json]:
    return [
        _build_object(installation, "WorkloadPriorityClass", name)
        | {"value": value, "description": "Kueue's order only."}
        for name, value in _PRIORITIES.items()
    ]


def _render_configuration(installation: Installation) -> str:
    """Render the part of Kueue's configuration with which it counts claims as GPUs."""
    mapping = {"name": RESOURCE, "deviceClassNames": [DEVICE_CLASS]}
    value = {
        "apiVersion": _CONFIGURATION,
        "kind": "Configuration",
        "resources": {"deviceClassMappings": [mapping]},
        "waitForPodsReady": {"timeout": _READY_TIMEOUT},
    }
    return write_document(installation, value, "Merge this into the configuration that Kueue is installed with.")


def list_job_namespaces(installation: Installation) -> list[str]:
    """List the namespaces of what Kueue admits, which have the LocalQueues; the default one if there is nothing."""
    return sorted({queued.namespace for queued in _list_queued(installation)} or {installation.namespace})


def _sum_cpu(nodes: Sequence[Node]) -> str:
    cores = [node.cpu_cores for node in nodes]
    return _MUCH_CPU if None in cores else str(sum(core or 0 for core in cores))


def _sum_memory(nodes: Sequence[Node]) -> str:
    sizes = [node.memory for node in nodes]
    return _MUCH_MEMORY if None in sizes else format_quantity(sum(size or 0 for size in sizes))


def _build_object(
    installation: Installation, kind: str, name: str, *, namespace: str | None = None, spec: Json | None = None
) -> Json:
    metadata: Json = {"name": name} | ({"namespace": namespace} if namespace else {})
    metadata["labels"] = make_labels(installation, name)
    return {"apiVersion": _API, "kind": kind, "metadata": metadata} | ({} if spec is None else {"spec": spec})


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
    """The flavour of each node with GPUs, by the node's name: the class of its GPUs, or the node itself.

    Flavours and ClusterQueues have no namespace: the cluster file's name keeps those of two installations apart.
    """
    return {
        node.name: dns_name(f"{cluster.name}-{node.name if is_own_flavor(cluster, node) else find_class(node)}")
        for node in cluster.kubernetes_nodes
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
    alike = [other for other in cluster.kubernetes_nodes if find_class(other) == find_class(node)]
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
        gpus = list_pool(cluster, queue)
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


def list_pool(cluster: Cluster, queue: QueueSettings) -> frozenset[GpuPlace]:
    """List the GPUs of a queue's pool that are on the cluster; a queue without any has no LocalQueue."""
    gpus = [(node.name, gpu.index) for node in cluster.kubernetes_nodes for gpu in node.gpus or ()]
    pool = queue.devices
    if pool is None:
        return frozenset(gpus)
    return frozenset((node, index) for node, index in gpus if node in pool or f"{node}/gpu{index}" in pool)


def _has_node(pool: tuple[str, ...] | None, node: Node) -> bool:
    return pool is None or any(selector.partition("/")[0] == node.name for selector in pool)
