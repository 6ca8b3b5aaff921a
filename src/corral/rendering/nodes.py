"""The files and the labels of nodes, as a cluster has them once what is rendered is applied.

A light module: a caller that needs only the labels does not load the typed objects of Kubernetes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from corral.cluster.values import Cluster, K3sRole, Node
from corral.hardware.pools import UNKNOWN_CLASS, GpuPool, make_pool
from corral.rendering.gpus import list_nvidia_gpus
from corral.rendering.installation import label_prefix_of

GPU_PRESENT = "nvidia.com/gpu.present"
"""The label that the charts of NVIDIA's device plugin and DRA driver look for; without it, and without feature
discovery, they start nowhere."""


def label_nodes(cluster: Cluster) -> Mapping[str, Mapping[str, str]]:
    """Make the labels of every node, by its name; those of the file alone for nodes outside of Kubernetes."""
    members = cluster.kubernetes_nodes if cluster.kubernetes is not None else ()
    return {node.name: make_node_labels(cluster, node) if node in members else node.labels for node in cluster.nodes}


def make_node_labels(cluster: Cluster, node: Node) -> dict[str, str]:
    """Make every label of a node: its roles (a key each: pitfall F01), its GPUs, and those in the file, which win."""
    prefix = label_prefix_of(cluster)
    labels = {f"workload.{prefix}/{role}": "true" for role in node.roles} | make_gpu_labels(node, prefix)
    if list_nvidia_gpus(node):
        labels[GPU_PRESENT] = "true"
    return dict(sorted((labels | dict(node.labels)).items()))


VRAM, HAS, CLASS, CLASSES, COUNT, SAME = (
    "vram-total",
    "has-",
    "gpu-class",
    "gpu-classes",
    "gpu-count",
    "homogeneous",
)
"""The conventions of the installations that Corral was made for, under a prefix such as `hydra.io`: GB of all GPUs;
`has-<class>` for each class of GPU; the class on a node with one, and the classes on a node with several; the number of
GPUs; whether all are the same model. A label's value cannot hold a comma, so several classes are joined by a dash (or
an underscore, where the file has one)."""
_GIB = 2**30
_LONGEST_VALUE = 63  # what Kubernetes takes as a label's value
_A_CLASS = re.compile(r"(?:rtx|gtx|rx)?\d{3,4}(?:ti|super|xtx|xt|gre|d)*")
"""How classes of GPUs look, so that `has-nvme` is not taken for one."""


def make_gpu_labels(node: Node, prefix: str, *, joiner: str = "-") -> dict[str, str]:
    """Make all conventional labels of a node; without what depends on a GPU's unknown memory or model."""
    pool = make_pool(node)
    if pool is None:
        return {} if node.gpus is None else {f"{prefix}/{VRAM}": "0", f"{prefix}/{COUNT}": "0"}
    labels = {} if pool.total_vram is None else {VRAM: str(round(pool.total_vram / _GIB))}
    if classes := _join_classes(pool, joiner):
        labels[CLASSES if len(pool.classes) > 1 else CLASS] = classes
    labels[COUNT] = str(pool.count)
    labels[SAME] = "true" if pool.homogeneous else "false"
    labels |= {HAS + gpu_class: "true" for gpu_class in pool.classes if gpu_class != UNKNOWN_CLASS}
    return {f"{prefix}/{name}": value for name, value in labels.items()}


def _join_classes(pool: GpuPool, joiner: str) -> str | None:
    """Join the classes of a pool; None when one is unknown, or when they are too many for a label."""
    joined = joiner.join(pool.classes)
    return None if UNKNOWN_CLASS in pool.classes or len(joined) > _LONGEST_VALUE else joined


@dataclass(frozen=True, slots=True, kw_only=True)
class WrongLabel:
    """A label of the file that its node's GPUs contradict."""

    node: str
    key: str
    written: str
    computed: str | None
    """None: nodes with these GPUs have no such label."""


def list_wrong_labels(cluster: Cluster) -> list[WrongLabel]:
    """List the labels that are written by hand, and that the GPUs of their node contradict."""
    prefix = label_prefix_of(cluster)
    return [
        WrongLabel(node=node.name, key=key, written=written, computed=computed.get(key))
        for node in (cluster.kubernetes_nodes if cluster.kubernetes is not None else ())
        for computed in (make_gpu_labels(node, prefix),)
        for key, written in node.labels.items()
        if _is_wrong(node, key.removeprefix(f"{prefix}/"), written, computed.get(key))
    ]


def _is_wrong(node: Node, name: str, written: str, computed: str | None) -> bool:
    pool = make_pool(node)
    is_of_a_class = name.startswith(HAS) and _A_CLASS.fullmatch(name.removeprefix(HAS)) is not None
    if name not in (VRAM, CLASS, CLASSES, COUNT, SAME) and not is_of_a_class:
        return False
    if computed is not None:
        return set(re.split("[-_]", written)) != set(re.split("[-_]", computed))
    # The other labels are left out where something is unknown, these where it is another one that says it.
    if pool is None or UNKNOWN_CLASS in pool.classes:
        return False
    return name in (CLASS, CLASSES) or (is_of_a_class and written == "true")


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
