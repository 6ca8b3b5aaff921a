"""Claims and volumes that must be made anew, since the file changes what cannot be changed: their class, their place.

No data is deleted: the volume behind a claim stays with its data when the claim goes (policy "Retain"), and the object
of a volume with a path is only its description.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from corral.deploying.order import CLAIM, VOLUME
from corral.narrowing import as_list, as_object
from corral.snapshot import Kind, ObjectKey, Snapshot
from corral.work import Json

_PLACES = ("nfs", "local", "nodeAffinity", "hostPath", "csi")
"""Fields of a volume that say where its data is; none can be changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftVolume:
    """A volume whose data stays although nothing uses it any more."""

    claim: str
    """The claim that it was used by: `ai/models`."""
    place: str
    """`/srv/models on pop-os`, `nas:/models`, or the name of the PersistentVolume."""
    volume: str
    """The name of the PersistentVolume, which can be gone while its data is there."""

    def __str__(self) -> str:
        return f"{self.place}, which claim {self.claim} had"


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageChanges:
    """The claims and volumes that are made anew."""

    claims: tuple[ObjectKey, ...] = ()
    volumes: tuple[ObjectKey, ...] = ()
    released: tuple[ObjectKey, ...] = ()
    """Volumes behind those claims that would be deleted with them, and must be kept first."""
    left: tuple[LeftVolume, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.claims or self.volumes)


def find_storage_changes(objects: Iterable[Json], snapshot: Snapshot) -> StorageChanges:
    """Find the claims and volumes among objects that differ from those of the cluster in what cannot be changed."""
    wanted = {ObjectKey.read(value): value for value in objects if Kind.read(value) in (CLAIM, VOLUME)}
    volumes = tuple(
        key
        for key, value in wanted.items()
        if key.kind == VOLUME and (live := snapshot.objects.get(key)) is not None and _is_elsewhere(live, value)
    )
    moved = {key.name for key in volumes}
    claims = tuple(
        key
        for key, value in wanted.items()
        if key.kind == CLAIM
        and (live := snapshot.objects.get(key)) is not None
        and (live["spec"].get("volumeName") in moved or _differs(live, value))
    )
    bound = [(claim, volume) for claim in claims if (volume := find_volume(claim, snapshot)) is not None]
    return StorageChanges(
        claims=claims,
        volumes=volumes,
        released=tuple(
            ObjectKey.read(volume)
            for _, volume in bound
            if volume["spec"].get("persistentVolumeReclaimPolicy") != "Retain"
        ),
        left=tuple(
            LeftVolume(
                claim=f"{claim.namespace}/{claim.name}",
                place=describe_place(volume),
                volume=volume["metadata"]["name"],
            )
            for claim, volume in bound
        ),
    )


def find_volume(claim: ObjectKey, snapshot: Snapshot) -> Json | None:
    """Find the volume that a claim is bound to; None when it is not bound, or its volume is unknown."""
    live = snapshot.objects.get(claim)
    name = None if live is None else live["spec"].get("volumeName")
    return None if name is None else snapshot.find(VOLUME.name, name)


def list_reservable(objects: Iterable[Json], snapshot: Snapshot) -> tuple[ObjectKey, ...]:
    """List the volumes that a claim which is made again had before, and that it gets again once they forget its end."""
    classes = {
        (key.namespace, key.name): value["spec"].get("storageClassName", "")
        for value in objects
        if Kind.read(value) == CLAIM and (key := ObjectKey.read(value)) not in snapshot.objects
    }
    released: dict[tuple[str, str], Json] = {}
    for volume in snapshot.list(VOLUME.name):
        reference: Mapping[str, str] = volume["spec"].get("claimRef") or {}
        owner = (reference.get("namespace", ""), reference.get("name", ""))
        is_usable = volume.get("status", {}).get("phase") == "Released"
        if owner in classes and is_usable and volume["spec"].get("storageClassName", "") == classes[owner]:
            newest = released.get(owner)
            if newest is None or volume["metadata"]["creationTimestamp"] > newest["metadata"]["creationTimestamp"]:
                released[owner] = volume
    return tuple(ObjectKey.read(volume) for volume in released.values())


def describe_place(volume: Json) -> str:
    """Describe where the data of a volume is."""
    spec = volume["spec"]
    if "nfs" in spec:
        return f"{spec['nfs']['server']}:{spec['nfs']['path']}"
    path: str | None = as_object(spec.get("local") or spec.get("hostPath")).get("path")
    nodes = list_nodes_of_volume(volume)
    if path is None:
        return f"PersistentVolume {volume['metadata']['name']}"
    return f"{path} on {' or '.join(sorted(nodes))}" if nodes else path


def list_nodes_of_volume(volume: Json) -> frozenset[str] | None:
    """List the nodes that reach a volume, by host name; None when all do."""
    required = as_object(as_object(volume["spec"].get("nodeAffinity")).get("required"))
    names: set[str] = set()
    for term in as_list(required.get("nodeSelectorTerms")):
        for expression in as_list(term.get("matchExpressions")):
            if expression["key"] == "kubernetes.io/hostname" and expression["operator"] == "In":
                names.update(expression["values"])
    return frozenset(names) or None


def _is_elsewhere(live: Json, wanted: Json) -> bool:
    return any(_find_place(live, name) != _find_place(wanted, name) for name in _PLACES)


def _find_place(volume: Json, name: str) -> Json:
    """Find a field of a volume's place, without what the server adds to it."""
    value = volume["spec"].get(name)
    if name == "nfs" and value is not None:
        return (value["server"], value["path"])
    if name in ("local", "hostPath") and value is not None:
        return value["path"]
    return list_nodes_of_volume(volume) if name == "nodeAffinity" else value


def _differs(live: Json, wanted: Json) -> bool:
    """Return whether a claim differs in its class, its volume or its access modes."""
    first, second = live["spec"], wanted["spec"]
    if "storageClassName" in second and (first.get("storageClassName") or "") != second["storageClassName"]:
        return True
    if second.get("volumeName") and first.get("volumeName") not in (None, second["volumeName"]):
        return True
    return set(first.get("accessModes") or ()) != set(second.get("accessModes") or ())
