"""When another server leads, or nobody does for a moment, no outcome and no cancel request is lost."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import asyncpg

from builders import a_submission, a_task
from corral.tasks.board import Board
from corral.tasks.dispatch_rules import Timings
from corral.tasks.lifecycle import CancelRequested, TaskState
from corral.tasks.store.leading import LOCK
from corral.tasks.store.submitting import submit
from corral.tasks.store.transitions import TaskChange, apply
from corral.work import Produced, Reporter, Work
from doubles.engines import ScriptedEngine

if TYPE_CHECKING:
    from conftest import Servers


class _Held(ScriptedEngine):
    """Stands for an engine with long work: a run ends when the test says so."""

    def __init__(self) -> None:
        super().__init__(self._wait)
        self.finish = asyncio.Event()

    async def _wait(self, work: Work, report: Reporter) -> Produced:
        await self.finish.wait()
        return Produced()


async def _depose(servers: Servers, board: Board) -> asyncpg.Connection:
    """Take the lead away from whoever has it, as a lost connection does, and hold it."""
    rival = await asyncpg.connect(servers.url)
    await rival.execute(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = $1 and granted", LOCK
    )
    await rival.fetchval("select pg_advisory_lock($1)", LOCK)
    while board.leading:
        await asyncio.wait_for(board.wait_for_change(), 5)
    return rival


async def test_outcome_of_a_server_that_leads_no_more_is_written(servers: Servers) -> None:
    engine = _Held()
    _, board = servers.start("first", engine)
    (id,) = (await submit(servers.pool, a_submission(), queued_limits={})).tasks
    await servers.until(lambda task: task.state is TaskState.RUNNING, id)
    rival = await _depose(servers, board)
    engine.finish.set()
    (task,) = await servers.ended(id)
    assert (task.state, task.losses) == (TaskState.SUCCEEDED, 0)
    await rival.close()


async def test_server_that_leads_no_more_stops_when_its_work_is_done(servers: Servers) -> None:
    engine = _Held()
    dispatcher, board = servers.start("first", engine)
    (id,) = (await submit(servers.pool, a_submission(), queued_limits={})).tasks
    await servers.until(lambda task: task.state is TaskState.RUNNING, id)
    rival = await _depose(servers, board)
    dispatcher.stop()
    engine.finish.set()
    ended, _ = await asyncio.wait({servers.running[0][1]}, timeout=5)
    assert ended
    await rival.close()


async def test_cancel_request_that_came_while_nobody_led_stops_the_attempt(servers: Servers) -> None:
    engine = _Held()
    _, board = servers.start("first", engine)
    (id,) = (await submit(servers.pool, a_submission(), queued_limits={})).tasks
    await servers.until(lambda task: task.state is TaskState.RUNNING, id)
    rival = await _depose(servers, board)
    await apply(servers.pool, [TaskChange(task=id, event=CancelRequested())])
    await rival.close()
    (task,) = await servers.ended(id)
    assert task.state is TaskState.CANCELLED


async def test_attempt_that_starts_after_the_release_is_released_too(servers: Servers) -> None:
    engine = _Held()
    dispatcher, board = servers.start("first", engine)
    await asyncio.wait_for(_shown(board), 5)
    lock = await asyncpg.connect(servers.url)
    held = lock.transaction()
    await held.start()
    await lock.execute("lock table slot_leases in exclusive mode")
    (id,) = (await submit(servers.pool, a_submission(a_task()), queued_limits={})).tasks
    async with asyncio.timeout(5):
        while not await servers.pool.fetchval("select true from pg_locks where not granted limit 1"):  # noqa: ASYNC110 (it is remote)
            await asyncio.sleep(0)
    dispatcher.stop()
    dispatcher.release()
    await held.rollback()
    await lock.close()
    ended, _ = await asyncio.wait({servers.running[0][1]}, timeout=5)
    assert ended
    (task,) = await servers.until(lambda task: True, id)
    assert (task.state, task.losses) == (TaskState.QUEUED, 0)


async def _shown(board: Board) -> None:
    while not board.leading or not all(place.facts.engines for place in board.places):
        await board.wait_for_change()


async def test_task_whose_need_was_met_early_starts_at_its_time_without_a_poll(servers: Servers) -> None:
    servers.start("first", ScriptedEngine(), timings=Timings(safety_poll_s=3600))
    later = datetime.now(UTC) + timedelta(seconds=1)
    batch = a_submission(a_task("a"), a_task("b", needs=("a",), not_before=later))
    _, second = await servers.ended(*(await submit(servers.pool, batch, queued_limits={})).tasks)
    assert second.state is TaskState.SUCCEEDED
