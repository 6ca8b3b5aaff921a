"""The book of holds: hands devices over, notices what was not renewed, and says when a hold is at its end.

One look each second serves all holds. The server's own absence never counts against a holder: when the last look is
longer ago than `PATIENCE_S` (a restart, a suspended machine, a database that was away), every hold has its whole time
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import asyncpg
import structlog

from corral.tasks.handover import Handover
from corral.tasks.store import holds
from corral.tasks.store.pool import CONNECTION_LOST, Pool
from corral.work import HoldEnd, HoldTerms, Reporter, Work

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
IDLE_S = 5.0
"""Between two looks while there is no hold; another server can take one in."""
PATIENCE_S = 5.0
GRACE = timedelta(seconds=20)
"""How long a program can take to stop once its time is over: it hears of it within 5 s and has 10 s to end."""


class StoredHoldBook:
    """A `corral.work.HoldBook` in the database; `leads` says whether this server's dispatcher acts."""

    def __init__(
        self,
        pool: Pool,
        handover: Handover,
        *,
        leads: Callable[[], bool],
        clock: Callable[[], float],
        look_every_s: float = LOOK_EVERY_S,
        grace: timedelta = GRACE,
    ) -> None:
        """`clock` is in seconds, and goes on while the machine sleeps."""
        self._pool = pool
        self._handover = handover
        self._leads = leads
        self._clock = clock
        self._look_every_s = look_every_s
        self._grace = grace
        self._asked_back: dict[int, HoldEnd] = {}
        self._waiting: dict[int, asyncio.Future[str]] = {}
        self._woken = asyncio.Event()
        self._looked_at: float | None = None
        self._is_idle = False

    async def hand_over(self, work: Work, terms: HoldTerms, report: Reporter) -> None:
        """Wait until the devices are free, and note that they are the holder's. Raises: EngineError."""
        known = (await holds.read(self._pool, [work.task])).get(work.task)
        if known is not None and (known.granted_at is not None or known.ended is not None):
            return
        seen = await self._handover.wait_until_free(work, report)
        await holds.grant(self._pool, holds.Grant(task=work.task, terms=terms, slots=work.slots, devices=work.devices))
        report.progress(None, seen)
        self.wake()

    async def wait_for_end(self, task: int) -> HoldEnd:
        """Return once the hold has ended."""
        ended = self._waiting[task] = asyncio.get_running_loop().create_future()
        self.wake()
        try:
            return HoldEnd(await ended)
        finally:
            del self._waiting[task]

    def is_lent(self, task: int) -> bool:
        """Whether the devices of a task were handed over here and not given back."""
        return task in self._waiting

    def ask_back(self, task: int, because: HoldEnd) -> None:
        """Ask the holder to stop; it has the grace to do so."""
        self._asked_back[task] = because
        self.wake()

    def wake(self) -> None:
        """Look at once: something was changed here."""
        self._woken.set()

    async def run(self) -> None:
        """Look after all holds, for ever."""
        while True:
            self._woken.clear()
            try:
                await self._look()
            except (*CONNECTION_LOST, asyncpg.PostgresError) as error:  # the next look can pass
                log.warning("holds_not_looked_at", error=str(error))
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_S if self._is_idle else self._look_every_s):
                    await self._woken.wait()

    async def _look(self) -> None:
        if self._leads():
            now = self._clock()
            if self._looked_at is None or now - self._looked_at > max(PATIENCE_S, IDLE_S) + self._look_every_s:
                await holds.renew_all(self._pool)
            while self._asked_back:
                task, because = next(iter(self._asked_back.items()))
                await holds.ask_back(self._pool, task, self._grace, because=because)
                del self._asked_back[task]
            await holds.cancel(self._pool, await holds.end_due(self._pool, self._grace), HoldEnd.EXPIRED)
            self._looked_at = now  # only now: while looks fail, nothing could be renewed
        else:
            self._looked_at = None
        if self._waiting:
            for task, ended in (await holds.list_ended(self._pool, self._waiting)).items():
                future = self._waiting.get(task)
                if future is not None and not future.done() and ended != holds.GONE:
                    future.set_result(ended)
        self._is_idle = not self._waiting and not await holds.list_open(self._pool)
