"""Node labels and K3s agent flags: what to set, what to change, and what has to be taken off by hand.

K3s sets every `--node-label` again at each start of the agent, so what is added or changed lands after a restart; a
label whose flag is gone stays on the node until somebody removes it (pitfalls F02).
"""

from __future__ import annotations

from dataclasses import dataclass

from corral.cluster.values import Cluster, K3sRole, Node
from corral.planning.labels import removal_command


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
        return tuple(removal_command(self.node, key) for key, _ in self.removed)


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
    compared = (_labels(node, dict(old.get(node.name, {}))) for node in after.nodes)
    return tuple(one for one in compared if one.added or one.changed or one.removed)


def _labels(node: Node, old: dict[str, str]) -> NodeLabels:
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
    flags = (_flags(before, old.get(node.name), after, node) for node in after.nodes if node.k3s_role)
    return tuple(one for one in flags if one.before != one.after)


def _flags(before: Cluster, old: Node | None, after: Cluster, node: Node) -> AgentFlags:
    return AgentFlags(
        node=node.name,
        role=node.k3s_role,
        nixos=node.os == "nixos",
        server=after.kubernetes.server if after.kubernetes else None,
        before=() if old is None else _node_flags(before, old),
        after=_node_flags(after, node),
    )


def _node_flags(cluster: Cluster, node: Node) -> tuple[str, ...]:
    pods = cluster.kubernetes.max_pods if cluster.kubernetes else None
    limit = () if pods is None else (f"--kubelet-arg=max-pods={pods}",)
    return limit + tuple(f"--node-label={key}={value}" for key, value in node.labels.items())
