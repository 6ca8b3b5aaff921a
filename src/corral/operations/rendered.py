"""Asks the renderer what it makes of a cluster, for reports and checklists that have to say the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from corral.cluster.values import Cluster, GpuMode
from corral.planning.labels import read_labels_in_file
from corral.planning.rendered import KubernetesWorkload, Rendered
from corral.rendering.installation import Installation, gpu_mode_of, installation_of
from corral.rendering.kubernetes import workloads
from corral.rendering.kubernetes.contradictions import ContradictionError
from corral.rendering.kubernetes.naming import workload_name
from corral.rendering.kubernetes.nodes import node_labels
from corral.rendering.targets import render

_OF_NODES = ("nixos", "k3s")
_OF_SERVICES = ("kubernetes",)


def rendered(cluster: Cluster, *, source: str, text: str) -> Rendered:
    """Render what is about nodes and services; `source` and `text` stand in the headers of files."""
    files = render(cluster, source=source, text=text, only=_OF_NODES)
    if cluster.kubernetes is None:
        return Rendered(files=files)
    refused = None
    try:
        files |= render(cluster, source=source, text=text, only=_OF_SERVICES)
    except ContradictionError as error:
        refused = "; ".join(problem.what for problem in error.problems)
    layouts = list(cluster.layouts.values()) or [None]
    installations = [installation_of(cluster, layout, source=source, text=text) for layout in layouts]
    return Rendered(
        workloads=()
        if refused
        else tuple(service for installation in installations for service in _workloads(installation)),
        labels=labels_of(cluster),
        by_claim=gpu_mode_of(cluster) is GpuMode.DRA,
        files=files,
        refused=refused,
    )


def labels_of(cluster: Cluster) -> Mapping[str, Mapping[str, str]]:
    """Say by node which labels it has once what is rendered is applied; those of the file without Kubernetes."""
    if cluster.kubernetes is None:
        return read_labels_in_file(cluster)
    installation = installation_of(cluster, None, source="", text="")
    return {node.name: node_labels(installation, node) for node in cluster.nodes}


def _workloads(installation: Installation) -> Iterator[KubernetesWorkload]:
    for members in workloads.groups(installation):
        written = workloads.workload(installation, members)
        yield KubernetesWorkload(
            layout=installation.layout.name if installation.layout else None,
            services=tuple(service.service.name for service in members),
            kind=type(written).__name__,
            name=workload_name(members[0]),
            namespace=members[0].namespace,
            replicas=(written.spec.replicas if written.spec else None) or 0,
        )
