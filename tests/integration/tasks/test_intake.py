"""What many callers submit at once is written together, and each is answered alone."""

from __future__ import annotations

import asyncio

import pytest

from builders import a_submission, a_task
from corral.errors import CorralError
from corral.scheduling.values import Gate
from corral.tasks.store.controls import Gated, set_gate
from corral.tasks.store.intake import Intake
from corral.tasks.store.pool import Pool
from corral.tasks.store.reading import get_task
from corral.tasks.submission_checks import SubmissionError
from corral.tasks.values import Accepted, Submission


def a_single(name: str = "task", **changes: object) -> Submission:
    """A submission of one task that belongs to no batch."""
    return a_submission(a_task(name), batch=None, **changes)


def intake_of(pool: Pool, **limits: int) -> Intake:
    return Intake(pool, limits=lambda: limits)


async def outcomes_of(intake: Intake, *submissions: Submission) -> list[Accepted | BaseException]:
    return await asyncio.gather(*map(intake.submit, submissions), return_exceptions=True)


async def test_submissions_that_wait_together_share_a_commit(pool: Pool) -> None:
    await outcomes_of(intake_of(pool), *(a_single(str(number)) for number in range(50)))
    commits = await pool.fetchval("select count(distinct xmin::text) from tasks")
    assert commits <= 2, "the first alone, and those that came while it was written"


async def test_each_gets_its_own_task(pool: Pool) -> None:
    outcomes = await outcomes_of(intake_of(pool), *(a_single(str(number)) for number in range(20)))
    accepted = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
    names = [(await get_task(pool, outcome.tasks[0])).name for outcome in accepted]
    assert names == [str(number) for number in range(20)]


async def test_new_task_is_answered_as_it_is_stored(pool: Pool) -> None:
    accepted = await intake_of(pool).submit(a_single(idempotency_key="k"))
    assert accepted.task == await get_task(pool, accepted.tasks[0])


async def test_refusal_of_one_leaves_the_others(pool: Pool) -> None:
    bad = a_submission(a_task("needs a ghost", needs=(999,)), batch=None)
    outcomes = await outcomes_of(intake_of(pool), a_single("first"), a_single("good"), bad, a_single("also good"))
    assert [isinstance(outcome, Accepted) for outcome in outcomes] == [True, True, False, True]
    assert isinstance(outcomes[2], SubmissionError)
    assert await pool.fetchval("select count(*) from tasks") == 3


async def test_what_the_database_cannot_store_fails_alone(pool: Pool) -> None:
    bad = a_submission(a_task("bad", inputs={"text": "\x00"}), batch=None)
    outcomes = await outcomes_of(intake_of(pool), a_single("first"), a_single("good"), bad, a_single("also good"))
    assert [isinstance(outcome, Accepted) for outcome in outcomes] == [True, True, False, True]
    assert [row["name"] for row in await pool.fetch("select name from tasks order by id")] == [
        "first",
        "good",
        "also good",
    ]


async def test_key_that_is_sent_twice_at_once_makes_one_task(pool: Pool) -> None:
    same = [a_single(idempotency_key="k") for _ in range(8)]
    outcomes = await outcomes_of(intake_of(pool), *same)
    accepted = [outcome for outcome in outcomes if isinstance(outcome, Accepted)]
    assert [len({outcome.tasks for outcome in accepted}), len(accepted)] == [1, 8]
    assert sum(not outcome.replayed for outcome in accepted) == 1


async def test_key_that_two_servers_get_at_once_makes_one_task(pool: Pool) -> None:
    here, there = intake_of(pool), intake_of(pool)
    answers = await asyncio.gather(
        *(intake.submit(a_single(idempotency_key=str(key))) for key in range(20) for intake in (here, there))
    )
    assert await pool.fetchval("select count(*) from tasks") == 20
    assert all(first.tasks == second.tasks for first, second in zip(answers[::2], answers[1::2], strict=True))


async def test_limit_counts_what_is_in_the_same_group(pool: Pool) -> None:
    outcomes = await outcomes_of(intake_of(pool, default=3), *(a_single(str(number)) for number in range(6)))
    assert sum(isinstance(outcome, Accepted) for outcome in outcomes) == 3
    assert await pool.fetchval("select count(*) from tasks") == 3


async def test_drained_queue_refuses_its_own_alone(pool: Pool) -> None:
    await set_gate(pool, Gated.QUEUE, "closed", Gate.DRAINING)
    closed = a_submission(a_task("closed", queue="closed"), batch=None)
    outcomes = await outcomes_of(intake_of(pool), a_single("first"), closed, a_single("open"))
    assert [isinstance(outcome, CorralError) for outcome in outcomes] == [False, True, False]


async def test_caller_that_goes_away_takes_nothing_from_the_others(pool: Pool) -> None:
    intake = intake_of(pool)
    going = asyncio.create_task(intake.submit(a_single("gone")))
    staying = asyncio.create_task(intake.submit(a_single("stays")))
    await asyncio.sleep(0)
    going.cancel()
    with pytest.raises(asyncio.CancelledError):
        await going
    assert (await staying).tasks
