"""Only one dispatcher acts on a database at a time: the one that holds an advisory lock.

The lock lives with its connection: when the server dies, PostgreSQL frees it at once. The same connection listens for
the story's notifications, so a leader that lost it knows that it is deaf and leads no more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from corral.tasks.store.pool import CHANNEL, Connection, connect

LOCK = 0x64697370  # "disp"
POLL_S = 1.0
"""How often a standby asks for the lock; its takeover takes this long at most."""


@asynccontextmanager
async def leadership(
    url: str, wake: Callable[[str], None], lost: Callable[[], None], stand_by: Callable[[], Awaitable[bool]]
) -> AsyncGenerator[Connection, None]:
    """Wait for the lock, hold it while the context lasts, and call `wake` with the kinds of lines that were appended.

    `lost` is called when the connection breaks. `stand_by` is called now and then while another holds the lock; when it
    returns False, the wait ends without the lock. Raises: DatabaseUnavailableError.
    """
    connection = await connect(url)
    try:
        while not await connection.fetchval("select pg_try_advisory_lock($1)", LOCK):
            if not await stand_by():
                break
            await asyncio.sleep(POLL_S)
        connection.add_termination_listener(lambda *_: lost())
        await connection.add_listener(CHANNEL, lambda *told: wake(told[-1]))
        yield connection
    finally:
        connection.terminate()
