"""The store keeps what the lifecycle promises, in a real PostgreSQL."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest

from builders import a_submission, a_task
from corral.errors import Problem
from corral.tasks.lifecycle import AttemptFailed, CancelRequested, Leased, Started, Succeeded, TaskState
from corral.tasks.store import story
from corral.tasks.store.pool import Pool
from corral.tasks.store.submitting import IdempotencyConflictError, OwnerLimitError, submit
from corral.tasks.store.transitions import Lease, TaskChange, apply
from corral.tasks.submission_checks import SubmissionError
from corral.work import FailureScope, SlotId

HERE = Lease(holder=uuid4(), ttl=timedelta(seconds=60))
SLOT = (SlotId("node/cpu0"),)


async def test_batch_is_stored_with_needs_resolved(pool: Pool) -> None:
    accepted = await submit(pool, a_submission(a_task("b", needs=("a",)), a_task("a")), queued_limits={})
    states = dict(await pool.fetch("select name, state from tasks"))
    assert states == {"a": "queued", "b": "waiting"}
    assert accepted.tasks[0] > accepted.tasks[1], "ids follow needs, in the order of the submission"


async def test_same_idempotency_key_is_accepted_once(pool: Pool) -> None:
    first = await submit(pool, a_submission(idempotency_key="k"), queued_limits={})
    again = await submit(pool, a_submission(idempotency_key="k"), queued_limits={})
    assert again.tasks == first.tasks
    assert again.replayed
    with pytest.raises(IdempotencyConflictError):
        await submit(pool, a_submission(a_task("other"), idempotency_key="k"), queued_limits={})


async def test_owner_limit_refuses_the_whole_submission(pool: Pool) -> None:
    with pytest.raises(OwnerLimitError):
        await submit(pool, a_submission(a_task("a"), a_task("b")), queued_limits={"default": 1})
    assert await pool.fetchval("select count(*) from tasks") == 0


async def test_owner_limit_holds_for_submissions_at_the_same_time(pool: Pool) -> None:
    submissions = [a_submission(*(a_task(f"{number}-{index}") for index in range(60))) for number in range(4)]
    outcomes = await asyncio.gather(
        *(submit(pool, submission, queued_limits={"default": 100}) for submission in submissions),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, OwnerLimitError) for outcome in outcomes) == 3
    assert await pool.fetchval("select count(*) from tasks") == 60


async def test_need_that_does_not_exist_is_refused(pool: Pool) -> None:
    with pytest.raises(SubmissionError, match="there is no task 999"):
        await submit(pool, a_submission(a_task("a", needs=(999,))), queued_limits={})


async def test_task_runs_through_its_life_and_its_dependent_follows(pool: Pool) -> None:
    second, first = (await submit(pool, a_submission(a_task("b", needs=("a",)), a_task("a")), queued_limits={})).tasks
    attempt = uuid4()
    applied = await apply(
        pool,
        [
            TaskChange(task=first, event=Leased(attempt, SLOT)),
            TaskChange(task=first, event=Started(attempt)),
            TaskChange(task=first, event=Succeeded(attempt), result={"text": "x"}),
        ],
        lease=HERE,
    )
    assert applied.lives[first].state is TaskState.SUCCEEDED
    assert applied.lives[second].state is TaskState.QUEUED
    kinds = [event.kind for event in await story.read(pool, task=first)]
    assert kinds == ["submitted", "leased", "started", "succeeded"]
    assert await pool.fetchval("select count(*) from slot_leases") == 0


async def test_result_of_an_old_attempt_is_refused(pool: Pool) -> None:
    (task,) = (await submit(pool, a_submission(), queued_limits={})).tasks
    old, new = uuid4(), uuid4()
    error = Problem(code="x", what="broke")
    failed = TaskChange(task=task, event=AttemptFailed(old, FailureScope.ATTEMPT, 0.0), error=error)
    await apply(pool, [TaskChange(task=task, event=Leased(old, SLOT)), failed], lease=HERE)
    await apply(pool, [TaskChange(task=task, event=Leased(new, SLOT))], lease=HERE)
    late = await apply(pool, [TaskChange(task=task, event=Succeeded(old), result={"text": "late"})], lease=HERE)
    assert len(late.refused) == 1
    row = await pool.fetchrow("select state, result, lease from tasks where id = $1", task)
    assert row is not None
    assert (row["state"], row["result"], row["lease"]) == ("leased", None, new)


async def test_database_refuses_two_tasks_on_one_slot(pool: Pool) -> None:
    first, second = (await submit(pool, a_submission(a_task("a"), a_task("b")), queued_limits={})).tasks
    await apply(pool, [TaskChange(task=first, event=Leased(uuid4(), SLOT))], lease=HERE)
    with pytest.raises(asyncpg.UniqueViolationError):
        await apply(pool, [TaskChange(task=second, event=Leased(uuid4(), SLOT))], lease=HERE)


async def test_each_task_of_a_net_fails_once_and_names_a_need_that_failed(pool: Pool) -> None:
    """Three rows of four tasks, each of which needs all of the row before; one of them has succeeded already."""
    rows = [[f"{row}-{index}" for index in range(4)] for row in range(3)]
    tasks = [a_task(name, needs=tuple(rows[row - 1]) if row else ()) for row in range(3) for name in rows[row]]
    ids = (await submit(pool, a_submission(*tasks), queued_limits={})).tasks
    applied = await apply(pool, [TaskChange(task=id, event=CancelRequested()) for id in ids[:2]])
    assert sorted(applied.lives) == [*ids[:2], *ids[4:]]
    assert not applied.refused
    assert [applied.lives[id].state for id in ids[4:]] == [TaskState.FAILED] * 8
    for id, possible in [*((id, ids[:2]) for id in ids[4:8]), *((id, ids[4:8]) for id in ids[8:])]:
        (failed,) = await story.read(pool, task=id, kinds=["need_failed"])
        assert failed.data["need"] in possible


async def test_failure_of_a_need_fails_everything_that_hangs_on_it(pool: Pool) -> None:
    batch = a_submission(a_task("a"), a_task("b", needs=("a",)), a_task("c", needs=("b",)))
    ids = (await submit(pool, batch, queued_limits={})).tasks
    await apply(pool, [TaskChange(task=ids[0], event=CancelRequested())])
    states = [row["state"] for row in await pool.fetch("select state from tasks order by id")]
    assert states == ["cancelled", "failed", "failed"]
