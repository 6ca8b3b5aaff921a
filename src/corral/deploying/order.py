"""The order in which kinds of objects are applied: what others refer to comes first."""

from __future__ import annotations

from collections.abc import Iterable

from corral.snapshot import Kind, ObjectKey
from corral.work import Json

NAMESPACE = Kind("", "Namespace")
NODE = Kind("", "Node")
CONFIG_MAP = Kind("", "ConfigMap")
SECRET = Kind("", "Secret")
POD = Kind("", "Pod")
EVENT = Kind("", "Event")
SERVICE = Kind("", "Service")
CLAIM = Kind("", "PersistentVolumeClaim")
VOLUME = Kind("", "PersistentVolume")
CRD = Kind("apiextensions.k8s.io", "CustomResourceDefinition")
DEPLOYMENT = Kind("apps", "Deployment")
STATEFUL_SET = Kind("apps", "StatefulSet")
DAEMON_SET = Kind("apps", "DaemonSet")
JOB = Kind("batch", "Job")
DEVICE_CLASS = Kind("resource.k8s.io", "DeviceClass")
RESOURCE_SLICE = Kind("resource.k8s.io", "ResourceSlice")
CLAIM_TEMPLATE = Kind("resource.k8s.io", "ResourceClaimTemplate")
STORAGE_CLASS = Kind("storage.k8s.io", "StorageClass")
PRIORITY_CLASS = Kind("scheduling.k8s.io", "PriorityClass")
RUNTIME_CLASS = Kind("node.k8s.io", "RuntimeClass")
KUEUE = "kueue.x-k8s.io"

WORKLOADS = (DEPLOYMENT, STATEFUL_SET, DAEMON_SET)

_RANKS: tuple[tuple[Kind, ...], ...] = (
    (NAMESPACE,),
    (CRD,),
    (PRIORITY_CLASS, STORAGE_CLASS, RUNTIME_CLASS, DEVICE_CLASS, Kind(KUEUE, "WorkloadPriorityClass")),
    (Kind("", "ResourceQuota"), Kind("", "LimitRange"), Kind("networking.k8s.io", "NetworkPolicy")),
    (
        Kind("", "ServiceAccount"),
        Kind("rbac.authorization.k8s.io", "ClusterRole"),
        Kind("rbac.authorization.k8s.io", "Role"),
    ),
    (
        Kind("rbac.authorization.k8s.io", "ClusterRoleBinding"),
        Kind("rbac.authorization.k8s.io", "RoleBinding"),
    ),
    (SECRET, CONFIG_MAP),
    (VOLUME,),
    (CLAIM,),
    (CLAIM_TEMPLATE, Kind("resource.k8s.io", "ResourceClaim")),
    (Kind(KUEUE, "Topology"), Kind(KUEUE, "Cohort"), Kind(KUEUE, "AdmissionCheck")),
    (Kind(KUEUE, "ResourceFlavor"),),
    (Kind(KUEUE, "ClusterQueue"),),
    (Kind(KUEUE, "LocalQueue"),),
    (SERVICE,),
    (*WORKLOADS, JOB, POD),
)
_RANK_OF = {kind: rank for rank, kinds in enumerate(_RANKS) for kind in kinds}
LAST = len(_RANKS)
"""The rank of what refers to workloads, such as budgets and Ingresses, and of unknown kinds."""


def rank_kind(kind: Kind) -> int:
    """Rank a kind: objects of a lower rank are applied before, and deleted after, those of a higher one."""
    return _RANK_OF.get(kind, LAST)


def sort_objects(values: Iterable[Json]) -> tuple[Json, ...]:
    """Sort objects into the order of application; within a rank they keep theirs."""
    return tuple(sorted(values, key=lambda value: rank_kind(Kind.read(value))))


def sort_for_deletion(keys: Iterable[ObjectKey]) -> tuple[ObjectKey, ...]:
    """Sort names of objects into the order in which they are deleted: workloads before what they use."""
    return tuple(sorted(keys, key=lambda key: (-rank_kind(key.kind), key)))
