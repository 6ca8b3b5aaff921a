"""Node labels, when the GPUs of a node change; the conventions are in `corral.rendering.nodes`.

A label that leaves the file stays on the node: K3s sets the labels of its flags at each start and removes none
(pitfall F02). So `homogeneous` becomes `false` rather than going, and what has to go comes with the command for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from corral.cluster.values import Cluster, Node
from corral.hardware.pools import make_pool
from corral.rendering.nodes import CLASS, CLASSES, COUNT, HAS, SAME, VRAM, label_nodes, make_gpu_labels


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelChange:
    """One label of a node, before and after."""

    node: str
    key: str
    before: str | None
    """None: it is added."""
    after: str | None
    """None: it is removed."""

    @property
    def command(self) -> str | None:
        """The command that a removed label needs, since K3s never removes one; None for the others."""
        return write_removal_command(self.node, self.key) if self.after is None else None


def write_removal_command(node: str, key: str) -> str:
    """Write the command that takes a label off a node."""
    return f"kubectl label node {node} {key}-"


def label_cluster(cluster: Cluster) -> Cluster:
    """Give every node the labels that it has once its files are applied."""
    labels = label_nodes(cluster)
    return replace(cluster, nodes=tuple(replace(node, labels=labels[node.name]) for node in cluster.nodes))


def list_removed_labels(before: Cluster, after: Cluster) -> Mapping[str, tuple[str, ...]]:
    """List by node the labels to remove, where they change: those it had once, or has now, and gets no longer."""
    old, new = label_nodes(before), label_nodes(after)
    lists = {
        node.name: tuple(key for key in (*node.removed_labels, *old.get(node.name, ())) if key not in new[node.name])
        for node in after.nodes
    }
    return {node.name: lists[node.name] for node in after.nodes if lists[node.name] != node.removed_labels}


def list_label_changes(before: Node, after: Node) -> tuple[LabelChange, ...]:
    """Compare the labels of `before` with those that the GPUs of `after` call for; only what it uses is touched."""
    prefixes = dict.fromkeys(key.partition("/")[0] for key in before.labels if "/" in key)
    return tuple(change for prefix in prefixes for change in _list_changes(before, after, prefix))


def _list_changes(before: Node, after: Node, prefix: str) -> list[LabelChange]:
    used = {key.partition("/")[2]: value for key, value in before.labels.items() if key.startswith(f"{prefix}/")}
    old_pool, pool = make_pool(before), make_pool(after)
    joiner = "_" if "_" in used.get(CLASSES, "") else "-"
    wanted = {key.partition("/")[2]: value for key, value in make_gpu_labels(after, prefix, joiner=joiner).items()}
    has_classes = any(name in used for name in (CLASS, CLASSES))
    is_new_pool = has_classes and pool is not None and pool.homogeneous and pool.count > 1
    touched = [name for name in (VRAM, COUNT, SAME) if name in used and (name in wanted or pool is None)]
    touched += [name for name in (COUNT, SAME) if is_new_pool and name not in used]
    touched += [CLASS, CLASSES] if has_classes and (pool is None or CLASS in wanted or CLASSES in wanted) else []
    classes = [*(old_pool.classes if old_pool else ()), *(pool.classes if pool else ())]
    if any(HAS + gpu_class in used for gpu_class in classes):
        touched += [HAS + gpu_class for gpu_class in classes]
    return [
        LabelChange(node=after.name, key=f"{prefix}/{name}", before=used.get(name), after=wanted.get(name))
        for name in dict.fromkeys(touched)
        if used.get(name) != wanted.get(name)
    ]
