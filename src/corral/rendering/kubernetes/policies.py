"""What all layouts share: namespaces, priorities, quotas, the runtime class."""

from __future__ import annotations

from collections.abc import Iterable

from lightkube.models.core_v1 import ResourceQuotaSpec
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import Namespace, ResourceQuota
from lightkube.resources.node_v1 import RuntimeClass
from lightkube.resources.scheduling_v1 import PriorityClass

from corral.cluster.values import Cluster, GpuMode
from corral.rendering.installation import Installation
from corral.rendering.kubernetes import gpus
from corral.rendering.kubernetes.naming import BATCH, SERVING, labels_of
from corral.rendering.kubernetes.pods import RUNTIME_CLASS

_SERVING_VALUE = 100_000
_BATCH_VALUE = 1_000
"""Far apart and above 0, the priority of pods without a class, so that neither is evicted by chance (pitfall A23)."""


def namespaces(installation: Installation, names: Iterable[str]) -> list[Namespace]:
    """Namespaces that refuse privileged pods and warn of what a stricter profile would refuse."""
    labels = {
        "pod-security.kubernetes.io/enforce": "baseline",
        "pod-security.kubernetes.io/warn": "restricted",
    }
    return [Namespace(metadata=ObjectMeta(name=name, labels=labels_of(installation, name) | labels)) for name in names]


def priority_classes(installation: Installation) -> list[PriorityClass]:
    """What serves goes before what can wait; batch never evicts."""
    return [
        PriorityClass(
            metadata=ObjectMeta(name=SERVING, labels=labels_of(installation, SERVING)),
            value=_SERVING_VALUE,
            description="Services that people wait for.",
        ),
        PriorityClass(
            metadata=ObjectMeta(name=BATCH, labels=labels_of(installation, BATCH)),
            value=_BATCH_VALUE,
            preemptionPolicy="Never",
            description="Work that can wait for a night.",
        ),
    ]


def quotas(installation: Installation, names: Iterable[str]) -> list[ResourceQuota]:
    """No namespace asks for more GPUs than the cluster has, where all of its GPUs are known.

    Claims are counted by their class: `<class>.deviceclass.resource.k8s.io/devices` (Kubernetes, resource quotas).
    """
    count = gpu_count(installation.cluster)
    if not count:
        return []
    by_claim = installation.gpu_mode is GpuMode.DRA
    counted = f"{gpus.DEVICE_CLASS}.deviceclass.resource.k8s.io/devices" if by_claim else f"requests.{gpus.RESOURCE}"
    return [
        ResourceQuota(
            metadata=ObjectMeta(name="gpus", namespace=name, labels=labels_of(installation, "gpus")),
            spec=ResourceQuotaSpec(hard={counted: str(count)}),
        )
        for name in names
    ]


def runtime_class(installation: Installation) -> RuntimeClass | None:
    """The runtime class of GPU pods; K3s makes it itself, and claims do without."""
    kubernetes = installation.cluster.kubernetes
    if installation.gpu_mode is GpuMode.DRA:
        return None
    if kubernetes is not None and kubernetes.distribution == "k3s":
        return None
    return RuntimeClass(
        metadata=ObjectMeta(name=RUNTIME_CLASS, labels=labels_of(installation, RUNTIME_CLASS)), handler=RUNTIME_CLASS
    )


def gpu_count(cluster: Cluster) -> int | None:
    """All GPUs of the cluster; None where a node's are yet to be found."""
    counts = [None if node.gpus is None else len(node.gpus) for node in cluster.nodes]
    return None if None in counts else sum(count or 0 for count in counts)
