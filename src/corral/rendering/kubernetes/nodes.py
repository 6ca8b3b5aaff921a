"""Labels of nodes, as a patch for each node: what it is to have, and what it is to lose (`null`).

A flag of K3s adds and changes labels at each start and never removes one (pitfall F02); these patches do.
`kubectl patch node NAME --patch-file FILE` applies one.
"""

from __future__ import annotations

from corral.cluster.values import Cluster, Node
from corral.hardware.pools import gpu_class
from corral.rendering.cards import nvidia_cards
from corral.rendering.documents import document
from corral.rendering.installation import Installation, is_mixed, label_prefix_of

GPU_PRESENT = "nvidia.com/gpu.present"
"""What the charts of NVIDIA's device plugin and DRA driver look for; without it, and without feature discovery, they
start nowhere."""


def node_labels(installation: Installation, node: Node) -> dict[str, str]:
    """Every label of a node: those that the file writes, its roles (a key each: pitfall F01), and its GPUs."""
    prefix = installation.label_prefix
    labels = {f"workload.{prefix}/{role}": "true" for role in node.roles}
    gpus = node.gpus or ()
    models = [gpu.model for gpu in gpus if gpu.model]
    if gpus:
        labels[f"{prefix}/gpu-count"] = str(len(gpus))
    if nvidia_cards(node):
        labels[GPU_PRESENT] = "true"
    if models and len(models) == len(gpus) and not is_mixed(node):
        labels[class_label(installation.cluster)] = gpu_class(models[0])
    return dict(sorted((labels | dict(node.labels)).items()))


def class_label(cluster: Cluster) -> str:
    """The label that says of which model all cards of a node are."""
    return f"{label_prefix_of(cluster)}/gpu-class"


def patches(installation: Installation) -> dict[str, str]:
    """A patch for each node that has labels to set or to lose, by path."""
    files: dict[str, str] = {}
    for node in installation.cluster.nodes:
        labels: dict[str, str | None] = {**node_labels(installation, node)}
        labels |= {key: None for key in node.removed_labels if key not in labels}
        if labels:
            text = document(
                installation,
                {"metadata": {"labels": labels}},
                f"Apply it with: kubectl patch node {node.name} --patch-file kubernetes/nodes/{node.name}.yaml",
            )
            files[f"kubernetes/nodes/{node.name}.yaml"] = text
    return files
