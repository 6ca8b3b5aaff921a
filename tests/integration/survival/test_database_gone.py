"""The database goes away for a while: running work goes on, its outcomes are written after, nothing is run twice."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from builders import a_submission, a_task
from corral.server.database import EmbeddedDatabase
from corral.tasks.dispatch_rules import Timings
from corral.tasks.lifecycle import TaskState
from corral.tasks.migrations import migrate
from corral.tasks.store import story
from corral.tasks.store.pool import open_pool
from corral.tasks.store.submitting import submit
from corral.work import Produced, Reporter, Work
from doubles.engines import ScriptedEngine
from doubles.short_folders import lend_short_folder
from doubles.yard import Yard

AN_HOUR = 3600.0
QUICK = Timings(stop_grace_s=0.2, heartbeat_s=0.1, retry_s=0.05)


class Outage:
    """A database of this test alone, which it stops and starts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._database = EmbeddedDatabase(folder)

    async def begin(self) -> str:
        return await self._database.start()

    async def end(self) -> None:
        await self._database.stop()

    def freeze(self) -> None:
        """Stop every process of it, as a hung disk does: connections stay, nothing answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        main = psutil.Process(int((self._folder / "postmaster.pid").read_text().split()[0]))
        for process in (main, *main.children()):
            with suppress(ProcessLookupError):  # a worker that had ended, which the main process buries as it goes on
                os.kill(process.pid, number)


@pytest.fixture(scope="module")
def outage() -> Iterator[Outage]:
    """One database for all tests here; each leaves it running, with tasks that have ended."""
    with lend_short_folder() as folder:
        outage = Outage(folder / "postgres")
        asyncio.run(migrate(asyncio.run(outage.begin())))
        yield outage
        asyncio.run(outage.end())


@pytest.fixture
async def far_yard(outage: Outage, tmp_path: Path) -> AsyncIterator[Yard]:
    """A dispatcher on the database that goes away."""
    url = await outage.begin()
    pool = await open_pool(url)
    yard = Yard(url, pool, tmp_path)
    yield yard
    await yard.stop()
    pool.terminate()


class MidOutage:
    """A script that ends in the middle of the outage, when the test says so."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.done = asyncio.Event()
        self.stopped = asyncio.Event()

    async def __call__(self, work: Work, report: Reporter) -> Produced:
        try:
            await self.go_on.wait()
            (work.scratch / "made.txt").write_text("made while the database was gone")
        except asyncio.CancelledError:
            self.stopped.set()
            raise
        self.done.set()
        return Produced(values={"ok": True})


async def test_outcome_of_work_that_ended_while_the_database_was_stopped_is_written_after(
    outage: Outage, far_yard: Yard
) -> None:
    script = MidOutage()
    engine = ScriptedEngine(script)
    far_yard.start(engine, timings=QUICK)
    ids = (await submit(far_yard.pool, a_submission(a_task("a"), a_task("b")), queued_limits={})).tasks
    await far_yard.until(lambda task: task.state is TaskState.RUNNING, ids[0])
    await outage.end()
    script.go_on.set()
    await asyncio.wait_for(script.done.wait(), 10)
    await outage.begin()
    tasks = await far_yard.ended(*ids)
    assert [(task.state, task.losses, task.attempts) for task in tasks] == [(TaskState.SUCCEEDED, 0, 0)] * 2
    assert [work.task for work in engine.runs] == list(ids)
    kinds = [event.kind for event in await story.read(far_yard.pool, task=ids[0])]
    assert kinds == ["submitted", "leased", "started", "succeeded"]


async def test_database_that_stands_still_for_a_while_costs_nothing_but_time(outage: Outage, far_yard: Yard) -> None:
    script = MidOutage()
    engine = ScriptedEngine(script)
    far_yard.start(engine, timings=QUICK)
    (id,) = (await submit(far_yard.pool, a_submission(), queued_limits={})).tasks
    await far_yard.until(lambda task: task.state is TaskState.RUNNING, id)
    outage.freeze()
    script.go_on.set()
    await asyncio.wait_for(script.done.wait(), 10)
    outage.thaw()
    (task,) = await far_yard.ended(id)
    assert (task.state, task.losses, len(engine.runs)) == (TaskState.SUCCEEDED, 0, 1)


async def test_attempt_whose_lease_could_not_be_renewed_has_stopped_before_the_next_one_starts(
    outage: Outage, far_yard: Yard
) -> None:
    script = MidOutage()
    engine = ScriptedEngine(script)
    timings = replace(QUICK, lease_ttl=timedelta(seconds=0.5), safety_poll_s=AN_HOUR)  # it is not what finds the task
    far_yard.start(engine, timings=timings)
    (id,) = (await submit(far_yard.pool, a_submission(), queued_limits={})).tasks
    await far_yard.until(lambda task: task.state is TaskState.RUNNING, id)
    await outage.end()
    await asyncio.wait_for(script.stopped.wait(), 10)
    script.go_on.set()
    await outage.begin()
    (task,) = await far_yard.ended(id)
    assert (task.state, task.losses, task.attempts, len(engine.runs)) == (TaskState.SUCCEEDED, 1, 0, 2)
