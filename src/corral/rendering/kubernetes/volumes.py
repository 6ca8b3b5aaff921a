"""Volumes: claims, the volumes behind them where the file says where they lie, and what is mounted where."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lightkube.models.core_v1 import (
    EmptyDirVolumeSource,
    LocalVolumeSource,
    NFSVolumeSource,
    NodeSelector,
    NodeSelectorRequirement,
    NodeSelectorTerm,
    PersistentVolumeClaimSpec,
    PersistentVolumeClaimVolumeSource,
    PersistentVolumeSpec,
    Volume,
    VolumeMount,
    VolumeNodeAffinity,
    VolumeResourceRequirements,
)
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim

from corral.cluster.values import Cluster, Storage, StorageKind
from corral.rendering.installation import Deployed, Installation
from corral.rendering.kubernetes.naming import labels_of
from corral.rendering.programs import mount_paths

HOSTNAME = "kubernetes.io/hostname"
SHARED_MEMORY = "shm"
SHARED_MEMORY_SIZE = "8Gi"
"""/dev/shm of pods that work on several GPUs; the 64 MB of a container are too few (pitfall A26)."""
_NFS_OPTIONS = ("nfsvers=4.2", "hard", "noatime")
"""`hard` waits for a server that restarts instead of giving programs an error; noatime saves a write for each read."""
_LOCAL_PATH = "local-path"
"""The storage class that comes with K3s."""
_UNKNOWN_SIZE = "10Gi"
"""A claim needs a size; for NFS and local-path it limits nothing."""


def claims(installation: Installation, storage: Storage, namespaces: Sequence[str]) -> list[PersistentVolumeClaim]:
    """A claim for a volume that lasts, in each namespace that uses it."""
    if storage.kind is StorageKind.EPHEMERAL:
        return []
    return [_claim(installation, storage, namespace) for namespace in namespaces]


def persistent_volumes(installation: Installation, used: Iterable[Storage]) -> list[PersistentVolume]:
    """The volumes behind claims, for storage whose place the cluster file says."""
    return [_persistent_volume(installation, storage) for storage in used if is_placed(installation.cluster, storage)]


def is_placed(cluster: Cluster, storage: Storage) -> bool:
    """Tell whether the file says enough to make the volume itself."""
    if storage.path is None:
        return False
    return storage.kind is StorageKind.LOCAL or (
        storage.kind is StorageKind.NFS and _server(cluster, storage) is not None
    )


def pod_volumes(members: Sequence[Deployed], *, shared_memory: bool) -> list[Volume]:
    """The volumes of a pod, each once."""
    seen = {storage.name: storage for one in members for storage in one.storage}
    volumes = [_volume(storage) for storage in seen.values()]
    if shared_memory:
        memory = EmptyDirVolumeSource(medium="Memory", sizeLimit=SHARED_MEMORY_SIZE)
        volumes.append(Volume(name=SHARED_MEMORY, emptyDir=memory))
    return volumes


def mounts(one: Deployed, *, shared_memory: bool) -> list[VolumeMount]:
    """Where a service finds its volumes: as the file says, else the first at its program's own place."""
    places = mount_paths(one.service, [storage.name for storage in one.storage])
    found = [VolumeMount(name=name, mountPath=place) for name, place in places.items()]
    return [*found, *([VolumeMount(name=SHARED_MEMORY, mountPath="/dev/shm")] if shared_memory else [])]


def bound_node(one: Deployed) -> str | None:
    """The node whose disk a service uses; None when it uses none."""
    return next((storage.node for storage in one.storage if storage.kind is StorageKind.LOCAL), None)


def _volume(storage: Storage) -> Volume:
    if storage.kind is StorageKind.EPHEMERAL:
        limit = None if storage.size is None else quantity(storage.size)
        return Volume(name=storage.name, emptyDir=EmptyDirVolumeSource(sizeLimit=limit))
    return Volume(name=storage.name, persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName=storage.name))


def _claim(installation: Installation, storage: Storage, namespace: str) -> PersistentVolumeClaim:
    placed = is_placed(installation.cluster, storage)
    is_nfs = storage.kind is StorageKind.NFS
    return PersistentVolumeClaim(
        metadata=ObjectMeta(name=storage.name, namespace=namespace, labels=labels_of(installation, storage.name)),
        spec=PersistentVolumeClaimSpec(
            accessModes=[_access(storage)],
            storageClassName="" if placed else (storage.name if is_nfs else _LOCAL_PATH),
            volumeName=storage.name if placed else None,
            resources=VolumeResourceRequirements(requests={"storage": _size(storage)}),
        ),
    )


def _persistent_volume(installation: Installation, storage: Storage) -> PersistentVolume:
    is_nfs = storage.kind is StorageKind.NFS
    path = storage.path or "/"
    return PersistentVolume(
        metadata=ObjectMeta(name=storage.name, labels=labels_of(installation, storage.name)),
        spec=PersistentVolumeSpec(
            capacity={"storage": _size(storage)},
            accessModes=[_access(storage)],
            persistentVolumeReclaimPolicy="Retain",
            storageClassName="",
            mountOptions=list(storage.mount_options or _NFS_OPTIONS) if is_nfs else None,
            nfs=NFSVolumeSource(server=_server(installation.cluster, storage) or "", path=path) if is_nfs else None,
            local=None if is_nfs else LocalVolumeSource(path=path),
            nodeAffinity=None if is_nfs else _on(storage.node or ""),
        ),
    )


def _on(node: str) -> VolumeNodeAffinity:
    requirement = NodeSelectorRequirement(key=HOSTNAME, operator="In", values=[node])
    return VolumeNodeAffinity(
        required=NodeSelector(nodeSelectorTerms=[NodeSelectorTerm(matchExpressions=[requirement])])
    )


def _server(cluster: Cluster, storage: Storage) -> str | None:
    """The host that exports an NFS volume: as the file says, else the address (or name) of its node."""
    if storage.server is not None:
        return storage.server
    return next((node.address or node.name for node in cluster.nodes if node.name == storage.node), None)


def _access(storage: Storage) -> str:
    return "ReadWriteMany" if storage.kind is StorageKind.NFS else "ReadWriteOnce"


def _size(storage: Storage) -> str:
    return _UNKNOWN_SIZE if storage.size is None else quantity(storage.size)


def quantity(size: int) -> str:
    """Bytes as Kubernetes writes them, in the largest unit that keeps them whole."""
    for unit, factor in (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)
