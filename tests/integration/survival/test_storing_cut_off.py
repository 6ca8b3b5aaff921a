"""Outputs are being stored when a stop or the deadline comes: it counts at once, and nothing half is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from builders import a_submission, a_task
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.attempt_run import Ended, Order, StopReason, StopSignal, run_attempt
from corral.tasks.lifecycle import TaskState
from corral.tasks.store.reading import get_tasks
from corral.tasks.store.submitting import submit
from corral.work import EngineError, OutputFile, Produced, Reporter, Work
from doubles.engines import Script, ScriptedEngine
from doubles.local_engines import a_work
from doubles.remote_reports import KeptReports
from doubles.yard import Yard

MANY = 100
BEFORE = 7
"""Files that are stored before the stop or the deadline."""
SHORT_S = 1.0
"""A time limit within which `BEFORE` files are stored on any machine."""
STEPS = 20
"""Of the event loop, within which a stop has come through."""


def write_outputs(work: Work, count: int) -> tuple[OutputFile, ...]:
    """Write files with different contents."""
    work.scratch.mkdir(parents=True, exist_ok=True)
    files = [OutputFile(name=f"{number}.txt", path=work.scratch / f"{number}.txt") for number in range(count)]
    for file in files:
        file.path.write_text(file.name)
    return tuple(files)


async def make_many(work: Work, report: Reporter) -> Produced:
    """An engine whose outputs are small and many."""
    return Produced(files=write_outputs(work, MANY))


async def fail_with_many(work: Work, report: Reporter) -> Produced:
    """An engine that fails, and leaves logs that show why."""
    raise EngineError("it broke", files=write_outputs(work, MANY))


class SlowDisk:
    """A disk on which something happens while the file after `BEFORE` others is synced."""

    def __init__(self, meanwhile: Callable[[], Awaitable[None]]) -> None:
        self._loop = asyncio.get_running_loop()
        self._meanwhile = meanwhile
        self.syncs = 0

    def __call__(self, descriptor: int) -> None:
        self.syncs += 1
        if self.syncs == BEFORE + 1:
            asyncio.run_coroutine_threadsafe(self._wait(), self._loop).result()

    async def _wait(self) -> None:
        await self._meanwhile()
        for _ in range(STEPS):
            await asyncio.sleep(0)


async def run(
    folder: Path, meanwhile: Callable[[StopSignal], Awaitable[None]], engine: ScriptedEngine, *, timeout_s: float = 60.0
) -> tuple[Ended, list[Path]]:
    """Run one attempt; return its end and the files in the store."""
    stop = StopSignal()
    store = ArtifactStore(folder / "artifacts", fsync=SlowDisk(lambda: meanwhile(stop)))
    store.prepare()
    work = a_work("sleep", folder, timeout_s=timeout_s)
    ended = await run_attempt(engine, Order(work, KeptReports(), stop, stop_grace_s=0.2), store)
    return ended, [path for path in (folder / "artifacts").rglob("*") if path.is_file()]


async def let_the_deadline_pass(stop: StopSignal) -> None:
    """Hold the disk up for as long as the whole attempt can take."""
    await asyncio.sleep(SHORT_S)


@pytest.mark.parametrize("reason", StopReason)
@pytest.mark.parametrize("script", [make_many, fail_with_many])
async def test_a_stop_ends_the_storing_with_the_file_at_hand(
    tmp_path: Path, script: Script, reason: StopReason
) -> None:
    async def stop_it(stop: StopSignal) -> None:
        stop.set(reason)

    ended, stored = await run(tmp_path, stop_it, ScriptedEngine(script))
    assert ended == Ended(stopped=reason)
    assert len(stored) == BEFORE
    assert all(path.parent.name != "incoming" for path in stored)


async def test_the_deadline_counts_while_outputs_are_stored(tmp_path: Path) -> None:
    ended, stored = await run(tmp_path, let_the_deadline_pass, ScriptedEngine(make_many), timeout_s=SHORT_S)
    assert ended.failure is not None
    assert ended.failure.problem.code == "attempt.timeout"
    assert f"only {BEFORE} of its {MANY} outputs were stored" in ended.failure.problem.what
    assert (ended.files, len(stored)) == ((), BEFORE)


async def test_an_engine_that_fails_at_its_deadline_is_reported_with_its_own_words(tmp_path: Path) -> None:
    ended, _ = await run(tmp_path, let_the_deadline_pass, ScriptedEngine(fail_with_many), timeout_s=SHORT_S)
    assert ended.failure is not None
    assert ended.failure.problem.what == "it broke"
    assert ended.files == ()


async def test_a_server_that_stops_hands_the_task_back_without_outputs(yard: Yard) -> None:
    released = asyncio.Event()

    async def release() -> None:
        dispatcher.stop()
        dispatcher.release()
        released.set()

    yard.artifacts = ArtifactStore(yard.folder / "artifacts", fsync=SlowDisk(release))
    dispatcher = yard.start(ScriptedEngine(make_many))
    (id,) = (await submit(yard.pool, a_submission(a_task()), queued_limits={})).tasks
    await released.wait()
    await yard.stop()
    (task,) = await get_tasks(yard.pool, [id])
    assert (task.state, task.attempts, task.outputs) == (TaskState.QUEUED, 0, ())
    assert list((yard.folder / "scratch").iterdir()) == []
