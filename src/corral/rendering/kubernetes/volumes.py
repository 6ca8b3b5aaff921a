"""Volumes: claims, the volumes behind them if the cluster file says where they are, and the mounts of services."""

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
from lightkube.resources.core_v1 import PersistentVolume, PersistentVolumeClaim
from lightkube.resources.storage_v1 import StorageClass

from corral.cluster.values import Cluster, ServiceKind, Storage, StorageKind
from corral.rendering.container_settings import NFS_OPTIONS, SHARED_MEMORY_BYTES, find_nfs_server
from corral.rendering.installation import Deployed, Installation, namespace_of
from corral.rendering.kubernetes.objects import make_metadata, name_workload
from corral.rendering.kubernetes.security import locate_mounts
from corral.rendering.names import dns_name
from corral.rendering.programs import list_own_volumes, program_of

HOSTNAME = "kubernetes.io/hostname"
_SHARED_MEMORY = "shm"
_STORAGE_CLASS = "corral-local"
"""Ours, for volumes on a node's disk without a path in the cluster file: K3s' own class `local-path` deletes the
directory together with the claim, and weights take hours to fetch again."""
_LOCAL_PATH_PROVISIONER = "rancher.io/local-path"
"""Comes with K3s; on other distributions it must be installed."""
_HOME = "data"
_SHARED_FOLDERS = ("artifacts", "backups")
"""Of a data directory: the files that the database names, and the database as it was before upgrades."""
_KEEPING = (ServiceKind.CORRAL, ServiceKind.POSTGRESQL, ServiceKind.REDIS, ServiceKind.QDRANT)
POD_NAME = "POD_NAME"
"""The variable with the name of the pod, after which its folder in a volume is called."""
_UNKNOWN_SIZE = "10Gi"
"""A claim needs a size; for NFS and local-path it limits nothing."""


def build_claims(
    installation: Installation, storage: Storage, namespaces: Iterable[str]
) -> list[PersistentVolumeClaim]:
    """A claim for a volume that lasts, in each namespace that uses it; empty for an ephemeral volume."""
    if storage.kind is StorageKind.EPHEMERAL:
        return []
    return [_build_claim(installation, storage, namespace) for namespace in namespaces]


def is_of_replicas(storage: Storage) -> bool:
    """Return whether each replica has a volume of its own: on a disk, and the file names no node for it."""
    return storage.kind is StorageKind.LOCAL and storage.node is None


def build_claim_templates(installation: Installation, members: Sequence[Deployed]) -> list[PersistentVolumeClaim]:
    """The claims that a StatefulSet makes for each of its replicas."""
    used = {storage.name: storage for member in members for storage in member.storage if is_of_replicas(storage)}
    return [_build_claim(installation, storage, None) for storage in used.values()]


def build_replica_claims(installation: Installation, deployed: Deployed, replica: int) -> list[PersistentVolumeClaim]:
    """The claims of a replica that has a workload of its own."""
    claims = [
        _build_claim(installation, storage, deployed.namespace)
        for storage in deployed.storage
        if is_of_replicas(storage)
    ]
    for claim in claims:
        assert claim.metadata is not None, "it was made above"
        claim.metadata.name = _name_replica_claim(claim.metadata.name or "", deployed, replica)
    return claims


def _name_replica_claim(claim: str, deployed: Deployed, replica: int) -> str:
    """Name it as a StatefulSet names the claims of its replicas."""
    return dns_name(f"{claim}-{name_workload(deployed)}-{replica}")


def build_persistent_volumes(installation: Installation, used: Iterable[Storage]) -> list[PersistentVolume]:
    """The volumes behind claims, for storage whose place is in the cluster file."""
    return [
        _build_persistent_volume(installation, storage, namespace)
        for storage in used
        if has_place(installation.cluster, storage)
        for namespace in _list_namespaces(installation.cluster, storage)
    ]


def build_storage_classes(installation: Installation, used: Iterable[Storage]) -> list[StorageClass]:
    """The class of volumes on a node's disk that are made when they are first used; empty if there are none."""
    if not any(storage.kind is StorageKind.LOCAL and storage.path is None for storage in used):
        return []
    return [
        StorageClass(
            metadata=make_metadata(installation, _STORAGE_CLASS),
            provisioner=_LOCAL_PATH_PROVISIONER,
            reclaimPolicy="Retain",
            volumeBindingMode="WaitForFirstConsumer",
        )
    ]


def list_volume_names(cluster: Cluster, storage: Storage) -> list[str]:
    """The names of the volumes behind all claims of a storage."""
    return [_name_volume(cluster, storage, namespace) for namespace in _list_namespaces(cluster, storage)]


def has_place(cluster: Cluster, storage: Storage) -> bool:
    """Return whether the cluster file says enough of a storage to make the volume itself."""
    if storage.path is None:
        return False
    return storage.kind is StorageKind.LOCAL or (
        storage.kind is StorageKind.NFS and find_nfs_server(cluster, storage) is not None
    )


def build_pod_volumes(
    members: Sequence[Deployed], *, shared_memory: bool, replica: int | None = None, is_stateful: bool = False
) -> list[Volume]:
    """The volumes of a pod, each once; a StatefulSet has those of its replicas from its templates."""
    used = {storage.name: storage for member in members for storage in member.storage}
    volumes = [
        _build_volume(storage, members[0], replica)
        for storage in used.values()
        if not (is_stateful and is_of_replicas(storage))
    ]
    if any(_has_home(member) for member in members):
        volumes.append(Volume(name=_HOME, emptyDir=EmptyDirVolumeSource()))
    if shared_memory:
        memory = EmptyDirVolumeSource(medium="Memory", sizeLimit=format_quantity(SHARED_MEMORY_BYTES))
        volumes.append(Volume(name=_SHARED_MEMORY, emptyDir=memory))
    return volumes


def build_mounts(deployed: Deployed, *, shared_memory: bool, replica: int | None = None) -> list[VolumeMount]:
    """The mounts of a service's volumes: by the cluster file, else the first at the default path of its program.

    Folders that an instance writes to are called after its pod, or after the replica where that has a name of its own.
    """
    own = list_own_volumes(deployed.service, [storage.name for storage in deployed.storage])
    paths = locate_mounts(deployed)
    mounts = [
        mount
        for name, path in paths.items()
        for mount in (
            _build_shared_mounts(name, path)
            if deployed.has_outside_database
            else [_build_mount(deployed, name, path, replica, is_own=name in own)]
        )
    ]
    if _has_home(deployed):
        mounts.insert(0, VolumeMount(name=_HOME, mountPath=program_of(deployed.service).data_path))
    if shared_memory:
        mounts.append(VolumeMount(name=_SHARED_MEMORY, mountPath="/dev/shm"))
    return mounts


def _build_shared_mounts(name: str, path: str) -> list[VolumeMount]:
    """The folders that servers on one database share; the rest of a server's data directory is its own.

    Each of them holds its directory for itself, and removes what others left there when it starts.
    """
    return [
        VolumeMount(name=dns_name(name), mountPath=f"{path}/{folder}", subPath=folder) for folder in _SHARED_FOLDERS
    ]


def _build_mount(deployed: Deployed, name: str, path: str, replica: int | None, *, is_own: bool) -> VolumeMount:
    mount = VolumeMount(name=dns_name(name), mountPath=path)
    if is_own and replica is not None:
        mount.subPath = f"{name_workload(deployed)}-{replica}"
    elif is_own:
        mount.subPathExpr = f"$({POD_NAME})"
    return mount


def lacks_data_volume(deployed: Deployed) -> bool:
    """Return whether a program that writes to its data directory has no volume there."""
    return not deployed.storage and deployed.service.kind in _KEEPING


def _has_home(deployed: Deployed) -> bool:
    """Return whether a program's data directory goes with its pod."""
    return lacks_data_volume(deployed) or deployed.has_outside_database


def find_node(members: Sequence[Deployed]) -> str | None:
    """The node on which a pod must run: the layout's, else the one whose disk it uses; None for any."""
    named = (member.node for member in members if member.node is not None)
    bound = (node for member in members if (node := find_disk_node(member)) is not None)
    return next(named, None) or next(bound, None)


def find_disk_node(deployed: Deployed) -> str | None:
    """The node whose disk a service uses; None if it uses none."""
    return next((storage.node for storage in deployed.storage if storage.kind is StorageKind.LOCAL), None)


def format_quantity(size: int) -> str:
    """Format bytes in the notation of Kubernetes, with the largest unit in which they are a whole number."""
    for unit, factor in (("Ti", 2**40), ("Gi", 2**30), ("Mi", 2**20), ("Ki", 2**10)):
        if size % factor == 0:
            return f"{size // factor}{unit}"
    return str(size)


def _list_namespaces(cluster: Cluster, storage: Storage) -> list[str]:
    """The namespaces of all services that use a volume in any layout."""
    users = {service.name for service in cluster.services.values() if storage.name in service.storage}
    for layout in cluster.layouts.values():
        users |= {name for name, placement in layout.services.items() if storage.name in (placement.storage or ())}
    namespaces = {cluster.services[name].namespace or namespace_of(cluster) for name in users}
    return sorted(dns_name(namespace) for namespace in namespaces)


def _name_volume(cluster: Cluster, storage: Storage, namespace: str) -> str:
    """Name the volume behind a claim. It serves one claim only, so that each namespace has its own."""
    several = len(_list_namespaces(cluster, storage)) > 1
    return dns_name(f"{storage.name}-{namespace}" if several else storage.name)


def _build_volume(storage: Storage, deployed: Deployed, replica: int | None) -> Volume:
    name = dns_name(storage.name)
    if storage.kind is StorageKind.EPHEMERAL:
        limit = None if storage.size is None else format_quantity(storage.size)
        return Volume(name=name, emptyDir=EmptyDirVolumeSource(sizeLimit=limit))
    claim = _name_replica_claim(name, deployed, replica) if replica is not None and is_of_replicas(storage) else name
    return Volume(name=name, persistentVolumeClaim=PersistentVolumeClaimVolumeSource(claimName=claim))


def _build_claim(installation: Installation, storage: Storage, namespace: str | None) -> PersistentVolumeClaim:
    by_name = storage.kind is StorageKind.NFS or has_place(installation.cluster, storage)
    return PersistentVolumeClaim(
        metadata=make_metadata(installation, dns_name(storage.name), namespace),
        spec=PersistentVolumeClaimSpec(
            accessModes=[_choose_access_mode(storage)],
            # An empty class: the claim waits for the volume of this name, and no provisioner makes another one.
            storageClassName="" if by_name else _STORAGE_CLASS,
            volumeName=_name_volume(installation.cluster, storage, namespace) if by_name and namespace else None,
            resources=VolumeResourceRequirements(requests={"storage": _format_size(storage)}),
        ),
    )


def _build_persistent_volume(installation: Installation, storage: Storage, namespace: str) -> PersistentVolume:
    cluster = installation.cluster
    is_nfs = storage.kind is StorageKind.NFS
    path = storage.path or "/"
    return PersistentVolume(
        metadata=make_metadata(installation, _name_volume(cluster, storage, namespace)),
        spec=PersistentVolumeSpec(
            capacity={"storage": _format_size(storage)},
            accessModes=[_choose_access_mode(storage)],
            persistentVolumeReclaimPolicy="Retain",
            claimRef=ObjectReference(
                apiVersion="v1", kind="PersistentVolumeClaim", name=dns_name(storage.name), namespace=namespace
            ),
            storageClassName="",
            mountOptions=list(storage.mount_options or NFS_OPTIONS) if is_nfs else None,
            nfs=NFSVolumeSource(server=find_nfs_server(cluster, storage) or "", path=path) if is_nfs else None,
            local=None if is_nfs else LocalVolumeSource(path=path),
            nodeAffinity=None if is_nfs else _require_node(storage.node or ""),
        ),
    )


def _require_node(node: str) -> VolumeNodeAffinity:
    requirement = NodeSelectorRequirement(key=HOSTNAME, operator="In", values=[node])
    return VolumeNodeAffinity(
        required=NodeSelector(nodeSelectorTerms=[NodeSelectorTerm(matchExpressions=[requirement])])
    )


def _choose_access_mode(storage: Storage) -> str:
    return "ReadWriteMany" if storage.kind is StorageKind.NFS else "ReadWriteOnce"


def _format_size(storage: Storage) -> str:
    return _UNKNOWN_SIZE if storage.size is None else format_quantity(storage.size)
