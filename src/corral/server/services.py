"""What the HTTP API works with: one value, put together in `runtime` and in the tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from corral.cluster.values import Cluster
from corral.scheduling.values import Explanation
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.board import Board
from corral.tasks.store.pool import Pool
from corral.weights.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of a running server that its API uses."""

    cluster: Cluster
    pool: Pool
    board: Board
    artifacts: ArtifactStore
    weights: Store
    explain: Callable[[int], Explanation | None]
    """Why a queued task waits, from the dispatcher; None when it does not know the task (or stands by)."""
    data_dir: Path
    local_token: str
    """Grants local commands entry; written only to `server.json`."""
    loopback: bool
    """Whether the server listens on loopback alone, where no token is asked."""
    started_at: datetime
