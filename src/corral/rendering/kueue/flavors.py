"""Flavours: what Kueue calls nodes whose GPUs are alike, so that a quota can be given for each."""

from __future__ import annotations

from corral.cluster.values import Cluster, Node
from corral.hardware.pools import gpu_class
from corral.rendering.installation import is_mixed
from corral.rendering.names import dns_name
from corral.rendering.node_labels import class_label


def flavor_of(cluster: Cluster, node: Node) -> str | None:
    """The flavour of a node's GPUs: their class, or the node itself; None without GPUs."""
    if not node.gpus:
        return None
    return dns_name(node.name if is_by_host(cluster, node) else class_of(node))


def is_by_host(cluster: Cluster, node: Node) -> bool:
    """Tell whether a node is a flavour of its own, since nothing else says where its cards are.

    It mixes models, or the file does not name them all, or it gives the node another class by hand; or a queue may use
    the cards of this node and not those of another with the same class: a Job that is let in by class could start on
    either.
    """
    if is_mixed(node) or any(gpu.model is None for gpu in node.gpus or ()):
        return True
    if node.labels.get(class_label(cluster), class_of(node)) != class_of(node):
        return True
    alike = [one for one in cluster.nodes if class_of(one) == class_of(node)]
    return any(len({_is_in(queue.pool, one) for one in alike}) > 1 for queue in cluster.queues.values())


def class_of(node: Node) -> str:
    """The class of the first GPU of a node."""
    return next((gpu_class(gpu.model) for gpu in node.gpus or () if gpu.model), "")


def flavor_names(cluster: Cluster) -> list[str]:
    """Every flavour once, in the order of the nodes."""
    return list(dict.fromkeys(name for node in cluster.nodes if (name := flavor_of(cluster, node)) is not None))


def _is_in(pool: tuple[str, ...] | None, node: Node) -> bool:
    return pool is None or any(selector.partition("/")[0] == node.name for selector in pool)
