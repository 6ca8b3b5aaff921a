"""Kueue's queues (API v1beta2), mapped from those of the cluster file.

Quota is what a pool has less what always runs: Kueue counts its own quota and nothing else, so a card that a service
holds must not be in it (pitfall H03). `flavors` says what cards are alike, `quotas` what each queue has of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from corral.cluster.values import GpuMode, Node, QueueOrder, StorageKind
from corral.rendering.documents import document, manifests
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes.gpus import DEVICE_CLASS, RESOURCE
from corral.rendering.kubernetes.naming import BATCH, labels_of
from corral.rendering.kubernetes.volumes import HOSTNAME, quantity
from corral.rendering.kubernetes.workloads import groups, image_of, is_job
from corral.rendering.kueue.flavors import class_of, flavor_of, is_by_host
from corral.rendering.kueue.quotas import Quota, Share, shares
from corral.rendering.names import dns_name
from corral.rendering.node_labels import class_label

Json = dict[str, Any]  # a Kubernetes object as plain values: lightkube has no models of Kueue's kinds

_API = "kueue.x-k8s.io/v1beta2"
_CONFIGURATION = "config.kueue.x-k8s.io/v1beta2"
EPHEMERAL = "ephemeral-storage"
_INTERACTIVE = "corral-interactive"
_PRIORITIES = {_INTERACTIVE: 10_000, BATCH: 1_000}
_READY_TIMEOUT = "30m"
"""When an admitted Job whose pods do not run gives its quota back: images of 12 GB and loading models are counted."""
_MUCH_CPU = "1000"
_MUCH_MEMORY = "10Ti"
"""Quotas of what the cluster file does not say: pods request both, so the queue must cover both (pitfall H02)."""


def files(installation: Installation) -> Mapping[str, str]:
    """Flavours, queues and priorities of one layout; for claims also Kueue's own configuration."""
    objects = [*_flavors(installation), *_queues(installation), *_priorities(installation)]
    folder = f"kueue/{installation.name}"
    whole = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [f"../../kubernetes/overlays/{installation.name}", "queues.yaml"],
    }
    note = "The layout and its queues together; Kueue has to be installed first."
    written = {
        f"{folder}/queues.yaml": manifests(installation, objects),
        f"{folder}/kustomization.yaml": document(installation, whole, note),
    }
    if installation.gpu_mode is GpuMode.DRA:
        written[f"{folder}/configuration.yaml"] = _configuration(installation)
    return written


def _flavors(installation: Installation) -> list[Json]:
    found: dict[str, Json] = {}
    for node in installation.cluster.nodes:
        name = flavor_of(installation.cluster, node)
        if name is not None:
            by_class = {class_label(installation.cluster): class_of(node)}
            labels = {HOSTNAME: node.name} if is_by_host(installation.cluster, node) else by_class
            found[name] = _object(installation, "ResourceFlavor", name, spec={"nodeLabels": labels})
    return list(found.values())


def _queues(installation: Installation) -> list[Json]:
    objects: list[Json] = []
    for share in shares(installation.cluster, _held(installation)):
        name = dns_name(share.queues[0].name)
        objects.append(_cluster_queue(installation, name, share))
        objects += [
            _object(installation, "LocalQueue", dns_name(queue.name), namespace=namespace, spec={"clusterQueue": name})
            for queue in share.queues
            for namespace in _namespaces(installation)
        ]
    return objects


def _cluster_queue(installation: Installation, name: str, share: Share) -> Json:
    is_fifo = all(queue.order is QueueOrder.FIFO for queue in share.queues)
    scratch = [EPHEMERAL] if _uses_scratch(installation) else []
    preemption = {"withinClusterQueue": "LowerPriority"}
    spec: Json = {"cohortName": dns_name(installation.cluster.name)} if share.overlaps else {}
    spec |= {
        "namespaceSelector": {},
        "queueingStrategy": "StrictFIFO" if is_fifo else "BestEffortFIFO",
        "preemption": preemption | ({"reclaimWithinCohort": "LowerPriority"} if share.overlaps else {}),
        "resourceGroups": [
            {
                "coveredResources": ["cpu", "memory", RESOURCE, *scratch],
                "flavors": [
                    {"name": flavor, "resources": _resources(installation, flavor, quota, share, scratch)}
                    for flavor, quota in share.quotas.items()
                ],
            }
        ],
    }
    return _object(installation, "ClusterQueue", name, spec=spec)


def _resources(
    installation: Installation, flavor: str, quota: Quota, share: Share, scratch: Iterable[str]
) -> list[Json]:
    """What a queue may give out of one flavour: cards, and whatever its nodes have of the rest."""
    cluster = installation.cluster
    members = [node for node in cluster.nodes if flavor_of(cluster, node) == flavor]
    cards = {"name": RESOURCE, "nominalQuota": str(quota.own)}
    return [
        {"name": "cpu", "nominalQuota": _cpu(members)},
        {"name": "memory", "nominalQuota": _memory(members)},
        cards | ({"borrowingLimit": str(quota.borrowed)} if share.overlaps else {}),
        *({"name": name, "nominalQuota": _MUCH_MEMORY} for name in scratch),
    ]


def _uses_scratch(installation: Installation) -> bool:
    """Tell whether a Job asks for room on a node's disk: what it asks for has to be covered (pitfall H02)."""
    return any(
        storage.kind is StorageKind.EPHEMERAL and storage.size is not None
        for one in installation.deployed
        if is_job(one)
        for storage in one.storage
    )


def _held(installation: Installation) -> Counter[str]:
    """How many cards of each node the services of the layout keep; those bound to no node take from the fullest."""
    held: Counter[str] = Counter()
    room = {node.name: len(node.gpus or ()) for node in installation.cluster.nodes}
    always = [members for members in groups(installation) if not all(one.on_demand for one in members)]
    for members in sorted(always, key=lambda members: members[0].node is None):
        count = max(one.gpu_count for one in members) * max(one.replicas for one in members)
        node = _node_of(members) or max(room, key=lambda name: room[name] - held[name])
        held[node] += count
    return held


def _node_of(members: tuple[Deployed, ...]) -> str | None:
    return next((one.node for one in members if one.node is not None), None)


def _priorities(installation: Installation) -> list[Json]:
    return [
        _object(installation, "WorkloadPriorityClass", name) | {"value": value, "description": "Kueue's order only."}
        for name, value in _PRIORITIES.items()
    ]


def _configuration(installation: Installation) -> str:
    """The part of Kueue's configuration that lets it count claims as GPUs."""
    mapping = {"name": RESOURCE, "deviceClassNames": [DEVICE_CLASS]}
    value = {
        "apiVersion": _CONFIGURATION,
        "kind": "Configuration",
        "resources": {"deviceClassMappings": [mapping]},
        "waitForPodsReady": {"timeout": _READY_TIMEOUT},
    }
    return document(installation, value, "Merge this into the configuration that Kueue is installed with.")


def _namespaces(installation: Installation) -> list[str]:
    """Namespaces of Jobs; the usual one when there are none."""
    found = {one.namespace for one in installation.deployed if is_job(one) and image_of(one.service) is not None}
    return sorted(found or {installation.namespace})


def _cpu(nodes: list[Node]) -> str:
    cores = [node.cpu_cores for node in nodes]
    return _MUCH_CPU if None in cores else str(sum(core or 0 for core in cores))


def _memory(nodes: list[Node]) -> str:
    sizes = [node.memory for node in nodes]
    return _MUCH_MEMORY if None in sizes else quantity(sum(size or 0 for size in sizes))


def _object(
    installation: Installation, kind: str, name: str, *, namespace: str | None = None, spec: Json | None = None
) -> Json:
    metadata: Json = {"name": name} | ({"namespace": namespace} if namespace else {})
    metadata["labels"] = labels_of(installation, name)
    return {"apiVersion": _API, "kind": kind, "metadata": metadata} | ({} if spec is None else {"spec": spec})
