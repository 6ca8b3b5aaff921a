"""Checks of node labels: the domains that Kubernetes keeps for itself."""

from __future__ import annotations

from corral.cluster.checks import References
from corral.cluster.document import YamlPath

_RESERVED = ("kubernetes.io", "k8s.io")
_OPEN_DOMAINS = ("node.kubernetes.io", "kubelet.kubernetes.io")
_OPEN_KEYS = frozenset({"kubernetes.io/arch", "topology.kubernetes.io/region", "topology.kubernetes.io/zone"})
"""The architecture is what the kubelet gives its node itself: in a file it says what the machine is."""


def check_labels(references: References) -> None:
    """Check that no label is one that a kubelet cannot give its node, or that it gives itself (pitfall F04).

    Source: the NodeRestriction admission of Kubernetes 1.36, and `kubelet --node-labels`.
    """
    for index, node in enumerate(references.shape.nodes):
        for key in node.labels:
            at: YamlPath = ("nodes", index, "labels", key)
            if _is_reserved(key):
                references.document.report_key(
                    "cluster.conflict",
                    f"{key!r} is in a domain of Kubernetes: K3s does not start with it",
                    at=at,
                    hint="use a domain of your own, as `roles` does; where a program needs this key, label the node by "
                    f"hand: kubectl label node {node.name} {key}={node.labels[key]}",
                )


def _is_reserved(key: str) -> bool:
    domain = key.rpartition("/")[0]
    return _is_in(domain, _RESERVED) and key not in _OPEN_KEYS and not _is_in(domain, _OPEN_DOMAINS)


def _is_in(domain: str, parents: tuple[str, ...]) -> bool:
    return any(domain == parent or domain.endswith(f".{parent}") for parent in parents)
