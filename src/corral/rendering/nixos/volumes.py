"""What a node's system does for volumes: directories of local ones, mounting NFS, exporting what lies on the node."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from corral.cluster.values import Node, Storage, StorageKind
from corral.rendering.installation import Installation
from corral.rendering.k3s.directories import local_directories
from corral.rendering.nixos.modules import Part
from corral.rendering.systemd.units import quoted

NFS_PORT = 2049
"""NFS 4 needs no other."""
_NOBODY = 65534
_EXPORT_OPTIONS = f"rw,no_subtree_check,all_squash,anonuid={_NOBODY},anongid={_NOBODY}"


def uses_nfs(installations: Sequence[Installation], node: Node) -> bool:
    """Tell whether a pod that mounts NFS may run on a node."""
    return node.k3s_role is not None and any(
        storage.kind is StorageKind.NFS and one.node in (None, node.name)
        for installation in installations
        for one in installation.deployed
        for storage in one.storage
    )


def exported(installation: Installation, node: Node) -> list[Storage]:
    """The NFS volumes that lie on a node and whose place the file says."""
    return [
        storage
        for storage in installation.cluster.storage.values()
        if storage.kind is StorageKind.NFS
        and storage.node == node.name
        and storage.path is not None
        and storage.path.isprintable()
    ]


def volume_parts(installations: Sequence[Installation], node: Node) -> Iterator[Part]:
    """Directories, mounts and exports of a node."""
    one = installations[0]
    shares = exported(one, node)
    directories = [f"d {quoted(path)} 0755 root root -" for path in local_directories(one, node)]
    directories += [f"d {quoted(share.path or '/')} 0755 nobody nogroup -" for share in shares]
    if directories:
        yield Part(
            comment="Directories of volumes on this node's disk: Kubernetes does not make them.",
            values={"systemd.tmpfiles.rules": directories},
        )
    if uses_nfs(installations, node):
        yield Part(
            comment="Pods mount NFS through the node's own programs.", values={"boot.supportedFilesystems": ["nfs"]}
        )
    clients = [other for other in one.cluster.nodes if other.name != node.name and uses_nfs(installations, other)]
    if shares and clients:
        yield _exports(shares, clients)


def volume_notes(installations: Sequence[Installation], node: Node) -> Iterator[str]:
    """What is not exported, and why."""
    one = installations[0]
    for storage in one.cluster.storage.values():
        if storage.kind is StorageKind.NFS and storage.node == node.name and storage.path is None:
            yield f"Where the volume {storage.name} lies, the file does not say: it is not exported."
        if storage.node == node.name and storage.path is not None and not storage.path.isprintable():
            yield f"The path of the volume {storage.name} is none that can stand on one line: it is not made."
    if exported(one, node) and not any(
        uses_nfs(installations, other) for other in one.cluster.nodes if other.name != node.name
    ):
        yield "No other node mounts its volumes: nothing is exported."


def is_exporter(installations: Sequence[Installation], node: Node) -> bool:
    """Tell whether a node serves NFS to others."""
    return bool(exported(installations[0], node)) and any(
        uses_nfs(installations, other) for other in installations[0].cluster.nodes if other.name != node.name
    )


def _exports(shares: Sequence[Storage], clients: Sequence[Node]) -> Part:
    who = " ".join(f"{client.address or client.name}({_EXPORT_OPTIONS})" for client in clients)
    lines = "".join(f"{_export_path(share.path or '/')} {who}\n" for share in shares)
    return Part(
        comment="To the nodes that mount it, and as one user: which one a container runs as makes no difference then.",
        values={"services.nfs.server": {"enable": True, "exports": lines}},
    )


def _export_path(path: str) -> str:
    """A path as exports(5) reads it: what is unusual in octal."""
    plain = re.compile(r"[A-Za-z0-9_@%+=:,./-]")
    return "".join(
        character if plain.fullmatch(character) else "".join(f"\\{byte:03o}" for byte in character.encode())
        for character in path
    )
