"""Names, labels, metadata and the order of fields that all objects share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from lightkube.models.meta_v1 import ObjectMeta

from corral.rendering.documents import write_document, write_manifests
from corral.rendering.installation import Deployed, Installation
from corral.rendering.names import LONGEST_WORKLOAD, dns_name

MANAGER = "corral"
_LONGEST_PORT_NAME = 15
SERVING = "corral-serving"
BATCH = "corral-batch"
LENT = "corral-lent"
"""The priority of services that lend their GPUs, for Kueue."""
EMPTIED = "corral-emptied"
"""The priority of their replicas that were emptied for a Job: Kueue takes these before all others."""
INTERACTIVE = "corral-interactive"
"""The priority of their replicas that no Job gets."""
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
PRIORITY_LABEL = "kueue.x-k8s.io/priority-class"
READY_REPLICAS = "corral.dev/ready-replicas"
"""The annotation of a workload with the number of its replicas that are ready when all is well, if not all are."""
REPLICA = "corral.dev/replica"
"""The label with the number of a replica that has a Deployment of its own."""
_FIRST = ("apiVersion", "kind", "metadata", "name", "namespace", "labels", "annotations", "image", "command", "type")
_LAST = ("selector", "template", "initContainers", "containers", "volumes", "status")
_SORTED = frozenset((*_FIRST, *_LAST))
_KUSTOMIZATION = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}


def make_labels(installation: Installation, name: str) -> dict[str, str]:
    """The recommended labels of an object (Kubernetes documentation, recommended labels)."""
    return {
        "app.kubernetes.io/name": name,
        "app.kubernetes.io/part-of": installation.cluster.name,
        "app.kubernetes.io/managed-by": MANAGER,
    }


def make_selector(installation: Installation, name: str) -> dict[str, str]:
    """The labels that only the pods of one workload have."""
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": installation.cluster.name}


def make_metadata(installation: Installation, name: str, namespace: str | None = None) -> ObjectMeta:
    """The name, the labels and, if it has one, the namespace of an object."""
    return ObjectMeta(name=name, namespace=namespace, labels=make_labels(installation, name))


def name_workload(deployed: Deployed) -> str:
    """Name the workload of a service: after its pod if it shares one."""
    return dns_name(deployed.pod or deployed.name, longest=LONGEST_WORKLOAD)


def name_local_queue(queue: str) -> str:
    """Name the LocalQueue of a queue.

    Never `default`: Kueue gives that one to every workload of its namespace that names none (LocalQueueDefaulting),
    and would hold back the services.
    """
    name = dns_name(queue)
    return f"{MANAGER}-{name}" if name == "default" else name


def name_port(deployed: Deployed) -> str:
    """Name a service's port where several are together, in 15 characters at most (RFC 6335)."""
    return dns_name(deployed.service.name, longest=_LONGEST_PORT_NAME)


def render_objects(installation: Installation, objects: Iterable[Any], *notes: str) -> str:
    """Render typed objects of lightkube as one file."""
    return write_manifests(installation, [convert_object(item) for item in objects], *notes)


def render_kustomization(installation: Installation, resources: list[str], *notes: str) -> str:
    """Render the file with which kustomize joins other files; objects are applied in the order of `resources`.

    By default kustomize puts kinds that it does not know last: a claim's template after the workload that names it.
    """
    return write_document(
        installation, _KUSTOMIZATION | {"sortOptions": {"order": "fifo"}, "resources": resources}, *notes
    )


def convert_object(typed: Any) -> Mapping[str, Any]:  # a typed object of lightkube
    """Convert a typed object to plain values, in the order in which people write them."""
    return _sort_fields(typed.to_dict())


def _sort_fields(value: Any) -> Any:  # plain values
    if isinstance(value, list):
        return [_sort_fields(item) for item in cast(list[Any], value)]
    if not isinstance(value, dict):
        return value
    fields = cast(dict[str, Any], value)
    first = [key for key in _FIRST if key in fields]
    last = [key for key in _LAST if key in fields]
    between = [key for key in fields if key not in _SORTED]
    return {key: _sort_fields(fields[key]) for key in (*first, *between, *last)}
