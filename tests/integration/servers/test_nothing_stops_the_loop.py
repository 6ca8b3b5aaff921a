"""One engine, one result, one statement of the database: none of them stops the queue for everybody."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from builders import a_submission, a_task
from corral.tasks.dispatch_rules import Timings
from corral.tasks.lifecycle import TERMINAL, TaskState
from corral.tasks.store.submitting import submit
from corral.work import EngineError, OutputFile, Produced, Reporter, Work
from doubles.engines import ScriptedEngine, succeed

if TYPE_CHECKING:
    from conftest import Servers

UNSTORABLE = {
    "nul": "a\x00b",
    "surrogate": "a\ud800b",
    "not a number": float("nan"),
    "infinite": float("inf"),
    "deep": [{"key\x00": "x"}],
}


@pytest.mark.parametrize("value", UNSTORABLE.values(), ids=UNSTORABLE)
async def test_result_that_the_database_cannot_hold_concerns_its_task_alone(servers: Servers, value: Any) -> None:
    async def answer(work: Work, report: Reporter) -> Produced:
        return Produced(values={"text": value} if len(engine.runs) == 1 else {})

    engine = ScriptedEngine(answer)
    servers.start("node", engine)
    (odd,) = (await submit(servers.pool, a_submission(a_task(max_attempts=1)), queued_limits={})).tasks
    await asyncio.wait_for(engine.started.wait(), 10)
    (next_one,) = (await submit(servers.pool, a_submission(), queued_limits={})).tasks
    await servers.ended(odd, next_one)


@pytest.mark.parametrize("words", ["a\x00b", "a\ud800b"])
async def test_error_that_the_database_cannot_hold_concerns_its_task_alone(servers: Servers, words: str) -> None:
    async def fail(work: Work, report: Reporter) -> Produced:
        raise EngineError(words, where=words, hint=words)

    servers.start("node", ScriptedEngine(fail))
    (odd,) = (await submit(servers.pool, a_submission(a_task(max_attempts=1)), queued_limits={})).tasks
    (task,) = await servers.ended(odd)
    assert task.error is not None
    assert task.error.what == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize("name", ["a\udc80.txt", "a\udcffb"])
async def test_output_name_that_the_database_cannot_hold_concerns_its_task_alone(servers: Servers, name: str) -> None:
    async def write(work: Work, report: Reporter) -> Produced:
        (work.scratch / name).write_text("x")
        return Produced(files=(OutputFile(name=name, path=work.scratch / name),))

    servers.start("node", ScriptedEngine(write))
    (odd,) = (await submit(servers.pool, a_submission(a_task(max_attempts=1)), queued_limits={})).tasks
    (task,) = await servers.ended(odd)
    assert task.state is TaskState.FAILED


async def test_engine_that_cancels_itself_gives_its_slot_back(servers: Servers) -> None:
    async def vanish(work: Work, report: Reporter) -> Produced:
        if len(engine.runs) == 1:
            raise asyncio.CancelledError
        return await succeed(work, report)

    engine = ScriptedEngine(vanish)
    servers.start("node", engine)
    (id,) = (await submit(servers.pool, a_submission(), queued_limits={})).tasks
    (task,) = await servers.ended(id)
    assert task.state is TaskState.SUCCEEDED


class _Rude(ScriptedEngine):
    """Stands for an engine whose library raises what the protocol does not name."""

    async def check(self) -> None:
        raise RuntimeError("a bug in the engine's check")

    async def resident(self) -> Any:  # it raises
        raise RuntimeError("a bug in the engine's report")

    async def close(self) -> None:
        raise RuntimeError("a bug in the engine's end")


async def test_engine_with_a_bug_in_its_check_stops_nobody_else(servers: Servers) -> None:
    servers.start("node", _Rude(), ScriptedEngine())
    (id,) = (await submit(servers.pool, a_submission(), queued_limits={})).tasks
    await servers.ended(id)


class _Silent(ScriptedEngine):
    """Stands for an engine that works, and whose report of its memory is broken."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def resident(self) -> Any:  # it raises
        if self.runs:
            self.asked.set()
            raise RuntimeError("a bug in the engine's report")
        return ()


async def test_engine_with_a_bug_in_its_report_keeps_its_outcome(servers: Servers) -> None:
    servers.start("node", _Silent())
    (id,) = (await submit(servers.pool, a_submission(a_task(model="m")), queued_limits={})).tasks
    (task,) = await servers.ended(id)
    assert task.state is TaskState.SUCCEEDED


async def test_engine_whose_end_fails_does_not_keep_others_from_being_closed(servers: Servers) -> None:
    closed = asyncio.Event()

    class Slow(ScriptedEngine):
        async def close(self) -> None:
            await asyncio.to_thread(lambda: None)
            closed.set()

    dispatcher, _ = servers.start("node", _Rude(), Slow())
    (id,) = (await submit(servers.pool, a_submission(), queued_limits={})).tasks
    await servers.ended(id)
    dispatcher.stop()
    await asyncio.wait({servers.running[0][1]}, timeout=5)
    assert closed.is_set()


@pytest.mark.parametrize("code", ["53100", "40P01"], ids=["disk full", "deadlock"])
async def test_heartbeat_that_the_database_refuses_ends_nothing(servers: Servers, code: str) -> None:
    finish = asyncio.Event()

    async def wait(work: Work, report: Reporter) -> Produced:
        await finish.wait()
        return Produced()

    await servers.pool.execute(
        f"""
        create sequence refusals;
        create function refuse() returns trigger language plpgsql as
          $$ begin perform nextval('refusals'); raise exception 'refused' using errcode = '{code}'; end $$;
        create trigger no_renewal before update on tasks for each row
          when (old.lease = new.lease and old.state = 'running' and old.lease_until <> new.lease_until)
          execute function refuse();
        """
    )
    engine = ScriptedEngine(wait)
    servers.start("node", engine, timings=Timings(heartbeat_s=0.05, stop_grace_s=0.2))
    (id,) = (await submit(servers.pool, a_submission(), queued_limits={})).tasks
    await servers.until(lambda task: task.state is TaskState.RUNNING, id)
    async with asyncio.timeout(5):
        while await servers.pool.fetchval("select last_value from refusals") < 3:  # noqa: ASYNC110 (it is remote)
            await asyncio.sleep(0)
    finish.set()
    (task,) = await servers.until(lambda task: task.state in TERMINAL, id)
    assert (task.state, task.losses) == (TaskState.SUCCEEDED, 0)
