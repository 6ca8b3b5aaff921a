"""The queue at a glance, in three bounded queries: what is open by kind, what runs, how large the database is."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from corral.tasks.lifecycle import TaskState
from corral.tasks.store.pool import Queries
from corral.units import Bytes

MAX_KINDS = 2000
"""Kinds read at once: queues and engines are those of the cluster file, but models are whatever users wrote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenWork:
    """Open tasks of one kind in one state."""

    queue: str
    engine: str
    model: str | None
    node: str | None
    """The only node where they can run."""
    state: TaskState
    tasks: int
    slots: int
    """Slots that they take: a task on two GPUs counts twice."""
    since: datetime
    """When the first of them was queued, or was made where it is not queued yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskName:
    """The name of a task, and the batch that it belongs to."""

    name: str
    batch: int | None


async def read_open_work(pool: Queries) -> tuple[OpenWork, ...]:
    """Return what has not ended, the largest kinds first."""
    rows = await pool.fetch(
        """
        select queue, engine, model, node, state, count(*) as tasks, sum(gpus) as slots,
          min(coalesce(queued_at, created_at)) as since
        from tasks where finished_at is null group by queue, engine, model, node, state
        order by tasks desc limit $1
        """,
        MAX_KINDS,
    )
    return tuple(
        OpenWork(
            queue=row["queue"],
            engine=row["engine"],
            model=row["model"],
            node=row["node"],
            state=TaskState(row["state"]),
            tasks=row["tasks"],
            slots=row["slots"],
            since=row["since"],
        )
        for row in rows
    )


@dataclass(frozen=True, slots=True)
class Waiting:
    """Tasks that have not started."""

    first: tuple[int, ...]
    """Those that the policy takes first, by class and priority."""
    total: int


async def list_waiting(pool: Queries, limit: int) -> Waiting:
    """Return at most `limit` tasks that have not started, and how many there are."""
    rows = await pool.fetch(
        """
        select id, count(*) over () as total from tasks
        where finished_at is null and state in ('waiting', 'queued')
        order by state <> 'queued', class <> 'interactive', priority desc, queued_at, id limit $1
        """,
        limit,
    )
    return Waiting(tuple(row["id"] for row in rows), rows[0]["total"] if rows else 0)


async def read_names(pool: Queries, tasks: Collection[int]) -> Mapping[int, TaskName]:
    """Return the names of those tasks that there are."""
    rows = await pool.fetch("select id, name, batch_id from tasks where id = any($1::bigint[])", list(tasks))
    return {row["id"]: TaskName(name=row["name"], batch=row["batch_id"]) for row in rows}


async def measure_database(pool: Queries) -> Bytes:
    """Return the bytes that the database takes on its disk."""
    return Bytes(await pool.fetchval("select pg_database_size(current_database())"))
