"""The parts of a running server: what its HTTP API works with, its log, and its housekeeping.

`Services` is put together in `runtime` and in the tests. The log has one line per event on stderr, in the past tense,
with its context; tracebacks are printed without the values of local variables, for some of them are secrets. The
cluster file's retention is applied now and then, so that a server that runs for months does not fill its disk.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

import asyncpg
import structlog

from corral.cluster.values import Cluster, Retention
from corral.operations.reloading import ReloadAnswer, ReloadAsked
from corral.scheduling.values import Explanation
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.board import Board
from corral.tasks.retention import collect
from corral.tasks.store.pool import CONNECTION_LOST, Pool
from corral.weights.store import Store


class Follows(Protocol):
    """The cluster file that the server follows."""

    @property
    def cluster(self) -> Cluster:
        """The file in effect."""
        ...

    async def reload(self, asked: ReloadAsked) -> ReloadAnswer:
        """Read the file again. Raises: ClusterFileError, ProblemsError, SettingsError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The parts of a running server that its API uses."""

    followed: Follows
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

    @property
    def cluster(self) -> Cluster:
        """The cluster file in effect."""
        return self.followed.cluster


def configure_logs() -> None:
    """Set up logging for this process."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )


log = structlog.get_logger()

FIRST_AFTER_S = 600.0
"""A server that has just started has better things to do."""
EVERY_S = 6 * 3600.0


async def keep_house(pool: Pool, artifacts: ArtifactStore, retention: Callable[[], Retention]) -> None:
    """Collect for ever, by the retention then in effect; `corral gc` does the same once."""
    wait = FIRST_AFTER_S
    while True:
        await asyncio.sleep(wait)
        wait = EVERY_S
        try:
            collected = await collect(pool, artifacts, retention())
        except (*CONNECTION_LOST, asyncpg.PostgresError) as error:  # a deadlock, a full disk: the next time can pass
            log.warning("not_collected", error=str(error))
            continue
        log.info("collected", tasks=collected.tasks, files=collected.files, bytes=collected.bytes)
