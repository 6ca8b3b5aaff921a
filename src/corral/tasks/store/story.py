"""Writes and reads the story: what happened to which task, in the order of commits."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from corral.tasks.store.pool import Connection, Queries, Row
from corral.tasks.values import StoryEvent
from corral.work import Json

CHANNEL = "corral_events"
_to_json = json.JSONEncoder(separators=(",", ":")).encode  # `json.dumps` would build an encoder for every line
_TURN = 0x73746F72  # "stor": held to the end of the transaction, so that ids follow the order of commits


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line to append."""

    kind: str
    task: int | None = None
    batch: int | None = None
    data: Mapping[str, Json] = field(default_factory=dict[str, Json])


async def append(connection: Connection, entries: Sequence[Entry]) -> None:
    """Append lines inside the caller's transaction, as its last statement; listeners are told of which kinds."""
    if not entries:
        return
    await connection.execute(
        """
        with turn as materialized (select pg_advisory_xact_lock($6)), lines as (
          insert into events (task_id, batch_id, kind, data)
          select task, batch, kind, data::jsonb
          from turn, unnest($1::bigint[], $2::bigint[], $3::text[], $4::text[]) as line(task, batch, kind, data)
        )
        select pg_notify($5, $7)
        """,
        [entry.task for entry in entries],
        [entry.batch for entry in entries],
        [entry.kind for entry in entries],
        [_to_json(entry.data) for entry in entries],
        CHANNEL,
        _TURN,
        " ".join({entry.kind for entry in entries}),
    )


async def read(
    pool: Queries,
    *,
    after: int = 0,
    task: int | None = None,
    batch: int | None = None,
    kinds: Sequence[str] | None = None,
    limit: int = 1000,
) -> tuple[StoryEvent, ...]:
    """Return at most `limit` lines with an id above `after`, oldest first."""
    rows = await pool.fetch(
        """
        select id, at, task_id, batch_id, kind, data from events
        where id > $1 and ($2::bigint is null or task_id = $2) and ($3::bigint is null or batch_id = $3)
          and ($4::text[] is null or kind = any($4))
        order by id limit $5
        """,
        after,
        task,
        batch,
        None if kinds is None else list(kinds),
        limit,
    )
    return tuple(event_of(row) for row in rows)


async def last_id(pool: Queries) -> int:
    """Return the id of the newest line, 0 when there is none."""
    return int(await pool.fetchval("select coalesce(max(id), 0) from events"))


def event_of(row: Row) -> StoryEvent:
    """Read one row of `events`."""
    return StoryEvent(
        id=row["id"], at=row["at"], task=row["task_id"], batch=row["batch_id"], kind=row["kind"], data=row["data"]
    )
