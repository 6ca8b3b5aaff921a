"""What an upgrade leaves as it is, found by comparing the two files part by part."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from corral.cluster.values import Cluster, QueueSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Unchanged:
    """Names of what is equal before and after."""

    nodes: tuple[str, ...]
    services: tuple[str, ...]
    storage: tuple[str, ...]
    layouts: tuple[str, ...]
    queues: tuple[str, ...]
    workloads: tuple[str, ...]
    kubernetes: str | None
    """`k3s at https://...`; None when the file has none, or when it changes."""


_IMPLIED = QueueSettings(name="default")
"""A queue that is there also when no file writes it."""


def find_unchanged(before: Cluster, after: Cluster, moved: Collection[str] = ()) -> Unchanged:
    """List what stays as it is; services that `moved` to other cards do not, whatever the file says of them."""
    old = {node.name: node for node in before.nodes}
    return Unchanged(
        nodes=tuple(node.name for node in after.nodes if old.get(node.name) == node),
        services=tuple(name for name in _same(before.services, after.services) if name not in moved),
        storage=_same(before.storage, after.storage),
        layouts=_same(before.layouts, after.layouts),
        queues=tuple(name for name in _same(before.queues, after.queues) if after.queues[name] != _IMPLIED),
        workloads=_same(before.workloads, after.workloads),
        kubernetes=_kubernetes(after) if before.kubernetes == after.kubernetes else None,
    )


def _same(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(name for name, value in after.items() if before.get(name) == value)


def _kubernetes(cluster: Cluster) -> str | None:
    if cluster.kubernetes is None:
        return None
    parts = [cluster.kubernetes.distribution or "Kubernetes"]
    if cluster.kubernetes.server:
        parts.append(f"at {cluster.kubernetes.server}")
    return " ".join(parts)
