"""Holds in the database: when they were granted, until when they count, and why they ended.

A row is made with the task of the hold, or when its devices are handed over. Deadlines are instants of the database's
clock. A hold that is asked back (`ending`) ends at its holder's word or at `ends_at`, whichever comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from corral.engine_kinds import HOLD
from corral.tasks.lifecycle import CancelRequested
from corral.tasks.store import story
from corral.tasks.store.audit import Act, append_act
from corral.tasks.store.pool import Pool, Queries, Row
from corral.tasks.store.transitions import TaskChange, apply
from corral.work import HoldEnd, HoldTerms, SlotId

GONE = "gone"
"""The end of a hold whose task has ended otherwise: its attempt is stopped by that, not by its book."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredHold:
    """A hold next to its task."""

    task: int
    ttl: timedelta
    expires_at: datetime
    """When it is taken back if it is not renewed; while it waits, too."""
    granted_at: datetime | None
    """When its devices were its holder's; None while it waits."""
    slots: tuple[SlotId, ...]
    devices: tuple[str, ...]
    """Of the slots, in the same order, as `corral.work.Work.devices` names them."""
    ends_at: datetime | None
    """When it ends in any case; None where it was asked for without an end."""
    ending: HoldEnd | None
    """Why its holder has to stop now; the devices are another's at `ends_at`."""
    ended: str | None
    """A `HoldEnd`, or `GONE`: its task was cancelled or failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A handover, to be noted."""

    task: int
    terms: HoldTerms
    """Used where the hold has no row yet."""
    slots: tuple[SlotId, ...]
    devices: tuple[str, ...]


_ADD = """
insert into holds (task_id, ttl, lasts, expires_at)
values ($1, make_interval(secs => $2), make_interval(secs => $3), now() + make_interval(secs => $2))
on conflict do nothing
"""


_TTL_S = 60.0
"""Of a hold whose task does not say it; the engine's own default."""
_ADD_MISSING = """
insert into holds (task_id, ttl, lasts, expires_at)
select id, ttl, lasts, now() + ttl from tasks, lateral (
  select make_interval(secs => case when jsonb_typeof(inputs->'ttl_s') = 'number'
      then greatest(1, least(86400, (inputs->>'ttl_s')::double precision)) else $2 end) as ttl,
    make_interval(secs => case when jsonb_typeof(inputs->'for_s') = 'number'
      then greatest(1, least(31536000, (inputs->>'for_s')::double precision)) end) as lasts
) as terms where engine = $1 and finished_at is null on conflict do nothing
"""


async def add(pool: Queries, task: int, terms: HoldTerms) -> None:
    """Make the row of a hold that waits; a row that is there stays."""
    await pool.execute(_ADD, task, terms.ttl_s, terms.for_s)


async def read(pool: Queries, tasks: Collection[int]) -> dict[int, StoredHold]:
    """Return the holds among these tasks."""
    rows = await pool.fetch("select * from holds where task_id = any($1::bigint[])", list(tasks))
    return {row["task_id"]: _read(row) for row in rows}


def _read(row: Row) -> StoredHold:
    return StoredHold(
        task=row["task_id"],
        ttl=row["ttl"],
        expires_at=row["expires_at"],
        granted_at=row["granted_at"],
        slots=tuple(map(SlotId, row["slots"])),
        devices=tuple(row["devices"]),
        ends_at=row["ends_at"],
        ending=None if row["ending"] is None else HoldEnd(row["ending"]),
        ended=row["ended"],
    )


async def grant(pool: Pool, asked: Grant) -> None:
    """Note that devices are the holder's; those of a hold that has ended meanwhile are not."""
    async with story.open_writing(pool) as writing:
        await add(writing.connection, asked.task, asked.terms)
        granted = await writing.connection.fetch(
            """
            update holds set granted_at = now(), slots = $2, devices = $3, expires_at = now() + ttl,
              ends_at = now() + lasts
            where task_id = $1 and ended is null and granted_at is null returning task_id
            """,
            asked.task,
            list(asked.slots),
            list(asked.devices),
        )
        if granted:
            data = {"slots": list(asked.slots), "devices": list(asked.devices)}
            await story.append(writing, [story.Entry(kind="hold_granted", task=asked.task, data=data)])


async def renew(pool: Queries, task: int) -> bool:
    """Move a hold's deadline; return whether it still counts."""
    row = await pool.fetchrow(
        "update holds set expires_at = now() + ttl where task_id = $1 and ended is null returning task_id", task
    )
    return row is not None


async def renew_all(pool: Queries) -> None:
    """Give every hold its whole time again: the server was away, and nothing could be renewed.

    One whose task was stored, and whose row was not before the server was killed, gets its row.
    """
    await pool.execute("update holds set expires_at = greatest(expires_at, now() + ttl) where ended is null")
    await pool.execute(_ADD_MISSING, HOLD.name, _TTL_S)


async def ask_back(
    pool: Pool, task: int, grace: timedelta, *, because: HoldEnd = HoldEnd.RELEASED, act: Act | None = None
) -> None:
    """Ask a holder to stop; the hold ends after `grace`, or at once without one.

    A hold that waits is cancelled, and one that has ended stays as it is, though its attempt can end a moment later.
    """
    async with story.open_writing(pool) as writing:
        end = "ended" if not grace else "ending"
        changed = await writing.connection.fetch(
            f"""
            update holds h set {end} = $2, ends_at = least(h.ends_at, now() + $3::interval)
            from tasks t where h.task_id = $1 and t.id = h.task_id and t.finished_at is null and h.ended is null
              and h.granted_at is not null returning h.task_id
            """,
            task,
            because.value,
            grace,
        )
        if changed:
            if act is not None:
                await append_act(writing.connection, act)
            await story.append(writing, [_describe_end(task, end, because)])
        has_ended = await writing.connection.fetchval("select ended is not null from holds where task_id = $1", task)
    if not changed and not has_ended:
        await cancel(pool, [task], because, act=act)


async def end_due(pool: Pool, grace: timedelta) -> Sequence[int]:
    """End what was not renewed or has had its time; return the holds that wait, to be cancelled.

    A holder whose time is over can stop within `grace`; one that does not renew any more has no use for it.
    """
    async with story.open_writing(pool) as writing:
        connection = writing.connection
        await connection.execute(
            """
            update holds h set ended = $1 from tasks t
            where t.id = h.task_id and t.finished_at is not null and h.ended is null
            """,
            GONE,
        )
        rows = await connection.fetch(
            """
            update holds set
              ended = case when expires_at < now() then 'expired' when ending is not null then ending end,
              ending = coalesce(ending, 'over'),
              ends_at = case when expires_at < now() or ending is not null then ends_at else now() + $1::interval end
            where ended is null and granted_at is not null and (expires_at < now() or ends_at < now())
            returning task_id, ended, ending
            """,
            grace,
        )
        lines = [
            _describe_end(row["task_id"], "ended" if row["ended"] else "ending", row["ended"] or row["ending"])
            for row in rows
        ]
        await story.append(writing, lines)
        waiting = await connection.fetch(
            "select h.task_id from holds h join tasks t on t.id = h.task_id"
            " where h.ended is null and h.granted_at is null and h.expires_at < now() and not t.cancel_requested"
        )
    return [row["task_id"] for row in waiting]


async def cancel(pool: Pool, tasks: Sequence[int], end: HoldEnd, *, act: Act | None = None) -> None:
    """Cancel holds that wait, and say why in their story."""
    if tasks:
        note = {"because": end.value}
        await apply(pool, [TaskChange(task=task, event=CancelRequested(), note=note) for task in tasks], act=act)


async def list_ended(pool: Queries, tasks: Collection[int]) -> dict[int, str]:
    """Return those of the holds that have ended, and why."""
    rows = await pool.fetch(
        "select task_id, ended from holds where task_id = any($1::bigint[]) and ended is not null", list(tasks)
    )
    return {row["task_id"]: row["ended"] for row in rows}


async def list_open(pool: Queries) -> list[int]:
    """Return the tasks of the holds that have not ended, the oldest first."""
    rows = await pool.fetch(
        "select h.task_id from holds h join tasks t on t.id = h.task_id"
        " where h.ended is null and t.finished_at is null order by h.task_id"
    )
    return [row["task_id"] for row in rows]


def _describe_end(task: int, kind: str, end: str) -> story.Entry:
    return story.Entry(kind=f"hold_{kind}", task=task, data={"because": str(end)})
