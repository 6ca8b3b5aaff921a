"""The configuration of a cluster's nodes and services, as reports and checklists of an upgrade need it.

The libraries of the manifests are loaded by the first call: their import takes half a second, and a server starts
without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from corral.cluster.values import Cluster
from corral.rendering.installation import Installation, resolve_installations
from corral.rendering.places import FindPlaces


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
    replica: int | None = None
    """Its number where each replica is a workload of its own."""

    @property
    def identity(self) -> tuple[str, str, str]:
        """What makes it the same object for Kubernetes."""
        return (self.kind, self.namespace, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Files of nodes and of Kubernetes; all empty where it is unknown."""

    workloads: tuple[KubernetesWorkload, ...] = ()
    """Of every layout; services without an image have none."""
    files: Mapping[str, str] = field(default_factory=dict[str, str])
    """Text by path: NixOS, K3s and Kubernetes."""
    refused: str | None = None
    """Why there are no manifests, where the cluster file asks for what cannot be."""


UNKNOWN_CONFIGURATION = Configuration()


def render_configuration(
    cluster: Cluster, *, source: str, text: str, find_places: FindPlaces | None = None
) -> Configuration:
    """Render the files of nodes and services; `source` and `text` are in the headers of files."""
    from corral.rendering.k3s import render_configurations
    from corral.rendering.kubernetes.contradictions import ContradictionError
    from corral.rendering.kubernetes.manifests import render_manifests
    from corral.rendering.nixos.modules import render_modules

    installations = resolve_installations(cluster, source=source, text=text, find_places=find_places)
    files = {**render_modules(installations), **render_configurations(installations)}
    if cluster.kubernetes is None:
        return Configuration(files=files)
    try:
        manifests = render_manifests(installations)
    except ContradictionError as error:
        return Configuration(files=files, refused="; ".join(problem.what for problem in error.problems))
    workloads = (workload for installation in installations for workload in _list_workloads(installation))
    return Configuration(workloads=tuple(workloads), files={**files, **manifests})


def _list_workloads(installation: Installation) -> Iterator[KubernetesWorkload]:
    from corral.rendering.kubernetes import workloads
    from corral.rendering.kubernetes.objects import name_workload

    for members in workloads.group_by_pod(installation):
        replicas = workloads.count_replicas(members)
        lent = workloads.is_lent(installation, members)
        for number in range(replicas) if lent else (None,):
            yield KubernetesWorkload(
                layout=installation.layout.name if installation.layout else None,
                services=tuple(service.service.name for service in members),
                kind="StatefulSet" if workloads.is_stateful(installation, members) else "Deployment",
                name=name_workload(members[0]) if number is None else workloads.name_replica(members, number),
                namespace=members[0].namespace,
                replicas=replicas if number is None else 1,
                replica=number,
            )
