"""Applies the cluster file's retention now and then, so that a server that runs for months does not fill its disk."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg
import structlog

from corral.cluster.keeping import Retention
from corral.tasks.alarms import Alarms
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.retention import collect
from corral.tasks.store.pool import CONNECTION_LOST, Pool

log = structlog.get_logger()

FIRST_AFTER_S = 600.0
"""A server that has just started has better things to do."""


EVERY_S = 6 * 3600.0
AGAIN_AFTER_S = 900.0
"""After a time that failed."""


async def keep_house(pool: Pool, artifacts: ArtifactStore, retention: Callable[[], Retention], alarms: Alarms) -> None:
    """Collect for ever, by the retention then in effect; `corral gc` does the same once."""
    wait = FIRST_AFTER_S
    while True:
        await asyncio.sleep(wait)
        wait = EVERY_S
        try:
            collected = await collect(pool, artifacts, retention())
        except (*CONNECTION_LOST, asyncpg.PostgresError) as error:  # a deadlock, a full disk: the next time can pass
            alarms.ring(
                "retention", f"nothing was collected: {str(error) or type(error).__name__}", hint="run `corral gc`"
            )
            wait = AGAIN_AFTER_S
            continue
        alarms.clear("retention")
        log.info("collected", tasks=collected.tasks, files=collected.files, bytes=collected.bytes)
