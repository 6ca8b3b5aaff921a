"""A server on this machine that follows a simulated cluster, and reaches it as kubectl does."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from chaos.kept import Kept, corral_up, keeping
from control_plane.cluster import Cluster
from corral.operations.cluster_file import FileText


@asynccontextmanager
async def keep_server(cluster: Cluster, file: FileText, folder: Path) -> AsyncIterator[Kept]:
    """Keep a server of a cluster file, with its data in `folder/data`; its log is printed at the end."""
    path = folder / "cluster.yaml"
    path.write_text(file.text)
    environment = {**os.environ, "KUBECONFIG": str(cluster.plane.kubeconfig), "NO_COLOR": "1"}
    kept = corral_up(folder / "data", path, folder / "log", env=environment)
    async with keeping(kept):
        yield kept
    sys.stdout.write((folder / "log").read_text())  # shown where the test fails
