"""Volumes on one machine: folders where the file gives a path, NFS mounted by Docker, else volumes of Docker's."""

from __future__ import annotations

from collections.abc import Iterable

from corral.cluster.values import Node, Storage, StorageKind
from corral.rendering.compose.interpolation import Reference, wanted
from corral.rendering.documents import Json
from corral.rendering.installation import Deployed, Installation
from corral.rendering.programs import mount_paths

_NFS_OPTIONS = ("nfsvers=4.2", "hard", "noatime")
"""As in Kubernetes: `hard` waits for a server that restarts; noatime saves a write for each read."""


def mounts(installation: Installation, node: Node, one: Deployed) -> list[Json]:
    """What a container mounts, and where."""
    places = mount_paths(one.service, [storage.name for storage in one.storage])
    return [_mount(storage, node, places[storage.name]) for storage in one.storage]


def named(installation: Installation, node: Node, used: Iterable[Storage]) -> dict[str, Json]:
    """The volumes that Docker keeps, by name; Compose puts the project's name before each."""
    return {storage.name: _volume(installation, storage) for storage in used if _folder(storage, node) is None}


def notes(storage: Storage, node: Node) -> list[str]:
    """What is different here from what the file says."""
    if storage.kind is StorageKind.EPHEMERAL:
        return [f"{storage.name} stays until `docker compose down --volumes` removes it."]
    if storage.kind is StorageKind.LOCAL and storage.path is None:
        return [f"{storage.name} is a volume of Docker's, since the file gives no path for it."]
    return []


def _mount(storage: Storage, node: Node, target: str) -> Json:
    folder = _folder(storage, node)
    if folder is None:
        return {"type": "volume", "source": storage.name, "target": target}
    return {"type": "bind", "source": folder, "target": target}


def _folder(storage: Storage, node: Node) -> str | None:
    """The folder of a volume on its machine: that of a local one, or what the machine itself exports."""
    is_here = storage.node == node.name and storage.kind in (StorageKind.LOCAL, StorageKind.NFS)
    return storage.path if is_here else None


def _volume(installation: Installation, storage: Storage) -> Json:
    if storage.kind is not StorageKind.NFS:
        return {}
    variable = storage.name.upper().replace("-", "_").replace(".", "_")
    server = _server(installation, storage)
    server = server or wanted(f"{variable}_SERVER", f"the host that exports {storage.name}")
    options = ",".join(storage.mount_options or _NFS_OPTIONS)
    path = storage.path or wanted(f"{variable}_PATH", f"the path of {storage.name} on its server")
    return {
        "driver": "local",
        "driver_opts": {"type": "nfs", "o": _joined("addr=", server, f",{options}"), "device": _joined(":", path)},
    }


def _server(installation: Installation, storage: Storage) -> str | None:
    nodes = installation.cluster.nodes
    exporting = next((node.address or node.name for node in nodes if node.name == storage.node), None)
    return storage.server or exporting


def _joined(*parts: str) -> str:
    """Join texts of which some are references; the others are escaped here."""
    return Reference("".join(part if isinstance(part, Reference) else part.replace("$", "$$") for part in parts))
