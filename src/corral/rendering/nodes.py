"""The files and the labels of nodes, as a cluster has them once what is rendered is applied.

A light module: a caller that needs only the labels does not load the typed objects of Kubernetes.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from corral.cluster.values import Cluster, K3sRole, Node
from corral.hardware.pools import name_class
from corral.rendering.gpu_modes import is_mixed
from corral.rendering.gpus import list_nvidia_gpus
from corral.rendering.installation import label_prefix_of

GPU_PRESENT = "nvidia.com/gpu.present"
"""The label that the charts of NVIDIA's device plugin and DRA driver look for; without it, and without feature
discovery, they start nowhere."""


def label_nodes(cluster: Cluster) -> Mapping[str, Mapping[str, str]]:
    """Make the labels of every node, by its name; those of the file alone where there is no Kubernetes."""
    if cluster.kubernetes is None:
        return {node.name: node.labels for node in cluster.nodes}
    return {node.name: make_node_labels(cluster, node) for node in cluster.nodes}


def make_node_labels(cluster: Cluster, node: Node) -> dict[str, str]:
    """Make every label of a node: those in the file, its roles (a key each: pitfall F01), and its GPUs."""
    prefix = label_prefix_of(cluster)
    labels = {f"workload.{prefix}/{role}": "true" for role in node.roles}
    gpus = node.gpus or ()
    models = [gpu.model for gpu in gpus if gpu.model]
    if gpus:
        labels[f"{prefix}/gpu-count"] = str(len(gpus))
    if list_nvidia_gpus(node):
        labels[GPU_PRESENT] = "true"
    if models and len(models) == len(gpus) and not is_mixed(node):
        labels[name_class_label(cluster)] = name_class(models[0])
    return dict(sorted((labels | dict(node.labels)).items()))


def name_class_label(cluster: Cluster) -> str:
    """The label with the model of all GPUs of a node."""
    return f"{label_prefix_of(cluster)}/gpu-class"


def find_unknown_server(cluster: Cluster) -> str | None:
    """Find the server that agents join where no node of the file can be it: its URL; None where one can, or none joins.

    A name can lead to a node that the file has as a server; an address cannot, unless the node has it.
    """
    server = cluster.kubernetes.server if cluster.kubernetes else None
    host = urlsplit(server).hostname if server else None
    roles = {node.k3s_role for node in cluster.nodes}
    if host is None or K3sRole.AGENT not in roles:
        return None
    if any(host in (node.name.lower(), (node.address or "").lower()) for node in cluster.nodes):
        return None
    return None if K3sRole.SERVER in roles and not _is_address(host) else server


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


FLAKE = "nixos/flake.nix"
"""The path of the flake that deploys nodes which run NixOS, among rendered files."""


def name_module(node: Node) -> str:
    """Name the NixOS module of a node, for the current channel, among rendered files."""
    return f"nixos/{node.name}.nix"
