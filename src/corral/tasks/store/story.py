"""The story of the tasks: the log that people read, that streams resume from, and that wakes the dispatcher.

Lines are read in the order of their ids, and a reader that remembers its last id misses nothing. Ids are given before
their transaction commits, so a line with a small id can appear after one with a larger id was read. Writers therefore
publish where their ids begin (a shared advisory lock on the newest id, for which no other writer waits), and
`read_horizon` returns the id below which no line is still to come: readers read up to it. A writer that is slow delays
what readers see; it does not delay other writers.

Listeners are notified after the commit, in a transaction of its own: a notification inside would make all commits of
the database take turns. One that is lost is made up for by the readers' slow poll.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from corral.tasks.store.pool import Connection, Pool, Queries, Row
from corral.tasks.values import StoryEvent
from corral.work import Json

_to_json = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` would build an encoder for every line
_WRITING = 0x7374
"""The first 16 bits of a writer's advisory lock ("st"); the other 48 are the newest id when it began."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line to append."""

    kind: str
    task: int | None = None
    batch: int | None = None
    data: Mapping[str, Json] = field(default_factory=dict[str, Json])


@dataclass(frozen=True, slots=True)
class Writing:
    """A transaction that can append to the story."""

    connection: Connection
    kinds: set[str] = field(default_factory=set[str])
    """Of the lines appended so far."""


@asynccontextmanager
async def open_writing(pool: Pool) -> AsyncGenerator[Writing]:
    """Open a transaction; once it has ended, listeners are notified of the kinds of its lines."""
    async with pool.acquire() as connection:
        opened = Writing(connection)
        try:
            async with connection.transaction():
                yield opened
        finally:
            pool.announce(opened.kinds)  # after a rollback, too: what came after its ids can be read now


_APPEND = f"""
with begun as materialized (
  select pg_advisory_xact_lock_shared({_WRITING}::bigint << 48 | (last_value - (not is_called)::int)) from events_id_seq
)
insert into events (task_id, batch_id, kind, data)
select task, batch, kind, data::jsonb
from begun, unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[]) as line(task, batch, kind, data)
"""


async def append(writing: Writing, entries: Sequence[Entry]) -> None:
    """Append lines, as the last statement of the transaction."""
    if not entries:
        return
    writing.kinds.update(entry.kind for entry in entries)
    await writing.connection.execute(
        _APPEND,
        [entry.task for entry in entries],
        [entry.batch for entry in entries],
        [entry.kind for entry in entries],
        [_to_json(entry.data) for entry in entries],
    )


_HORIZON = f"""
with newest as materialized (select last_value - (not is_called)::int as id from events_id_seq)
select least(newest.id, writers.first) from newest, lateral (
  select min((classid::bigint & 65535) << 32 | objid::bigint) as first from pg_locks
  where locktype = 'advisory' and objsubid = 1 and classid::bigint >> 16 = {_WRITING} and newest.id >= 0
    and database = (select oid from pg_database where datname = current_database())
) as writers
"""
"""The newest id is read before the writers: one that is not among them yet takes ids above it."""


async def read_horizon(pool: Queries) -> int:
    """Return the id up to which the story is complete: lines with smaller ids are there already, or never will be."""
    return int(await pool.fetchval(_HORIZON))


async def read(
    pool: Queries,
    *,
    after: int = 0,
    up_to: int | None = None,
    task: int | None = None,
    batch: int | None = None,
    kinds: Sequence[str] | None = None,
    limit: int = 1000,
) -> tuple[StoryEvent, ...]:
    """Return at most `limit` lines with an id above `after`, oldest first.

    A reader that goes on from the last id needs `up_to`, from `read_horizon`; one task's lines are always in order.
    """
    rows = await pool.fetch(
        """
        select id, at, task_id, batch_id, kind, data from events
        where id > $1 and ($2::bigint is null or id <= $2) and ($3::bigint is null or task_id = $3)
          and ($4::text[] is null or kind = any($4)) and ($6::bigint is null or batch_id = $6)
        order by id limit $5
        """,
        after,
        up_to,
        task,
        None if kinds is None else list(kinds),
        limit,
        batch,
    )
    return tuple(read_event(row) for row in rows)


async def read_choice(pool: Queries, task: int) -> str | None:
    """Return why a task got the slots that it had last; None when it had none."""
    because: str | None = await pool.fetchval(
        "select data ->> 'because' from events where task_id = $1 and kind = 'leased' order by id desc limit 1", task
    )
    return because


def read_event(row: Row) -> StoryEvent:
    """Read one row of `events`."""
    return StoryEvent(
        id=row["id"], at=row["at"], task=row["task_id"], batch=row["batch_id"], kind=row["kind"], data=row["data"]
    )
