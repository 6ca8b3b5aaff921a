"""Clocks jump: the database's, which leases and start times are compared with, and this machine's.

The database's clock cannot be moved, so its rows are: a lease that ran out an hour ago is what a clock that jumped an
hour ahead shows. The monotonic clock does not jump, but a machine that slept or stood still looks as if it did; it is
handed to the dispatcher.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from builders import a_submission, a_task
from corral.tasks.dispatch_rules import Timings
from corral.tasks.lifecycle import TaskState
from corral.tasks.store import story
from corral.tasks.store.submitting import submit
from corral.work import Produced, Reporter, Work
from doubles.engines import ScriptedEngine
from doubles.yard import Yard

pytestmark = pytest.mark.alone

WATCHFUL = Timings(stop_grace_s=0.2, safety_poll_s=0.05, heartbeat_s=0.05)
HOUR = timedelta(hours=1)


class Gate:
    """A script that ends when the test opens it."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def __call__(self, work: Work, report: Reporter) -> Produced:
        await self.open.wait()
        return Produced(values={"ok": True})


async def test_running_attempt_whose_lease_the_clock_ran_past_is_not_run_twice(yard: Yard) -> None:
    gate = Gate()
    engine, other = ScriptedEngine(gate), ScriptedEngine()
    yard.start(engine, other, timings=WATCHFUL)
    (id,) = (await submit(yard.pool, a_submission(), queued_limits={})).tasks
    await asyncio.wait_for(engine.started.wait(), 10)
    moved = "update tasks set lease_until = lease_until - interval '1 day' where id = $1"
    await yard.pool.execute(moved, id)
    async with asyncio.timeout(10):  # the next heartbeat renews it by the clock that there is now
        while not await yard.pool.fetchval("select lease_until > now() from tasks where id = $1", id):  # noqa: ASYNC110
            await asyncio.sleep(0.01)  # renewing leaves no line in the story to wait for
    gate.open.set()
    (task,) = await yard.ended(id)
    assert (task.state, task.losses, len(engine.runs) + len(other.runs)) == (TaskState.SUCCEEDED, 0, 1)


async def test_start_time_that_a_jump_brought_about_is_noticed(yard: Yard) -> None:
    yard.start(ScriptedEngine(), timings=WATCHFUL)
    far = datetime.now(UTC) + HOUR
    (id,) = (await submit(yard.pool, a_submission(a_task(not_before=far)), queued_limits={})).tasks
    await yard.pool.execute("update tasks set not_before = now() where id = $1", id)
    (task,) = await yard.ended(id)
    assert task.state is TaskState.SUCCEEDED


async def test_task_whose_timer_is_set_starts_at_the_next_poll_when_the_clock_jumped_ahead(yard: Yard) -> None:
    yard.start(ScriptedEngine(), timings=WATCHFUL)
    far = datetime.now(UTC) + HOUR
    (id,) = (await submit(yard.pool, a_submission(a_task(not_before=far)), queued_limits={})).tasks
    await yard.ended(*(await submit(yard.pool, a_submission(a_task("after")), queued_limits={})).tasks)
    await yard.pool.execute("update tasks set not_before = now() where id = $1", id)
    (task,) = await yard.ended(id)
    assert task.state is TaskState.SUCCEEDED


async def test_task_does_not_start_early_when_the_clock_jumped_back_under_its_timer(yard: Yard) -> None:
    yard.start(ScriptedEngine(), timings=WATCHFUL)
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    (id,) = (await submit(yard.pool, a_submission(a_task(not_before=soon)), queued_limits={})).tasks
    later = await yard.pool.fetchval(
        "update tasks set not_before = now() + interval '1 second' where id = $1 returning not_before", id
    )
    (task,) = await yard.ended(id)
    assert task.started_at is not None
    assert task.started_at >= later


async def test_machine_that_stood_still_starts_nothing_early_and_loses_nothing(yard: Yard) -> None:
    ahead = 0.0
    gate = Gate()
    engine, other = ScriptedEngine(gate), ScriptedEngine()
    yard.start(engine, other, timings=WATCHFUL, monotonic=lambda: time.monotonic() + ahead)
    (running,) = (await submit(yard.pool, a_submission(), queued_limits={})).tasks
    await asyncio.wait_for(engine.started.wait(), 10)
    far = datetime.now(UTC) + HOUR
    (waiting,) = (await submit(yard.pool, a_submission(a_task(not_before=far)), queued_limits={})).tasks
    ahead = 2 * HOUR.total_seconds()
    (woken,) = (await submit(yard.pool, a_submission(a_task("after")), queued_limits={})).tasks
    await yard.ended(woken)
    gate.open.set()
    (task,) = await yard.ended(running)
    assert (task.state, task.losses, len(engine.runs)) == (TaskState.SUCCEEDED, 0, 1)
    assert [event.kind for event in await story.read(yard.pool, task=waiting)] == ["submitted"]
