"""Kueue's queues (API v1beta2), mapped from those of the cluster file.

Quota is what a pool has less what always runs: Kueue counts its own quota and nothing else, so a card that a service
holds must not be in it (pitfall H03). Queues whose pools share a card share a ClusterQueue; others have their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from corral.cluster.values import Cluster, GpuMode, Node, QueueOrder, QueueSettings, StorageKind
from corral.hardware.pools import gpu_class
from corral.rendering.documents import document, manifests
from corral.rendering.installation import Deployed, Installation, is_mixed
from corral.rendering.kubernetes.gpus import DEVICE_CLASS, RESOURCE
from corral.rendering.kubernetes.naming import BATCH, labels_of
from corral.rendering.kubernetes.volumes import HOSTNAME, quantity
from corral.rendering.kubernetes.workloads import groups, image_of, is_job
from corral.rendering.names import dns_name

Json = dict[str, Any]  # a Kubernetes object as plain values: lightkube has no models of Kueue's kinds
Card = tuple[str, int]
"""A node and the index of a GPU there."""

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


def flavor_of(node: Node) -> str | None:
    """The flavour of a node's GPUs: their class, or the node itself where it mixes several; None without GPUs."""
    if not node.gpus:
        return None
    return dns_name(node.name if is_by_host(node) else class_of(node))


def is_by_host(node: Node) -> bool:
    """Tell whether a node's GPUs have no class in common: it mixes models, or the file does not name them all."""
    return is_mixed(node) or any(gpu.model is None for gpu in node.gpus or ())


def _flavors(installation: Installation) -> list[Json]:
    found: dict[str, Json] = {}
    for node in installation.cluster.nodes:
        name = flavor_of(node)
        if name is not None:
            by_class = {f"{installation.label_prefix}/gpu-class": class_of(node)}
            labels = {HOSTNAME: node.name} if is_by_host(node) else by_class
            found[name] = _object(installation, "ResourceFlavor", name, spec={"nodeLabels": labels})
    return list(found.values())


def class_of(node: Node) -> str:
    """The class of the first GPU of a node."""
    return next((gpu_class(gpu.model) for gpu in node.gpus or () if gpu.model), "")


def _queues(installation: Installation) -> list[Json]:
    objects: list[Json] = []
    for queues in _sharing(installation.cluster):
        cards = frozenset(card for queue in queues for card in _pool(installation.cluster, queue))
        name = dns_name(queues[0].name)
        objects.append(_cluster_queue(installation, name, queues, cards))
        objects += [
            _object(installation, "LocalQueue", dns_name(queue.name), namespace=namespace, spec={"clusterQueue": name})
            for queue in queues
            for namespace in _namespaces(installation)
        ]
    return objects


def _cluster_queue(
    installation: Installation, name: str, queues: Iterable[QueueSettings], cards: frozenset[Card]
) -> Json:
    is_fifo = all(queue.order is QueueOrder.FIFO for queue in queues)
    scratch = [EPHEMERAL] if _uses_scratch(installation) else []
    flavors = [
        {
            "name": flavor,
            "resources": [
                {"name": "cpu", "nominalQuota": cpu},
                {"name": "memory", "nominalQuota": memory},
                {"name": RESOURCE, "nominalQuota": str(free)},
                *({"name": EPHEMERAL, "nominalQuota": _MUCH_MEMORY} for _ in scratch),
            ],
        }
        for flavor, (free, cpu, memory) in _free(installation, cards).items()
    ]
    spec: Json = {
        "namespaceSelector": {},
        "queueingStrategy": "StrictFIFO" if is_fifo else "BestEffortFIFO",
        "preemption": {"withinClusterQueue": "LowerPriority"},
    }
    if flavors:
        spec["resourceGroups"] = [{"coveredResources": ["cpu", "memory", RESOURCE, *scratch], "flavors": flavors}]
    return _object(installation, "ClusterQueue", name, spec=spec)


def _uses_scratch(installation: Installation) -> bool:
    """Tell whether a Job asks for room on a node's disk: what it asks for has to be covered (pitfall H02)."""
    return any(
        storage.kind is StorageKind.EPHEMERAL and storage.size is not None
        for one in installation.deployed
        if is_job(one)
        for storage in one.storage
    )


def _free(installation: Installation, cards: frozenset[Card]) -> dict[str, tuple[int, str, str]]:
    """For each flavour of a pool: cards that nothing holds, and the processors and memory of its nodes."""
    held = _held(installation)
    found: dict[str, tuple[int, str, str]] = {}
    for flavor in _flavor_names(installation):
        members = [node for node in installation.cluster.nodes if flavor_of(node) == flavor]
        pool = sum(card[0] == node.name for node in members for card in cards)
        if pool:
            taken = sum(held[node.name] for node in members)
            found[flavor] = (max(0, pool - taken), _cpu(members), _memory(members))
    return found


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


def _sharing(cluster: Cluster) -> list[list[QueueSettings]]:
    """Queues, together where their pools share a card, in the order of the file."""
    found: list[tuple[list[QueueSettings], frozenset[Card]]] = []
    for queue in cluster.queues.values():
        cards = _pool(cluster, queue)
        if not cards:
            continue
        joined = [one for one in found if one[1] & cards]
        found = [one for one in found if not one[1] & cards]
        members = [each for queues, _ in joined for each in queues]
        found.append(([*members, queue], cards.union(*(pool for _, pool in joined))))
    return [queues for queues, _ in found]


def _pool(cluster: Cluster, queue: QueueSettings) -> frozenset[Card]:
    cards = [(node.name, gpu.index) for node in cluster.nodes for gpu in node.gpus or ()]
    if queue.pool is None:
        return frozenset(cards)
    return frozenset(card for card in cards if card[0] in queue.pool or f"{card[0]}/gpu{card[1]}" in queue.pool)


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


def _flavor_names(installation: Installation) -> list[str]:
    return list(dict.fromkeys(name for node in installation.cluster.nodes if (name := flavor_of(node)) is not None))


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
