"""One commit writes what changed and nothing else, in a real PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from builders import a_submission, a_task
from corral.errors import Problem
from corral.tasks.lifecycle import AttemptFailed, AttemptLost, CancelRequested, Leased, Started, Succeeded
from corral.tasks.store.dispatching import commit_round
from corral.tasks.store.pool import Pool
from corral.tasks.store.submitting import submit
from corral.tasks.store.transitions import Lease, TaskChange, apply
from corral.work import FailureScope, SlotId

HERE = Lease(holder=uuid4(), ttl=timedelta(seconds=60))
SLOT = (SlotId("node/cpu0"),)


async def test_one_commit_ends_a_task_and_gives_its_slot_to_the_next(pool: Pool) -> None:
    first, second = (await submit(pool, a_submission(a_task("a"), a_task("b")), queued_limits={})).tasks
    old, new = uuid4(), uuid4()
    await apply(pool, [TaskChange(task=first, event=Leased(old, SLOT))], lease=HERE)
    changes = [TaskChange(task=first, event=Succeeded(old)), TaskChange(task=second, event=Leased(new, SLOT))]
    done = await commit_round(pool, changes, HERE, epoch=None)
    assert done.details[second].name == "b"
    assert [tuple(row) for row in await pool.fetch("select slot, task_id from slot_leases")] == [(SLOT[0], second)]


async def test_slot_in_use_is_not_given_twice(pool: Pool) -> None:
    first, second = (await submit(pool, a_submission(a_task("a"), a_task("b")), queued_limits={})).tasks
    await apply(pool, [TaskChange(task=first, event=Leased(uuid4(), SLOT))], lease=HERE)
    with pytest.raises(asyncpg.UniqueViolationError):
        await apply(pool, [TaskChange(task=second, event=Leased(uuid4(), SLOT))], lease=HERE)


async def test_different_ends_in_one_commit_keep_to_their_own_tasks(pool: Pool) -> None:
    names = ("done", "spent", "lost", "cancelled")
    tasks = (await submit(pool, a_submission(*map(a_task, names)), queued_limits={})).tasks
    tokens = [uuid4() for _ in tasks]
    slots = [(SlotId(f"node/cpu{index}"),) for index in range(len(tasks))]
    leased = [TaskChange(task=t, event=Leased(a, s)) for t, a, s in zip(tasks, tokens, slots, strict=True)]
    await apply(pool, leased, lease=HERE)
    error = Problem(code="x", what="broke")
    ends = [
        TaskChange(task=tasks[0], event=Succeeded(tokens[0]), result={"text": "said"}),
        TaskChange(task=tasks[1], event=AttemptFailed(tokens[1], FailureScope.ATTEMPT, 0.0), error=error),
        TaskChange(task=tasks[2], event=AttemptLost(tokens[2])),
        TaskChange(task=tasks[3], event=CancelRequested()),
    ]
    await apply(pool, ends)
    rows = await pool.fetch(
        "select name, state::text, attempts, losses, lost, lease, cancel_requested, result, error is not null as broke"
        " from tasks order by id"
    )
    assert [tuple(row) for row in rows] == [
        ("done", "succeeded", 0, 0, [], None, False, {"text": "said"}, False),
        ("spent", "queued", 1, 0, [], None, False, None, True),
        ("lost", "queued", 0, 1, [tokens[2]], None, False, None, False),
        ("cancelled", "leased", 0, 0, [], tokens[3], True, None, False),
    ]


async def test_start_that_is_written_late_keeps_its_time(pool: Pool) -> None:
    (task,) = (await submit(pool, a_submission(), queued_limits={})).tasks
    attempt = uuid4()
    await apply(pool, [TaskChange(task=task, event=Leased(attempt, SLOT))], lease=HERE)
    late = TaskChange(task=task, event=Started(attempt), ago=timedelta(seconds=7))
    await apply(pool, [late, TaskChange(task=task, event=Succeeded(attempt))])
    took = await pool.fetchval("select finished_at - started_at from tasks where id = $1", task)
    assert took == timedelta(seconds=7)


async def test_no_index_knows_what_changes_while_a_task_is_open(pool: Pool) -> None:
    definitions = await pool.fetch("select indexdef from pg_indexes where tablename = 'tasks'")
    volatile = ("state", "lease", "slots", "started_at", "ready_at", "attempts")
    assert not [row["indexdef"] for row in definitions if any(word in row["indexdef"] for word in volatile)]
