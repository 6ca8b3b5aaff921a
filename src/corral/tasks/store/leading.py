"""The lead over a database in SQL: its lock, the epoch that guards what a leader writes, and the beats of the one.

A leader that stands still (stopped, suspended, behind a dead network) keeps its connection, and with it the lock. Its
beats stop, though: a standby ends that connection, takes the lock and raises the epoch. Whatever the old leader has yet
to write under its epoch is refused from then on, so it cannot act before it has found that it leads no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.tasks.store.pool import Connection, Queries

LOCK = 0x64697370  # "disp"


class LeadLostError(CorralError):
    """Another server leads."""

    code: ClassVar[str] = "dispatcher.lead_lost"
    kind: ClassVar[Kind] = Kind.CONFLICT


@dataclass(frozen=True, slots=True)
class Pulse:
    """What shows that a leader lives: it differs from one beat to the next, and from one leader to the next."""

    backend: int
    """PostgreSQL's process behind the connection that has the lock."""
    epoch: int
    beats: int


async def take_lead(connection: Connection) -> int | None:
    """Take the lock for as long as the connection lives, and return the new epoch; None when another has it.

    Waits for a round of the leader before that is being committed.
    """
    if not await connection.fetchval("select pg_try_advisory_lock($1)", LOCK):
        return None
    epoch: int = await connection.fetchval("update leadership set epoch = epoch + 1, beats = 0 returning epoch")
    return epoch


async def beat(connection: Queries, epoch: int) -> bool:
    """Show that the leader of this epoch lives; return whether it still leads."""
    updated = await connection.execute("update leadership set beats = beats + 1 where epoch = $1", epoch)
    return updated == "UPDATE 1"


async def require_lead(connection: Connection, epoch: int) -> None:
    """Keep the epoch from changing until the end of the transaction. Raises: LeadLostError."""
    if not await connection.fetchval("select true from leadership where epoch = $1 for key share", epoch):
        raise LeadLostError(f"another server leads: epoch {epoch} is over")


_HOLDER = """
from pg_locks where locktype = 'advisory' and classid = 0 and objid = $1 and objsubid = 1 and granted
  and database = (select oid from pg_database where datname = current_database())
"""


async def read_pulse(connection: Queries) -> Pulse | None:
    """Return the sign of life of the server that has the lock; None when none has it."""
    row = await connection.fetchrow(f"select pid, epoch, beats from leadership, (select pid {_HOLDER}) as holder", LOCK)
    return None if row is None else Pulse(row["pid"], row["epoch"], row["beats"])


async def end_leader(connection: Queries, pulse: Pulse) -> None:
    """End the connection that has the lock, if it is still the one of this pulse."""
    await connection.execute(f"select pg_terminate_backend(pid) {_HOLDER} and pid = $2", LOCK, pulse.backend)
