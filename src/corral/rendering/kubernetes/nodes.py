"""Labels of nodes, as a patch for each node: what it is to have, and what it is to lose (`null`).

A flag of K3s adds and changes labels at each start and never removes one (pitfall F02); these patches do.
`kubectl patch node NAME --patch-file FILE` applies one.
"""

from __future__ import annotations

from corral.rendering.documents import document
from corral.rendering.installation import Installation
from corral.rendering.node_labels import make_node_labels


def patches(installation: Installation) -> dict[str, str]:
    """A patch for each node that has labels to set or to lose, by path."""
    files: dict[str, str] = {}
    for node in installation.cluster.nodes:
        labels: dict[str, str | None] = {**make_node_labels(installation.cluster, node)}
        labels |= {key: None for key in node.removed_labels if key not in labels}
        if labels:
            text = document(
                installation,
                {"metadata": {"labels": labels}},
                f"Apply it with: kubectl patch node {node.name} --patch-file kubernetes/nodes/{node.name}.yaml",
            )
            files[f"kubernetes/nodes/{node.name}.yaml"] = text
    return files
