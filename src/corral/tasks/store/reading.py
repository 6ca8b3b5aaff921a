"""Reads tasks and batches; every list is bounded and continues from a cursor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from corral.errors import CorralError, Kind, Problem
from corral.requests import BatchFields, TaskFields
from corral.tasks.lifecycle import TaskState
from corral.tasks.store.columns import read_fields
from corral.tasks.store.deliveries import BATCH_SUMMARY, read_summary
from corral.tasks.store.pool import Queries, Row
from corral.tasks.store.story import read_horizon
from corral.tasks.values import Batch, Sha256, StoredFile, Task
from corral.units import Bytes
from corral.work import SlotId

MAX_PAGE = 500
MAX_PAGE_BYTES = 16 * 1024 * 1024
"""Inputs and results of the tasks of one page as JSON: 500 tasks can have 1 GiB of them. One task is always there."""


class TaskMissingError(CorralError):
    """There is no such task."""

    code: ClassVar[str] = "task.missing"
    kind: ClassVar[Kind] = Kind.MISSING


class BatchMissingError(CorralError):
    """There is no such batch."""

    code: ClassVar[str] = "batch.missing"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which tasks a list shows; None does not filter."""

    states: Sequence[TaskState] | None = None
    batch: int | None = None
    queue: str | None = None
    owner: str | None = None
    engine: str | None = None
    slot: SlotId | None = None
    """A slot, or a device for all of its slots."""
    labels: Mapping[str, str] | None = None
    """All of these."""


_TASK_COLUMNS = """t.*,
  (select coalesce(array_agg(n.need_id order by n.need_id), '{}') from needs n where n.task_id = t.id) as needs,
  (select coalesce(jsonb_agg(jsonb_build_object('name', o.name, 'sha256', encode(o.sha256, 'hex'), 'size', o.size,
                                                'media_type', o.media_type) order by o.name), '[]')
   from outputs o where o.task_id = t.id) as outputs"""
_TASK = f"select {_TASK_COLUMNS} from tasks t"


async def get_task(pool: Queries, id: int) -> Task:
    """Return one task. Raises: TaskMissingError."""
    tasks = await get_tasks(pool, [id])
    if not tasks:
        raise TaskMissingError(f"there is no task {id}", hint="`corral tasks list` shows those that there are")
    return tasks[0]


async def get_tasks(pool: Queries, ids: Sequence[int]) -> tuple[Task, ...]:
    """Return those of the tasks that exist, by id."""
    usable = [id for id in ids if 0 < id < 2**63]
    rows = await pool.fetch(f"{_TASK} where t.id = any($1::bigint[]) order by t.id", usable)
    return tuple(read_task(row) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskPage:
    """A part of a list of tasks."""

    tasks: tuple[Task, ...]
    more: bool
    """Whether there can be tasks after these."""


async def list_tasks(
    pool: Queries, chosen: Filter, *, before: int | None = None, limit: int = 50, oldest_first: bool = False
) -> TaskPage:
    """Return at most `limit` (500) tasks, and fewer where they are large (`MAX_PAGE_BYTES`).

    Newest first with ids below `before`, or oldest first with ids above it.
    """
    compare, order = (">", "asc") if oldest_first else ("<", "desc")
    rows = await pool.fetch(
        f"""
        with page as (
          select t.id, octet_length(t.inputs::text) + coalesce(octet_length(t.result::text), 0) as bytes
          from tasks t
          where ($1::text[] is null or t.state = any($1::task_state[])) and ($2::bigint is null or t.batch_id = $2)
            and ($3::text is null or t.queue = $3) and ($4::text is null or t.owner = $4)
            and ($5::text is null or t.engine = $5) and ($6::text is null or $6 = any(t.slots)
              or exists (select from unnest(t.slots) as slot where starts_with(slot, $6 || '/')))
            and ($7::bigint is null or t.id {compare} $7)
            and ($9::jsonb is null or (t.labels <> '{{}}' and t.labels @> $9))
          order by t.id {order} limit $8
        ), bounded as (
          select id, count(*) over () as chosen, sum(bytes) over (order by id {order}) - bytes as bytes_before from page
        )
        select bounded.chosen, {_TASK_COLUMNS} from tasks t join bounded on bounded.id = t.id
        where bounded.bytes_before < $10 order by t.id {order}
        """,
        None if chosen.states is None else [state.value for state in chosen.states],
        chosen.batch,
        chosen.queue,
        chosen.owner,
        chosen.engine,
        chosen.slot,
        before,
        min(limit, MAX_PAGE),
        None if chosen.labels is None else dict(chosen.labels),
        MAX_PAGE_BYTES,
    )
    more = bool(rows) and (rows[0]["chosen"] > len(rows) or len(rows) == min(limit, MAX_PAGE))
    return TaskPage(tasks=tuple(read_task(row) for row in rows), more=more)


_BATCH = f"""
select b.*, (select coalesce(jsonb_object_agg(state, count), '{{}}') from
             (select state, count(*) from tasks t where t.batch_id = b.id group by state) s) as states,
  {BATCH_SUMMARY} as deliveries
from batches b
"""


async def get_batch(pool: Queries, id: int) -> Batch:
    """Return one batch. Raises: BatchMissingError."""
    row = await pool.fetchrow(f"{_BATCH} where b.id = $1", id) if 0 < id < 2**63 else None
    if row is None:
        raise BatchMissingError(f"there is no batch {id}", hint="`corral batches list` shows those that there are")
    return read_batch(row)


async def list_batches(pool: Queries, *, before: int | None = None, limit: int = 50) -> tuple[Batch, ...]:
    """Return at most `limit` (500) batches, newest first, with ids below `before`."""
    rows = await pool.fetch(
        f"{_BATCH} where ($1::bigint is null or b.id < $1) order by b.id desc limit $2", before, min(limit, MAX_PAGE)
    )
    return tuple(read_batch(row) for row in rows)


async def count_states(pool: Queries) -> dict[str, dict[TaskState, int]]:
    """Return how many tasks each queue has in each state that has not ended."""
    rows = await pool.fetch(
        "select queue, state, count(*) as count from tasks where finished_at is null group by queue, state"
    )
    counts: dict[str, dict[TaskState, int]] = {}
    for row in rows:
        counts.setdefault(row["queue"], {})[TaskState(row["state"])] = row["count"]
    return counts


def read_task(row: Row) -> Task:
    """Read one row of the query above."""
    return Task.model_construct(
        **read_fields(row, TaskFields),
        id=row["id"],
        batch=row["batch_id"],
        name=row["name"],
        owner=row["owner"],
        engine=row["engine"],
        files=row["files"],
        needs=tuple(row["needs"]),
        retry_of=row["retry_of"],
        state=TaskState(row["state"]),
        created_at=row["created_at"],
        queued_at=row["queued_at"],
        ready_at=row["ready_at"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        attempts=row["attempts"],
        losses=row["losses"],
        joules=row["joules"],
        slots=tuple(SlotId(slot) for slot in row["slots"]),
        cancel_requested=row["cancel_requested"],
        error=None if row["error"] is None else Problem(**row["error"]),
        result=row["result"],
        outputs=tuple(
            StoredFile(
                name=output["name"],
                sha256=Sha256(output["sha256"]),
                size=Bytes(output["size"]),
                media_type=output["media_type"],
            )
            for output in row["outputs"]
        ),
    )


def read_batch(row: Row) -> Batch:
    """Read one row of the batch query."""
    return Batch.model_construct(
        **read_fields(row, BatchFields),
        id=row["id"],
        owner=row["owner"],
        created_at=row["created_at"],
        task_count=row["task_count"],
        states={TaskState(state): count for state, count in row["states"].items()},
        deliveries=read_summary(row),
    )


async def list_cancelled(pool: Queries, tasks: Iterable[int]) -> tuple[int, ...]:
    """Return those of the tasks whose attempt must be stopped: a dispatcher can have missed the line of the story."""
    rows = await pool.fetch(
        "select id from tasks where id = any($1::bigint[]) and cancel_requested and finished_at is null", list(tasks)
    )
    return tuple(row["id"] for row in rows)


async def list_open_tasks(pool: Queries, batch: int) -> tuple[int, ...]:
    """Return their ids, those first that others need: cancelling in this order settles each task once."""
    rows = await pool.fetch(
        "select id from tasks where batch_id = $1 and state in ('waiting', 'queued', 'leased', 'running') order by id",
        batch,
    )
    return tuple(row["id"] for row in rows)


MAX_ENDINGS = 20_000
"""Read in one go; a reader that is further behind catches up with its next calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How one task ended."""

    event: int
    """Its line of the story."""
    engine: str
    task_class: str
    outcome: str
    losses: int
    """Attempts that ended without an answer: their server was killed, say, or their slot was taken away."""
    waited_s: float | None
    """Seconds from when it could start to its last start; None of a task that never started."""
    duration_s: float | None
    """Seconds since its last attempt started, for a task that succeeded."""


async def list_endings(pool: Queries, event: int) -> tuple[Ending, ...]:
    """Return at most `MAX_ENDINGS` endings after a line of the story; tasks that were collected since are left out."""
    rows = await pool.fetch(
        """
        select e.id, t.engine, t.class, t.state, t.losses,
          extract(epoch from t.started_at - coalesce(t.queued_at, t.created_at))::float8 as waited_s,
          extract(epoch from t.finished_at - t.started_at)::float8 as duration_s
        from events e join tasks t on t.id = e.task_id
        where e.id > $1 and e.id <= $3 and e.data->>'state' in ('succeeded', 'failed', 'cancelled')
        order by e.id limit $2
        """,
        event,
        MAX_ENDINGS,
        await read_horizon(pool),
    )
    return tuple(
        Ending(
            event=row["id"],
            engine=row["engine"],
            task_class=row["class"],
            outcome=row["state"],
            losses=row["losses"],
            waited_s=row["waited_s"],
            duration_s=row["duration_s"] if row["state"] == "succeeded" else None,
        )
        for row in rows
    )
