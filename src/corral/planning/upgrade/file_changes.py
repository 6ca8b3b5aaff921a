"""Differences between two cluster files other than GPUs: labels, flags, queues, records, and what stays as it is.

K3s sets every `--node-label` again at each start of the agent, so what is added or changed lands after a restart; a
label whose flag is gone stays on the node until it is removed by hand (pitfalls F02).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from corral.cluster.values import Cluster, K3sRole, Node, QueueSettings
from corral.hardware.pools import (
    GpuPool,
    ResourceProfile,
    WorkloadProfile,
    list_pools,
    list_resource_profiles,
    list_workload_profiles,
)
from corral.planning.labels import write_removal_command


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLabels:
    """The labels of one node that differ."""

    node: str
    added: tuple[tuple[str, str], ...]
    changed: tuple[tuple[str, str, str], ...]
    """Key, value before, value after."""
    removed: tuple[tuple[str, str], ...]
    kept: tuple[tuple[str, str], ...]

    @property
    def commands(self) -> tuple[str, ...]:
        """What takes the removed labels off the node; the rest lands when the agent starts again."""
        return tuple(write_removal_command(self.node, key) for key, _ in self.removed)


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFlags:
    """The flags with which K3s starts on a node, before and after."""

    node: str
    role: K3sRole | None
    nixos: bool
    server: str | None
    before: tuple[str, ...]
    after: tuple[str, ...]


def compare_labels(before: Cluster, after: Cluster) -> tuple[NodeLabels, ...]:
    """List the nodes whose labels differ; a node that comes has only new ones, one that goes is left out."""
    old = {node.name: node.labels for node in before.nodes}
    compared = (_compare_node_labels(node, dict(old.get(node.name, {}))) for node in after.nodes)
    return tuple(comparison for comparison in compared if comparison.added or comparison.changed or comparison.removed)


def _compare_node_labels(node: Node, old: dict[str, str]) -> NodeLabels:
    return NodeLabels(
        node=node.name,
        added=tuple((key, value) for key, value in node.labels.items() if key not in old),
        changed=tuple((key, old[key], value) for key, value in node.labels.items() if key in old and old[key] != value),
        removed=tuple((key, value) for key, value in old.items() if key not in node.labels),
        kept=tuple((key, value) for key, value in node.labels.items() if old.get(key) == value),
    )


def compare_agent_flags(before: Cluster, after: Cluster) -> tuple[AgentFlags, ...]:
    """List the K3s nodes whose flags differ; empty when the file names another distribution, or no K3s node."""
    if after.kubernetes is None or after.kubernetes.distribution != "k3s":
        return ()
    old = {node.name: node for node in before.nodes}
    flags = (_compare_flags(before, old.get(node.name), after, node) for node in after.nodes if node.k3s_role)
    return tuple(flag for flag in flags if flag.before != flag.after)


def _compare_flags(before: Cluster, old: Node | None, after: Cluster, node: Node) -> AgentFlags:
    return AgentFlags(
        node=node.name,
        role=node.k3s_role,
        nixos=node.os == "nixos",
        server=after.kubernetes.server if after.kubernetes else None,
        before=() if old is None else _list_flags(before, old),
        after=_list_flags(after, node),
    )


def _list_flags(cluster: Cluster, node: Node) -> tuple[str, ...]:
    pods = cluster.kubernetes.max_pods if cluster.kubernetes else None
    limit = () if pods is None else (f"--kubelet-arg=max-pods={pods}",)
    return limit + tuple(f"--node-label={key}={value}" for key, value in node.labels.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueChange:
    """One queue that comes, goes or changes; None where it is not there."""

    name: str
    before: str | None
    after: str | None


def compare_queues(before: Cluster, after: Cluster) -> tuple[QueueChange, ...]:
    """List the queues that differ; `after` with the adaptations."""
    names = dict.fromkeys([*before.queues, *after.queues])
    changes = (
        QueueChange(name=name, before=_write_queue(before.queues.get(name)), after=_write_queue(after.queues.get(name)))
        for name in names
    )
    return tuple(change for change in changes if change.before != change.after)


def _write_queue(queue: QueueSettings | None) -> str | None:
    if queue is None:
        return None
    return f"{', '.join(queue.pool) if queue.pool is not None else 'every slot'}; order {queue.order.value}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """Facts about a cluster that other programs would store."""

    pools: tuple[GpuPool, ...]
    classes: tuple[str, ...]
    """Every class of GPU, each once: the values that a `gpuClass` can have."""
    resources: tuple[ResourceProfile, ...]
    workloads: tuple[WorkloadProfile, ...]


def make_records(cluster: Cluster) -> Records:
    """Make the records of a cluster, in the order of its file."""
    pools = list_pools(cluster)
    return Records(
        pools=pools,
        classes=tuple(dict.fromkeys(gpu_class for pool in pools for gpu_class in pool.classes)),
        resources=tuple(profile for node in cluster.nodes for profile in list_resource_profiles(node)),
        workloads=list_workload_profiles(cluster),
    )


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
    """List what stays as it is; services that `moved` to other GPUs do not, whatever the file says of them."""
    old = {node.name: node for node in before.nodes}
    return Unchanged(
        nodes=tuple(node.name for node in after.nodes if old.get(node.name) == node),
        services=tuple(name for name in _list_same(before.services, after.services) if name not in moved),
        storage=_list_same(before.storage, after.storage),
        layouts=_list_same(before.layouts, after.layouts),
        queues=tuple(name for name in _list_same(before.queues, after.queues) if after.queues[name] != _IMPLIED),
        workloads=_list_same(before.workloads, after.workloads),
        kubernetes=_write_kubernetes(after) if before.kubernetes == after.kubernetes else None,
    )


def _list_same(before: Mapping[str, object], after: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(name for name, value in after.items() if before.get(name) == value)


def _write_kubernetes(cluster: Cluster) -> str | None:
    if cluster.kubernetes is None:
        return None
    parts = [cluster.kubernetes.distribution or "Kubernetes"]
    if cluster.kubernetes.server:
        parts.append(f"at {cluster.kubernetes.server}")
    return " ".join(parts)
