"""The services of a cluster file on its Kubernetes, as `corral status` prints them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from corral.cli import terminal
from corral.cli.clusters import run_on_cluster

if TYPE_CHECKING:
    from pathlib import Path

    from corral.operations.deploying.looking import ServicesOnCluster


def look_at_services_of(path: Path, context: str | None, layout: str | None) -> ServicesOnCluster | None:
    """Look at the services of a cluster file; None for one without `kubernetes:`."""
    from corral.operations.cluster_file import check_cluster, read_cluster_file
    from corral.operations.deploying.looking import look_at_services

    file = read_cluster_file(path)
    if check_cluster(file).cluster.kubernetes is None:
        return None
    return run_on_cluster(context, lambda api: look_at_services(api, file, layout))


def put_services(answer: ServicesOnCluster) -> None:
    """Print a line for each service; under those that are not well, why."""
    terminal.put(f"layout   {answer.layout}")
    rows = [
        (
            ", ".join(health.services),
            health.wanted,
            health.there,
            health.ready,
            ", ".join(health.nodes),
            ", ".join(health.workloads),
        )
        for health in answer.services
    ]
    columns = ("service", "wanted", "there", "ready", "where", "workloads")
    terminal.put_table(columns, rows, empty="no services", expendable=("workloads",))
    for health in answer.services:
        for cause in health.causes:
            terminal.put_text(f"{', '.join(health.services)}: {cause}")
