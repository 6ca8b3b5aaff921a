"""Follows the story once for the whole server, and wakes whatever waits for it.

One connection listens; a slow poll is the safety net for a lost notification. The newest lines are kept in a window, so
that a follower who keeps up costs no query; one who fell behind reads from the database. Lines are read up to the
story's horizon alone, so a follower who remembers its last id misses nothing and sees nothing twice.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from typing import Protocol

import asyncpg
import structlog

from corral.tasks.alarms import Alarms
from corral.tasks.lifecycle import TERMINAL
from corral.tasks.store import story
from corral.tasks.store.pool import CHANNEL, CONNECTION_LOST, Connection, Pool
from corral.tasks.values import StoryEvent

WINDOW = 4096
"""Lines kept for followers; a few MB at most."""
_PAGE = 1000
_POLL_S = 5.0
_RECONNECT_S = (0.2, 5.0)
"""First and longest pause before the next try to listen."""

_HINT = "it tries again by itself; `corral doctor` looks at the database"

_log = structlog.get_logger()


class Related(Protocol):
    """Belongs to a task or a batch."""

    @property
    def task(self) -> int | None: ...

    @property
    def batch(self) -> int | None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A part of the story: of one task, of one batch, or all of it."""

    task: int | None = None
    batch: int | None = None

    def concerns(self, item: Related) -> bool:
        """Whether something belongs to it."""
        return self.task in (None, item.task) and self.batch in (None, item.batch)


EVERYTHING = Subject()


def _call(wake: Callable[[], None], *_: object) -> None:
    wake()


class Changes:
    """The story as it grows; `run` belongs to one task, any task can use the rest."""

    def __init__(
        self,
        pool: Pool,
        *,
        alarms: Alarms | None = None,
        window: int = WINDOW,
        poll_s: float = _POLL_S,
        others: Mapping[str, Callable[[], None]] | None = None,
    ) -> None:
        """`others` are called when their channels are notified, and when notifications can have been lost."""
        self._pool = pool
        self._others = others or {}
        self._alarms = alarms or Alarms()
        self._poll_s = poll_s
        self._pause_s = _RECONNECT_S[0]
        self._window: deque[StoryEvent] = deque(maxlen=window)
        self._floor: int | None = None
        """Every line above this id, up to the newest one read, is in the window."""
        self._grown = asyncio.Event()
        self._notified = asyncio.Event()
        self._stopping = False

    @property
    def stopping(self) -> bool:
        """Whether those who wait should end."""
        return self._stopping

    def stop(self) -> None:
        """Wake everybody for good: streams end and waits answer with what is."""
        self._stopping = True
        self._wake()

    async def run(self) -> None:
        """Follow the story until cancelled, whatever happens to the database."""
        while True:
            try:
                async with self._pool.acquire() as connection:
                    await self._listen(connection)
            except (*CONNECTION_LOST, asyncpg.PostgresError) as error:  # too many connections, say: the next try can do
                _log.warning("story_lost", error=str(error) or type(error).__name__, again_in_s=self._pause_s)
                self._alarms.ring("story", f"streams stand still: {str(error) or type(error).__name__}", hint=_HINT)
            await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.0))
            self._pause_s = min(self._pause_s * 2, _RECONNECT_S[1])

    async def _listen(self, connection: Connection) -> None:
        connection.add_termination_listener(lambda *_: self._notified.set())
        await connection.add_listener(CHANNEL, lambda *_: self._notified.set())
        for channel, wake in self._others.items():
            await connection.add_listener(channel, partial(_call, wake))
            wake()
        try:
            while not connection.is_closed():
                self._notified.clear()
                await self._read(connection)
                self._pause_s = _RECONNECT_S[0]
                self._alarms.clear("story")
                try:
                    await asyncio.wait_for(self._notified.wait(), self._poll_s)
                except TimeoutError:
                    continue
        finally:
            connection.terminate()  # a connection that listens does not go back to the pool

    async def _read(self, connection: Connection) -> None:
        horizon = await story.read_horizon(connection)
        if self._floor is None:
            self._floor = horizon
            self._wake()
        while lines := await story.read(connection, after=self._newest(), up_to=horizon, limit=_PAGE):
            kept = self._window.maxlen or 0
            overflow = len(self._window) + len(lines) - kept
            if overflow > 0:
                self._floor = [*self._window, *lines][overflow - 1].id
            self._window.extend(lines)
            self._wake()

    def _newest(self) -> int:
        return self._window[-1].id if self._window else self._floor or 0

    def _wake(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    async def follow(self, after: int, subject: Subject = EVERYTHING) -> AsyncGenerator[Sequence[StoryEvent]]:
        """Yield the lines above `after` that concern the subject, oldest first, as they come, until stopping.

        Raises: what asyncpg raises when the database is away and the lines are not in the window.
        """
        while not self._stopping:
            grown = self._grown
            before = after
            if self._floor is not None and after >= self._floor:
                new = self._find_new(after)
                after = new[-1].id if new else after
                lines = [line for line in new if subject.concerns(line)]
            else:
                lines, after = await self._read_past(after, subject)
            if lines:
                yield lines
            elif after == before:
                await grown.wait()

    def _find_new(self, after: int) -> Sequence[StoryEvent]:
        """Return the lines of the window above `after`; costs as much as there are."""
        return [*takewhile(lambda line: line.id > after, reversed(self._window))][::-1]

    async def _read_past(self, after: int, subject: Subject) -> tuple[Sequence[StoryEvent], int]:
        """Return lines from the database, and up to which id there are no others; the database leaves out the rest."""
        horizon = await story.read_horizon(self._pool)
        lines = await story.read(
            self._pool, after=after, up_to=horizon, task=subject.task, batch=subject.batch, limit=_PAGE
        )
        return lines, lines[-1].id if len(lines) == _PAGE else max(after, horizon)

    async def ends(self, after: int, count: int, subject: Subject) -> None:
        """Wait until `count` tasks have ended in lines above `after` that concern the subject, or until stopping."""
        if count <= 0:
            return
        async with aclosing(self.follow(after, subject)) as changes:
            async for lines in changes:
                count -= sum(line.data.get("state") in TERMINAL for line in lines)
                if count <= 0:
                    return
