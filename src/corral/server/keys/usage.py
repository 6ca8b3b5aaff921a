"""Usage that is written behind: a request only adds to sums in memory.

A server that is killed loses the counts of `WRITE_EVERY_S` at most, and never counts anything twice.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from uuid import UUID

import asyncpg
import structlog

from corral.tasks.store.pool import CONNECTION_LOST, Pool
from corral.tasks.store.usage import (
    UsageOf,
    Used,
    count_ended_tasks,
    forget_old_usage,
    read_tokens_of_day,
    write_usage,
)
from corral.tasks.write_behind import WriteBehind

WRITE_EVERY_S = 5.0

_log = structlog.get_logger()


class UsageBook:
    """The usage that this server has seen and not yet written, and the tokens of each key on this day."""

    def __init__(self, pool: Pool, *, clock: Callable[[], datetime], every_s: float = WRITE_EVERY_S) -> None:
        self._pool = pool
        self._clock = clock
        self._every_s = every_s
        self._unwritten = WriteBehind(dict[UsageOf, Used])
        self._day: date | None = None
        self._stored: dict[str, int] = {}
        """Tokens of each key on that day, in the database."""
        self._writing = asyncio.Lock()

    def add(
        self,
        *,
        key: str | None,
        owner: str,
        model: str,
        used: Used,
        cloud: str | None = None,
        engine: str | None = None,
        door: str | None = None,
    ) -> None:
        """Add what a request has used."""
        of = UsageOf(day=self._find_today(), key=key, owner=owner, model=model, cloud=cloud, engine=engine, door=door)
        known = self._unwritten.pending.get(of)
        self._unwritten.pending[of] = used if known is None else known + used

    def count_today(self, key: str) -> int:
        """Return the tokens of a key on this day (UTC), those of other servers and of tasks some seconds late."""
        today = self._find_today()
        stored = self._stored.get(key, 0) if today == self._day else 0
        return stored + sum(used.tokens for of, used in self._list_unwritten() if of.key == key and of.day == today)

    async def run(self) -> None:
        """Write what is added, now and then, until cancelled."""
        while True:
            try:
                await self.write()
                await count_ended_tasks(self._pool)
                await self.read()
            except (*CONNECTION_LOST, asyncpg.PostgresError) as error:
                _log.warning("usage_not_written", error=str(error) or type(error).__name__)
            await asyncio.sleep(self._every_s)

    async def write(self) -> None:
        """Write what was added before.

        Raises: what asyncpg raises when the database is away; nothing is lost then.
        """
        async with self._writing:
            await self._unwritten.flush(self._send)

    async def read(self) -> None:
        """Read the tokens of this day. Raises: what asyncpg raises when the database is away."""
        today = self._find_today()
        async with self._writing:
            if today != self._day:
                await forget_old_usage(self._pool, today)
            self._stored, self._day = await read_tokens_of_day(self._pool, today), today

    async def _send(self, writer: UUID, sequence: int, sums: Mapping[UsageOf, Used]) -> None:
        await write_usage(self._pool, writer, sequence, [*sums.items()])
        for of, used in sums.items():  # from here on they are stored, and not unwritten: nothing is awaited in between
            if of.key is not None and of.day == self._day:
                self._stored[of.key] = self._stored.get(of.key, 0) + used.tokens

    def _list_unwritten(self) -> Iterator[tuple[UsageOf, Used]]:
        yield from self._unwritten.pending.items()
        yield from (self._unwritten.sent or {}).items()

    def _find_today(self) -> date:
        return self._clock().astimezone(UTC).date()
