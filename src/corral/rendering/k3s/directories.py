"""Directories that a node's system makes, since Kubernetes makes none for a local volume."""

from __future__ import annotations

from corral.cluster.values import Node, StorageKind
from corral.rendering.installation import Installation


def local_directories(installation: Installation, node: Node) -> list[str]:
    """The directories of local volumes on a node."""
    return [
        storage.path
        for storage in installation.cluster.storage.values()
        if storage.kind is StorageKind.LOCAL
        and storage.node == node.name
        and storage.path is not None
        and storage.path.isprintable()
    ]
