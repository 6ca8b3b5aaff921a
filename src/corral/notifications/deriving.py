"""Makes messages of the story: a page of its lines and the place up to which it was read are one transaction.

A batch has ended with the line that ends its last task. It is looked at with each page that ends one of its tasks, and
only lines up to the end of that page count: what the webhook of a batch gets about its tasks is always before its end.
"""

from __future__ import annotations

from collections.abc import Sequence

from corral.cluster.receivers import Occasion
from corral.cluster.values import Cluster
from corral.notifications.happenings import Happening, Wishes, list_messages, wants_every_batch
from corral.notifications.outbox import NewMessage, add, move_cursor, open_outbox, read_cursor
from corral.tasks.store import story
from corral.tasks.store.pool import Connection, Pool, Row
from corral.work import Json

LINES = 500
"""Read in one transaction."""
_ENDED = "('succeeded', 'failed', 'cancelled')"
_MISSED = "forecast_missed"
"""The kind of the line of a batch whose deadline cannot be met any more."""


async def derive(pool: Pool, epoch: int, cluster: Cluster) -> int:
    """Make the messages of the next lines of the story, and return the line up to which it was read.

    Raises: LeadLostError.
    """
    async with open_outbox(pool, epoch) as connection:
        cursor = await read_cursor(connection)
        horizon = await story.read_horizon(connection)
        lines = await _read_lines(connection, cursor, horizon)
        end = lines[-1]["id"] if len(lines) == LINES else max(horizon, cursor)
        happenings = [_describe_miss(line) for line in lines if line["kind"] == _MISSED]
        happenings += [_describe_failure(line) for line in lines if line["state"] == "failed"]
        batches = sorted({line["batch_id"] for line in lines if line["batch_id"] is not None})
        happenings += await _list_ended(connection, batches, end, every=wants_every_batch(cluster))
        messages: list[NewMessage] = []
        for happening in happenings:
            messages += list_messages(happening, cluster)
        await add(connection, messages)
        if end > cursor:
            await move_cursor(connection, end)
        return end


async def _read_lines(connection: Connection, after: int, up_to: int) -> Sequence[Row]:
    return await connection.fetch(
        f"""
        select e.id, e.at, e.task_id, e.batch_id, e.kind, e.data, e.data->>'state' as state,
          coalesce(e.data->'error', t.error) as error, t.name, t.engine, t.owner,
          b.name as batch_name, b.webhook, b.notify
        from events e left join tasks t on t.id = e.task_id left join batches b on b.id = e.batch_id
        where e.id > $1 and e.id <= $2 and (e.data->>'state' in {_ENDED} or e.kind = $3)
        order by e.id limit {LINES}
        """,
        after,
        up_to,
        _MISSED,
    )


def _describe_miss(line: Row) -> Happening:
    data = {name: line["data"].get(name) for name in ("by", "ready_at", "open")}
    return Happening(
        occasion=Occasion.FORECAST_MISSED,
        key=f"batch/{line['batch_id']}/forecast_missed",
        at=line["at"],
        batch=line["batch_id"],
        data={"batch": line["batch_id"], "name": line["batch_name"], **data},
        wishes=_read_wishes(line),
    )


def _describe_failure(line: Row) -> Happening:
    return Happening(
        occasion=Occasion.TASK_FAILED,
        key=f"task/{line['task_id']}/failed",
        at=line["at"],
        batch=line["batch_id"],
        data={
            "task": line["task_id"],
            "name": line["name"],
            "engine": line["engine"],
            "owner": line["owner"],
            "batch": line["batch_id"],
            "batch_name": line["batch_name"],
            "error": line["error"],
        },
        wishes=_read_wishes(line),
    )


async def _list_ended(connection: Connection, batches: Sequence[int], end: int, *, every: bool) -> list[Happening]:
    """List those of the batches that have ended with a line up to `end`."""
    rows = await connection.fetch(
        f"""
        select b.id, b.name, b.owner, b.task_count, b.created_at, b.labels, b.webhook, b.notify, ended.*
        from batches b, lateral (
          select count(*) filter (where t.state = 'succeeded') as succeeded,
            count(*) filter (where t.state = 'failed') as failed,
            count(*) filter (where t.state = 'cancelled') as cancelled, max(t.finished_at) as ended_at,
            min(t.started_at) as started_at
          from tasks t where t.batch_id = b.id
        ) as ended
        where b.id = any($1::bigint[]) and ($3 or b.webhook is not null or b.notify <> '{{}}')
          and ended.ended_at is not null
          and not exists (select from tasks t where t.batch_id = b.id and t.finished_at is null)
          and not exists (
            select from tasks t where t.batch_id = b.id and not exists (
              select from events e where e.task_id = t.id and e.id <= $2 and e.data->>'state' in {_ENDED}))
        order by b.id
        """,
        batches,
        end,
        every,
    )
    return [_describe_end(row) for row in rows]


def _describe_end(row: Row) -> Happening:
    begun = row["started_at"]
    data: dict[str, Json] = {
        "batch": row["id"],
        "name": row["name"],
        "owner": row["owner"],
        "task_count": row["task_count"],
        "succeeded": row["succeeded"],
        "failed": row["failed"],
        "cancelled": row["cancelled"],
        "created_at": row["created_at"].isoformat(),
        "started_at": None if begun is None else begun.isoformat(),
        "ended_at": row["ended_at"].isoformat(),
        "duration_s": None if begun is None else round((row["ended_at"] - begun).total_seconds(), 3),
        "labels": row["labels"],
    }
    return Happening(
        occasion=Occasion.BATCH_ENDED,
        key=f"batch/{row['id']}/ended",
        at=row["ended_at"],
        batch=row["id"],
        data=data,
        wishes=_read_wishes(row),
    )


def _read_wishes(row: Row) -> Wishes:
    return Wishes(webhook=row["webhook"], notify=tuple(row["notify"] or ()))
