"""Applies events to tasks: lock the rows, ask the lifecycle, write everything in one transaction.

Many changes go in one call and one commit, so the cost of a durable commit is shared; the dispatcher collects what
happened while the last commit was under way. A change that the lifecycle refuses (another attempt owns the task, the
task has ended) changes nothing and is returned as refused; the others of the call are not affected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache

import asyncpg

from corral.errors import Problem
from corral.tasks.lifecycle import (
    Effect,
    Event,
    Leased,
    Life,
    NeedFailed,
    NeedMet,
    SettleDependents,
    Started,
    TaskState,
    TransitionRefusedError,
    advance,
)
from corral.tasks.store import story
from corral.tasks.store.audit import Act, append_act
from corral.tasks.store.pool import Connection, Pool, Row
from corral.tasks.store.writing import Lease, TaskRow, format_problem, write
from corral.tasks.values import StoredFile, TakenLane
from corral.work import Json, SlotId

_AT_ONCE = 64
"""Changes advanced in one step of the event loop: some 1 ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskChange:
    """One event, with what the story and the task keep of it."""

    task: int
    event: Event
    ago: timedelta = timedelta()
    """For a start: how long it is past, since it need not be written at once."""
    error: Problem | None = None
    avoid_slot: SlotId | None = None
    """The slot whose engine failed; the next attempt goes elsewhere if it can."""
    refused_slot: SlotId | None = None
    """The slot that lacks what the task needs; no later attempt goes there."""
    device_model: str | None = None
    takes: tuple[TakenLane, ...] = ()
    """Of a lease: the lanes that no other task can have until its end, where they are not the first of its slots."""
    outputs: tuple[StoredFile, ...] = ()
    result: Mapping[str, Json] | None = None
    note: Mapping[str, Json] = field(default_factory=dict[str, Json])
    """More for the story."""


@dataclass(slots=True)
class Applied:
    """The changes of one call."""

    lives: dict[int, Life] = field(default_factory=dict[int, Life])
    """Every task that changed, as it is now; includes dependents."""
    leased: Sequence[Row] = ()
    """What new attempts need of the tasks that the call leased, as rows of `tasks`."""
    effects: list[tuple[int, Effect]] = field(default_factory=list[tuple[int, Effect]])
    refused: list[tuple[TaskChange, TransitionRefusedError]] = field(
        default_factory=list[tuple[TaskChange, TransitionRefusedError]]
    )


async def apply(
    pool: Pool, changes: Sequence[TaskChange], *, lease: Lease | None = None, act: Act | None = None
) -> Applied:
    """Apply the changes in order and return what became of them; `act` goes into the audit log where one was applied.

    A deadlock with another writer is resolved by PostgreSQL ending one of the two; that one tries again.
    """
    for retries_left in (2, 1, 0):
        try:
            async with story.open_writing(pool) as writing:
                return await apply_in(writing, changes, lease=lease, act=act)
        except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
            if not retries_left:
                raise
    raise AssertionError("unreachable: the last try returns or raises")


async def apply_in(
    writing: story.Writing, changes: Sequence[TaskChange], *, lease: Lease | None = None, act: Act | None = None
) -> Applied:
    """Do what `apply` does inside the caller's transaction; the story is appended last."""
    connection = writing.connection
    applied = Applied()
    entries: list[story.Entry] = []
    rows: dict[int, TaskRow] = {}
    pending = list(changes)
    spread: set[int] = set()
    while pending:
        now = await _lock(connection, rows, {change.task for change in pending})
        settled: dict[int, bool] = {}
        for number, change in enumerate(pending, start=1):
            _advance(rows.get(change.task), change, now, applied, entries, settled)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        failed = [task for task, succeeded in settled.items() if not succeeded and task not in spread]
        pending = await _list_failing(connection, failed)
        spread.update(change.task for change in pending)
        pending += await _list_met(connection, [task for task, succeeded in settled.items() if succeeded])
    await asyncio.sleep(0)
    changed = [row for row in rows.values() if row.life != row.before]
    applied.leased = await write(connection, changed, lease)
    if act is not None and entries:
        await append_act(connection, act)
    await story.append(writing, entries)
    applied.lives = {row.life.id: row.life for row in changed}
    return applied


def _advance(
    row: TaskRow | None,
    change: TaskChange,
    now: datetime,
    applied: Applied,
    entries: list[story.Entry],
    settled: dict[int, bool],
) -> None:
    try:
        if row is None:
            raise TransitionRefusedError(f"{type(change.event).__name__} does not apply: task {change.task} is gone")
        life, effects = advance(row.life, change.event, now=now)
    except TransitionRefusedError as refusal:
        applied.refused.append((change, refusal))
        return
    row.life = life
    if isinstance(change.event, Started):
        row.started_ago = change.ago
    if change.error is not None:
        row.error = change.error
    row.result = change.result or row.result
    row.device_model = change.device_model or row.device_model
    row.takes = change.takes or row.takes
    row.avoid_slot = change.avoid_slot or row.avoid_slot
    row.refused_slot = change.refused_slot or row.refused_slot
    row.outputs = change.outputs or row.outputs
    entries.append(_entry(row, change))
    for effect in effects:
        if isinstance(effect, SettleDependents):
            if row.has_dependents:
                settled[life.id] = effect.succeeded
        else:
            applied.effects.append((life.id, effect))


def _entry(row: TaskRow, change: TaskChange) -> story.Entry:
    data: dict[str, Json] = {"state": row.life.state.value, **change.note}
    attempt = getattr(change.event, "attempt", None)
    if attempt is not None:
        data["attempt"] = str(attempt)
    if isinstance(change.event, Leased):
        data["slots"] = list(change.event.slots)
    if isinstance(change.event, NeedFailed):
        data["need"] = change.event.need
    if change.error is not None:
        data["error"] = format_problem(change.error)
    if change.outputs:
        data["outputs"] = [file.name for file in change.outputs]
    if row.life.state is TaskState.QUEUED and row.life.ready_at is not None:
        data["ready_at"] = row.life.ready_at.isoformat()
    return story.Entry(kind=kind_of(type(change.event)), task=row.life.id, batch=row.batch, data=data)


@cache
def kind_of(event: type[Event]) -> str:
    """Return the story's word for an event: `AttemptFailed` is `attempt_failed`."""
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in event.__name__)[1:]


LIFE_COLUMNS = """id, state, open_needs, not_before, ready_at, attempts, max_attempts, losses, lost, lease, slots,
    cancel_requested"""


def read_life(row: Row) -> Life:
    """Read the lifecycle's part of a row of `tasks`."""
    return Life(
        id=row["id"],
        state=TaskState(row["state"]),
        open_needs=row["open_needs"],
        not_before=row["not_before"],
        ready_at=row["ready_at"],
        attempts=row["attempts"],
        max_attempts=row["max_attempts"],
        losses=row["losses"],
        lost=tuple(row["lost"]),
        lease=row["lease"],
        slots=tuple(SlotId(slot) for slot in row["slots"]),
        cancel_requested=row["cancel_requested"],
    )


async def _lock(connection: Connection, rows: dict[int, TaskRow], wanted: set[int]) -> datetime:
    missing = sorted(wanted - rows.keys())
    locked = await connection.fetch(
        f"""
        select {LIFE_COLUMNS}, batch_id, has_dependents, now() as now
        from tasks where id = any($1::bigint[]) order by id for update
        """,
        missing,
    )
    for row in locked:
        life = read_life(row)
        rows[life.id] = TaskRow(before=life, life=life, batch=row["batch_id"], has_dependents=row["has_dependents"])
    now: datetime = locked[0]["now"] if locked else await connection.fetchval("select now()")
    return now


async def _list_met(connection: Connection, succeeded: Sequence[int]) -> list[TaskChange]:
    """Return what the success of these tasks is for those that need them."""
    if not succeeded:
        return []
    rows = await connection.fetch(
        """
        select n.task_id, n.need_id from needs n join tasks t on t.id = n.task_id
        where n.need_id = any($1::bigint[]) and t.state = 'waiting' order by n.task_id
        """,
        succeeded,
    )
    return [TaskChange(task=row["task_id"], event=NeedMet(), note={"need": row["need_id"]}) for row in rows]


async def _list_failing(connection: Connection, failed: Sequence[int]) -> list[TaskChange]:
    """Return what the failure of these tasks is for all that need them, or need tasks that fail by it.

    All at once, and each task once: a chain of 5,000 went through the database step by step, twice for each.
    """
    if not failed:
        return []
    reached = await connection.fetchval(
        """
        with recursive failing(id) as (
          select task_id from needs where need_id = any($1::bigint[])
          union
          select n.task_id from failing f cross join lateral (
            select task_id from needs where need_id = f.id offset 0  -- else each step can read the whole table
          ) n
        )
        select coalesce(array_agg(id), '{}') from failing
        """,
        failed,
    )
    rows = await connection.fetch(
        """
        select distinct on (n.task_id) n.task_id, n.need_id from needs n join tasks t on t.id = n.task_id
        where n.task_id = any($1::bigint[]) and n.need_id = any($2::bigint[]) and t.state = 'waiting'
        order by n.task_id, n.need_id
        """,
        reached,
        [*failed, *reached],
    )
    return [_fail_for_need(row["task_id"], row["need_id"]) for row in rows]


def _fail_for_need(task: int, need: int) -> TaskChange:
    error = Problem(
        code="task.need_failed",
        what=f"task {need}, which this task needs, did not succeed",
        where=f"task {task}",
        hint=f"run `corral tasks explain {need}`, then retry both",
    )
    return TaskChange(task=task, event=NeedFailed(need), error=error)
