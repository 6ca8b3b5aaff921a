"""Queues: flavours, ClusterQueues, LocalQueues and priorities of a layout; for claims also Kueue's configuration.

A quota is the GPUs of a pool less those that services always keep: Kueue counts its own quota and nothing else, so that
a GPU that a service holds must not be in it (pitfall H03).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from corral.cluster.values import GpuMode, Node, QueueOrder, StorageKind
from corral.rendering.container_settings import is_job
from corral.rendering.documents import write_document, write_manifests
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes.gpus import DEVICE_CLASS, RESOURCE, count_gpus
from corral.rendering.kubernetes.objects import BATCH, make_labels, render_kustomization
from corral.rendering.kubernetes.volumes import HOSTNAME, format_quantity
from corral.rendering.kubernetes.workloads import group_by_pod, list_jobs
from corral.rendering.kueue.quotas import Quota, Share, divide_gpus, find_class, is_own_flavor, map_flavors
from corral.rendering.names import dns_name
from corral.rendering.nodes import name_class_label

Json = dict[str, Any]  # a Kubernetes object as plain values: lightkube has no models of Kueue's kinds

_API = "kueue.x-k8s.io/v1beta2"
_CONFIGURATION = "config.kueue.x-k8s.io/v1beta2"
_SCRATCH = "ephemeral-storage"
_INTERACTIVE = "corral-interactive"
_PRIORITIES = {_INTERACTIVE: 10_000, BATCH: 1_000}
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
    for node in installation.cluster.nodes:
        if node.name in flavors:
            by_class = {name_class_label(installation.cluster): find_class(node)}
            labels = {HOSTNAME: node.name} if is_own_flavor(installation.cluster, node) else by_class
            name = flavors[node.name]
            objects[name] = _build_object(installation, "ResourceFlavor", name, spec={"nodeLabels": labels})
    return list(objects.values())


def _build_queues(installation: Installation, flavors: Mapping[str, str]) -> list[Json]:
    objects: list[Json] = []
    for share in divide_gpus(installation.cluster, flavors, _count_held_gpus(installation)):
        name = dns_name(share.queues[0].name)
        objects.append(_build_cluster_queue(installation, name, share, flavors))
        objects += [
            _build_object(
                installation, "LocalQueue", dns_name(queue.name), namespace=namespace, spec={"clusterQueue": name}
            )
            for queue in share.queues
            for namespace in _list_job_namespaces(installation)
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
    spec |= {
        "namespaceSelector": {},
        "queueingStrategy": "StrictFIFO" if is_fifo else "BestEffortFIFO",
        "preemption": preemption,
        "resourceGroups": [
            {
                "coveredResources": ["cpu", "memory", RESOURCE, *scratch],
                "flavors": [
                    {
                        "name": flavor,
                        "resources": _list_resources(
                            [node for node in installation.cluster.nodes if flavors.get(node.name) == flavor],
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


def _list_resources(nodes: Sequence[Node], quota: Quota, scratch: Sequence[str], *, overlaps: bool) -> list[Json]:
    """The quotas of a queue for one flavour: its GPUs, and the other resources of the flavour's nodes."""
    gpus = {"name": RESOURCE, "nominalQuota": str(quota.own)}
    return [
        {"name": "cpu", "nominalQuota": _sum_cpu(nodes)},
        {"name": "memory", "nominalQuota": _sum_memory(nodes)},
        gpus | ({"borrowingLimit": str(quota.borrowed)} if overlaps else {}),
        *({"name": name, "nominalQuota": _MUCH_MEMORY} for name in scratch),
    ]


def _uses_scratch(installation: Installation) -> bool:
    """Return whether a Job requests space on a node's disk: a queue must cover every requested resource (pitfall
    H02)."""
    return any(
        storage.kind is StorageKind.EPHEMERAL and storage.size is not None
        for deployed in installation.deployed
        if is_job(deployed)
        for storage in deployed.storage
    )


def _count_held_gpus(installation: Installation) -> Counter[str]:
    """Count the GPUs of each node that the services of the layout keep; services that are bound to no node take them
    from the node with most free GPUs."""
    held: Counter[str] = Counter()
    total = {node.name: len(node.gpus or ()) for node in installation.cluster.nodes}
    always = [members for members in group_by_pod(installation) if not all(member.on_demand for member in members)]
    # Bound services come first, so that the others see what is left.
    for members in sorted(always, key=lambda members: members[0].node is None):
        count = count_gpus(members) * max(member.replicas for member in members)
        node = _find_named_node(members) or max(total, key=lambda name: total[name] - held[name])
        held[node] += count
    return held


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


def _list_job_namespaces(installation: Installation) -> list[str]:
    """The namespaces of Jobs; the default namespace if there are none."""
    return sorted({job.namespace for job in list_jobs(installation)} or {installation.namespace})


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
