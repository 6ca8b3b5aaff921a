"""A server on this machine that follows a simulated cluster, and reaches it as kubectl does."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from chaos.kept import Kept, corral_up, keeping
from control_plane.cluster import Cluster
from corral.operations.cluster_file import FileText


@asynccontextmanager
async def keep_server(
    cluster: Cluster, file: FileText, folder: Path, *options: str, kubeconfig: Path | None = None
) -> AsyncGenerator[Kept]:
    """Keep a server of a cluster file, with its data in `folder/data`; its log is printed at the end.

    `options` are those of `corral up`; the server is an administrator of the cluster unless `kubeconfig` says another.
    """
    path = folder / "cluster.yaml"
    path.write_text(file.text)
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig or cluster.plane.kubeconfig), "NO_COLOR": "1"}
    kept = corral_up(folder / "data", path, folder / "log", *options, env=environment)
    async with keeping(kept):
        yield kept
    sys.stdout.write((folder / "log").read_text())  # shown where the test fails


def find_host(cluster: Cluster) -> str:
    """Find the address of this machine that pods reach: that of the API server."""
    endpoints = cluster.plane.ask("GET", "/api/v1/namespaces/default/endpoints/kubernetes")
    return endpoints["subsets"][0]["addresses"][0]["ip"]


def find_free_port(host: str) -> int:
    """Find a port of this machine that nothing listens on."""
    with socket.create_server((host, 0)) as listener:
        return listener.getsockname()[1]
