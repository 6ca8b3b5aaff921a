"""The engines whose instances a cluster file leaves open: a server finds them on the file's Kubernetes."""

from __future__ import annotations

from corral.cluster.values import Cluster
from corral.engine_kinds import ENGINES


def list_open_engines(cluster: Cluster) -> tuple[str, ...]:
    """List the engines whose instances the file leaves to the cluster: remote, enabled, without instances."""
    return tuple(
        name
        for name, settings in cluster.engines.items()
        if settings.enabled and not settings.instances and ENGINES[name].remote
    )
