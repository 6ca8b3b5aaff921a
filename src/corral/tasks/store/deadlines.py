"""Deadlines of batches in the database: what is left of each, and the line of the story when one cannot be met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from corral.scheduling.estimating import WaitingWork
from corral.tasks.store import story
from corral.tasks.store.pool import Pool, Queries

MOST_KINDS = 2000
"""Kinds of open tasks of batches with deadlines that are read at once, as many as `overview.MAX_KINDS`."""
SHOWN_FOR = timedelta(days=1)
"""How long after its deadline an open batch is still looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDeadline:
    """A batch with a deadline that is not done."""

    batch: int
    name: str
    owner: str
    by: datetime
    waits_for_cheap: bool
    is_noted: bool
    """Whether the story says already that it cannot be met."""
    waiting: list[WaitingWork] = field(default_factory=list[WaitingWork])
    """Its tasks that have not started."""
    tasks: int = 0
    """Its tasks that have not ended."""
    waiting_tasks: int = 0
    """Those of them that have not started."""


async def read_open_deadlines(pool: Queries, batches: Collection[int] | None = None) -> Mapping[int, OpenDeadline]:
    """Return the batches with a deadline that are not done, all or of these, with what is left of each."""
    rows = await pool.fetch(
        """
        select b.id, b.name, b.owner, b.by, b.by_missed_at is not null as noted, b."when" is not null as cheap,
          t.queue, t.engine, t.model, t.node,
          t.state in ('waiting', 'queued') as waits, count(*) as tasks, sum(t.gpus) as slots
        from batches b join tasks t on t.batch_id = b.id
        where b.by is not null and t.finished_at is null
          and case when $2::bigint[] is null then b.by > now() - $3::interval else b.id = any($2::bigint[]) end
        group by b.id, t.queue, t.engine, t.model, t.node, waits order by b.by, b.id limit $1
        """,
        MOST_KINDS,
        None if batches is None else list(batches),
        SHOWN_FOR,
    )
    deadlines: dict[int, OpenDeadline] = {}
    tasks: Counter[int] = Counter()
    waiting: Counter[int] = Counter()
    for row in rows:
        id = row["id"]
        tasks[id] += row["tasks"]
        if id not in deadlines:
            deadlines[id] = OpenDeadline(
                batch=id,
                name=row["name"],
                owner=row["owner"],
                by=row["by"],
                waits_for_cheap=row["cheap"],
                is_noted=row["noted"],
            )
        if row["waits"]:
            waiting[id] += row["tasks"]
            deadlines[id].waiting.append(
                WaitingWork(
                    queue=row["queue"], engine=row["engine"], model=row["model"], node=row["node"], count=row["slots"]
                )
            )
    return {id: replace(deadline, tasks=tasks[id], waiting_tasks=waiting[id]) for id, deadline in deadlines.items()}


async def read_last_ends(pool: Queries, batches: Collection[int]) -> Mapping[int, datetime]:
    """Return when the last task of each of these batches ended."""
    rows = await pool.fetch(
        "select batch_id, max(finished_at) as at from tasks where batch_id = any($1::bigint[]) group by batch_id",
        list(batches),
    )
    return {row["batch_id"]: row["at"] for row in rows if row["at"] is not None}


async def note_missed(pool: Pool, deadline: OpenDeadline, ready_at: datetime | None) -> None:
    """Write once for a batch that its deadline cannot be met any more: the line `forecast_missed` of its story."""
    async with story.open_writing(pool) as writing:
        first = await writing.connection.fetchval(
            "update batches set by_missed_at = now() where id = $1 and by_missed_at is null returning true",
            deadline.batch,
        )
        if first:
            data = {"by": deadline.by.isoformat(), "ready_at": None if ready_at is None else ready_at.isoformat()}
            entry = story.Entry(kind="forecast_missed", batch=deadline.batch, data={**data, "open": deadline.tasks})
            await story.append(writing, [entry])
