"""Holds the lead over a database, so that one dispatcher acts on it, and takes it from a leader that fell silent.

The lock lives with its connection: when the server dies, PostgreSQL frees it at once. The same connection listens for
the story's notifications, so a leader that lost it knows that it is deaf and leads no more. A leader that stands still
loses nothing by itself; a standby notices that its beats stopped, by its own clock, since the database's can jump.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import structlog

from corral.tasks.store import leading
from corral.tasks.store.leading import Pulse
from corral.tasks.store.pool import CHANNEL, CONNECTION_LOST, Connection, Queries, connect

log = structlog.get_logger()

POLL_S = 1.0
"""How often a standby asks for the lock; its takeover from a server that died takes this long at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rhythm:
    """How a leader shows that it lives."""

    beat_s: float = 5.0
    silent_s: float = 15.0
    """After so long without a beat a leader is deposed: with a poll and `IDLE_IN_TRANSACTION_S` of a transaction that
    it left open, another one leads within 30 s. A leader that cannot beat for so long gives up by itself."""


@dataclass(slots=True)
class Watch:
    """A standby's view of the leader: its last sign of life, and when that was seen first."""

    pulse: Pulse | None = None
    since: float = field(default=0.0)

    def note(self, pulse: Pulse | None, *, now: float) -> float:
        """Take what was read, and return for how many seconds it has been the same."""
        if pulse is None or pulse != self.pulse:
            self.pulse, self.since = pulse, now
        return now - self.since


@asynccontextmanager
async def hold_leadership(
    url: str,
    wake: Callable[[str], None],
    lost: Callable[[], None],
    stand_by: Callable[[], Awaitable[bool]],
    rhythm: Rhythm,
    beaten: Callable[[], None] = lambda: None,
) -> AsyncGenerator[int | None, None]:
    """Wait for the lead, hold it while the context lasts, and call `wake` with the kinds of lines that were appended.

    Gives the epoch that guards what the leader writes. `lost` is called when the lead or the connection is lost, and
    `beaten` whenever it was seen that this server still leads.
    `stand_by` is called now and then while another leads; when it returns False, the wait ends, and None is given.
    Raises: DatabaseUnavailableError.
    """
    connection = await connect(url)
    beating: asyncio.Task[None] | None = None
    try:
        epoch = await _wait_for_lead(connection, stand_by, rhythm)
        if epoch is not None:
            connection.add_termination_listener(lambda *_: lost())
            await connection.add_listener(CHANNEL, lambda *arguments: wake(arguments[-1]))
            beating = asyncio.create_task(_beat(connection, epoch, lost, beaten, rhythm), name="leader-beat")
            beaten()
        yield epoch
    finally:
        if beating is not None:
            beating.cancel()
        connection.terminate()


async def _wait_for_lead(connection: Connection, stand_by: Callable[[], Awaitable[bool]], rhythm: Rhythm) -> int | None:
    watch = Watch()
    while (epoch := await leading.take_lead(connection)) is None:
        await _depose_silent_leader(connection, watch, rhythm)
        if not await stand_by():
            break
        await asyncio.sleep(min(POLL_S, rhythm.beat_s))
    return epoch


async def _depose_silent_leader(connection: Queries, watch: Watch, rhythm: Rhythm) -> None:
    pulse = await leading.read_pulse(connection)
    silent_s = watch.note(pulse, now=time.monotonic())
    if pulse is not None and silent_s > rhythm.silent_s:
        log.warning("silent_leader_deposed", epoch=pulse.epoch, silent_s=round(silent_s, 1))
        await leading.end_leader(connection, pulse)


async def _beat(
    connection: Queries, epoch: int, lost: Callable[[], None], beaten: Callable[[], None], rhythm: Rhythm
) -> None:
    """Show that this leader lives, until it leads no more or cannot show it."""
    try:
        while True:
            await asyncio.sleep(rhythm.beat_s)
            async with asyncio.timeout(rhythm.silent_s):
                if not await leading.beat(connection, epoch):
                    break
            beaten()
    except (*CONNECTION_LOST, asyncpg.PostgresError) as error:
        log.warning("leader_did_not_beat", epoch=epoch, error=str(error) or type(error).__name__)
    finally:
        lost()
