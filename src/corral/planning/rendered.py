"""What `corral render` makes of a cluster, as far as reports and checklists speak of it.

Planning and rendering do not know each other. `corral.operations` asks the renderer itself and fills this in, so that
what a report says and what is written are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from corral.cluster.values import Cluster


@dataclass(frozen=True, slots=True, kw_only=True)
class KubernetesWorkload:
    """What keeps the pods of a layout: a Deployment or a StatefulSet."""

    layout: str | None
    services: tuple[str, ...]
    """Those that share its pods."""
    kind: str
    """As Kubernetes spells it: `StatefulSet`."""
    name: str
    namespace: str
    replicas: int
    """0 for services that take turns."""

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes it the same object for Kubernetes."""
        return (self.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """One cluster; empty where nobody rendered it, or where the renderer refuses it."""

    workloads: tuple[KubernetesWorkload, ...] = ()
    """Of every layout; services without an image have none."""
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    """By node: what the file says, its roles and its GPUs."""
    by_claim: bool = False
    """Whether pods get their GPUs by claim (DRA), and not by number (`nvidia.com/gpu`)."""
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """Text by path."""
    refused: str | None = None
    """Why it cannot be rendered."""


NOTHING_RENDERED = Rendered()


def labelled(cluster: Cluster, rendered: Rendered) -> Cluster:
    """Give every node the labels that it has once its files are applied."""
    nodes = (replace(node, labels=rendered.labels.get(node.name, node.labels)) for node in cluster.nodes)
    return replace(cluster, nodes=tuple(nodes))
