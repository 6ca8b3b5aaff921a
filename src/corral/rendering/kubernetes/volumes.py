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
    ObjectReference,
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
from lightkube.resources.storage_v1 import StorageClass

from corral.cluster.values import Cluster, ServiceKind, Storage, StorageKind
from corral.rendering.installation import Deployed, Installation, namespace_of
from corral.rendering.kubernetes.naming import labels_of
from corral.rendering.names import dns_name
from corral.rendering.placed import SHARED_MEMORY_BYTES
from corral.rendering.programs import mount_paths, program_of

HOSTNAME = "kubernetes.io/hostname"
SHARED_MEMORY = "shm"
_NFS_OPTIONS = ("nfsvers=4.2", "hard", "noatime")
"""`hard` waits for a server that restarts instead of giving programs an error; noatime saves a write for each read."""
STORAGE_CLASS = "corral-local"
"""Ours, for volumes on a disk of a node of which the file does not say where: K3s' own class `local-path` deletes the
directory together with the claim, and weights take hours to fetch again."""
_LOCAL_PATH_PROVISIONER = "rancher.io/local-path"
"""Comes with K3s; elsewhere it has to be installed."""
_HOME = "data"
_UNKNOWN_SIZE = "10Gi"
"""A claim needs a size; for NFS and local-path it limits nothing."""


def claims(installation: Installation, storage: Storage, namespaces: Sequence[str]) -> list[PersistentVolumeClaim]:
    """A claim for a volume that lasts, in each namespace that uses it."""
    if storage.kind is StorageKind.EPHEMERAL:
        return []
    return [_claim(installation, storage, namespace) for namespace in namespaces]


def persistent_volumes(installation: Installation, used: Iterable[Storage]) -> list[PersistentVolume]:
    """The volumes behind claims, for storage whose place the cluster file says."""
    return [
        _persistent_volume(installation, storage, namespace)
        for storage in used
        if is_placed(installation.cluster, storage)
        for namespace in namespaces_of(installation.cluster, storage)
    ]


def storage_class(installation: Installation, used: Iterable[Storage]) -> StorageClass | None:
    """The class of volumes on a node's disk that are made when they are first used; None when there are none."""
    if not any(storage.kind is StorageKind.LOCAL and storage.path is None for storage in used):
        return None
    return StorageClass(
        metadata=ObjectMeta(name=STORAGE_CLASS, labels=labels_of(installation, STORAGE_CLASS)),
        provisioner=_LOCAL_PATH_PROVISIONER,
        reclaimPolicy="Retain",
        volumeBindingMode="WaitForFirstConsumer",
    )


def namespaces_of(cluster: Cluster, storage: Storage) -> list[str]:
    """The namespaces of all services that use a volume in any layout."""
    users = {service.name for service in cluster.services.values() if storage.name in service.storage}
    for layout in cluster.layouts.values():
        users |= {name for name, placement in layout.services.items() if storage.name in (placement.storage or ())}
    spaces = {cluster.services[name].namespace or namespace_of(cluster) for name in users}
    return sorted(dns_name(space) for space in spaces)


def names_of(cluster: Cluster, storage: Storage) -> list[str]:
    """The names of the volumes behind all claims of one."""
    return [volume_name(cluster, storage, namespace) for namespace in namespaces_of(cluster, storage)]


def volume_name(cluster: Cluster, storage: Storage, namespace: str) -> str:
    """The name of the volume behind a claim: it serves one claim only, so each namespace has its own."""
    several = len(namespaces_of(cluster, storage)) > 1
    return dns_name(f"{storage.name}-{namespace}" if several else storage.name)


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
    if any(is_homeless(one) for one in members):
        volumes.append(Volume(name=_HOME, emptyDir=EmptyDirVolumeSource()))
    if shared_memory:
        memory = EmptyDirVolumeSource(medium="Memory", sizeLimit=quantity(SHARED_MEMORY_BYTES))
        volumes.append(Volume(name=SHARED_MEMORY, emptyDir=memory))
    return volumes


def mounts(one: Deployed, *, shared_memory: bool) -> list[VolumeMount]:
    """Where a service finds its volumes: as the file says, else the first at its program's own place."""
    places = mount_paths(one.service, [storage.name for storage in one.storage])
    found = [VolumeMount(name=dns_name(name), mountPath=place) for name, place in places.items()]
    if is_homeless(one):
        found.append(VolumeMount(name=_HOME, mountPath=program_of(one.service).data_path))
    return [*found, *([VolumeMount(name=SHARED_MEMORY, mountPath="/dev/shm")] if shared_memory else [])]


def is_homeless(one: Deployed) -> bool:
    """Tell whether a program that writes to its data directory has no volume there."""
    return not one.storage and one.service.kind in (ServiceKind.CORRAL, ServiceKind.POSTGRESQL)


def node_of(members: Sequence[Deployed]) -> str | None:
    """The node that a pod has to run on: as a layout says, or that whose disk it uses; None for any."""
    said = (one.node for one in members if one.node is not None)
    bound = (node for one in members if (node := bound_node(one)) is not None)
    return next(said, None) or next(bound, None)


def bound_node(one: Deployed) -> str | None:
    """The node whose disk a service uses; None when it uses none."""
    return next((storage.node for storage in one.storage if storage.kind is StorageKind.LOCAL), None)


def _volume(storage: Storage) -> Volume:
    name = dns_name(storage.name)
    if storage.kind is StorageKind.EPHEMERAL:
        limit = None if storage.size is None else quantity(storage.size)
        return Volume(name=name, emptyDir=EmptyDirVolumeSource(sizeLimit=limit))
    return Volume(name=name, persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName=name))


def _claim(installation: Installation, storage: Storage, namespace: str) -> PersistentVolumeClaim:
    by_name = storage.kind is StorageKind.NFS or is_placed(installation.cluster, storage)
    name = dns_name(storage.name)
    return PersistentVolumeClaim(
        metadata=ObjectMeta(name=name, namespace=namespace, labels=labels_of(installation, name)),
        spec=PersistentVolumeClaimSpec(
            accessModes=[_access(storage)],
            storageClassName="" if by_name else STORAGE_CLASS,
            volumeName=volume_name(installation.cluster, storage, namespace) if by_name else None,
            resources=VolumeResourceRequirements(requests={"storage": _size(storage)}),
        ),
    )


def _persistent_volume(installation: Installation, storage: Storage, namespace: str) -> PersistentVolume:
    is_nfs = storage.kind is StorageKind.NFS
    path = storage.path or "/"
    name = volume_name(installation.cluster, storage, namespace)
    return PersistentVolume(
        metadata=ObjectMeta(name=name, labels=labels_of(installation, name)),
        spec=PersistentVolumeSpec(
            capacity={"storage": _size(storage)},
            accessModes=[_access(storage)],
            persistentVolumeReclaimPolicy="Retain",
            claimRef=ObjectReference(
                apiVersion="v1", kind="PersistentVolumeClaim", name=dns_name(storage.name), namespace=namespace
            ),
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
