"""A worker whose library misbehaves costs one attempt at most, and says why."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from corral.engines.local.engine import LocalEngine
from corral.work import EngineError, EngineUnavailableError, Produced, TaskInvalidError
from doubles.local_engines import Remembering, a_work, running_below
from doubles.misbehaving_engine import WORKER, misbehaving_engine


@pytest.fixture
async def engine(logs: Path) -> AsyncIterator[LocalEngine]:
    engine = misbehaving_engine(logs)
    yield engine
    await engine.close()
    assert running_below(logs) == []


async def ask(engine: LocalEngine, tmp_path: Path, how: str, report: Remembering | None = None) -> Produced:
    async with asyncio.timeout(60):  # a broken protocol shows as silence
        return await engine.run(a_work("misbehaving", tmp_path, how=how), report or Remembering())


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("crash", r"killed by SIGSEGV.*out of luck"),
        ("leave", r"exit code 7"),
        ("answer_with_nonsense", r"exit code 1.*is not JSON"),
    ],
)
async def test_death_is_one_failed_attempt_that_says_how(
    engine: LocalEngine, tmp_path: Path, how: str, said: str
) -> None:
    with pytest.raises(EngineError, match=said) as raised:
        await ask(engine, tmp_path, how)

    assert type(raised.value) is EngineError  # an attempt's failure: not the task's, not the slot's
    assert await engine.resident() == ()
    assert (await ask(engine, tmp_path, "answer")).files[0].path.read_text() == "42"


@pytest.mark.parametrize(("how", "error"), [("fail", EngineError), ("refuse", TaskInvalidError)])
async def test_error_of_the_library_leaves_the_worker_warm(
    engine: LocalEngine, tmp_path: Path, how: str, error: type[EngineError]
) -> None:
    before = (await ask(engine, tmp_path, "answer")).values["pid"]

    with pytest.raises(EngineError) as raised:
        await ask(engine, tmp_path, how)

    assert type(raised.value) is error
    assert (await ask(engine, tmp_path, "answer")).values["pid"] == before


async def test_rubbish_on_the_standard_streams_is_kept_from_the_protocol(
    engine: LocalEngine, tmp_path: Path, logs: Path
) -> None:
    produced = await ask(engine, tmp_path, "print_rubbish")

    assert produced.files[0].name == "answer.txt"
    assert sum(file.stat().st_size for file in logs.iterdir()) <= 2 * 2**20


async def test_library_that_reads_its_input_takes_none_of_the_protocol(engine: LocalEngine, tmp_path: Path) -> None:
    assert (await ask(engine, tmp_path, "read_standard_input")).files


async def test_output_outside_of_the_folder_is_refused(engine: LocalEngine, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"'link\.txt' is not a file in the attempt's folder"):
        await ask(engine, tmp_path, "reach_outside")


async def test_previews_come_at_a_bounded_rate(engine: LocalEngine, tmp_path: Path) -> None:
    report = Remembering()

    await ask(engine, tmp_path, "answer", report)

    assert 1 <= len(report.shown) < 100  # of a thousand


@pytest.mark.parametrize("how", ["ignore_cancel", "leave_a_daemon"])
async def test_worker_that_ignores_a_cancel_is_killed_with_all_it_started(
    engine: LocalEngine, tmp_path: Path, logs: Path, how: str
) -> None:
    report = Remembering()
    running = asyncio.create_task(ask(engine, tmp_path, how, report))
    await report.under_way.wait()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert running_below(logs) == []
    assert (await ask(engine, tmp_path, "answer")).files


async def test_second_cancel_does_not_save_the_worker(engine: LocalEngine, tmp_path: Path, logs: Path) -> None:
    report = Remembering()
    running = asyncio.create_task(ask(engine, tmp_path, "ignore_cancel", report))
    await report.under_way.wait()

    running.cancel()
    await asyncio.sleep(0)  # lets the first cancel arrive
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await engine.close()
    assert running_below(logs) == []


async def test_attempts_take_turns(engine: LocalEngine, tmp_path: Path) -> None:
    produced = await asyncio.gather(*(ask(engine, tmp_path, "answer") for _ in range(3)))

    assert len({result.values["pid"] for result in produced}) == 1


async def test_missing_library_names_the_command_that_mends_it(tmp_path: Path, logs: Path) -> None:
    engine = misbehaving_engine(logs, missing_library=True)

    with pytest.raises(EngineUnavailableError, match="a_library") as raised:
        await ask(engine, tmp_path, "answer")

    assert raised.value.hint == "pip install it"
    await engine.close()


async def test_worker_that_never_starts_makes_the_engine_unavailable(tmp_path: Path, logs: Path) -> None:
    engine = misbehaving_engine(logs, command=(sys.executable, "-c", "raise SystemExit('the driver is too old')"))

    with pytest.raises(EngineError, match="the driver is too old") as first:
        await ask(engine, tmp_path, "answer")
    with pytest.raises(EngineUnavailableError, match="the driver is too old"):
        await ask(engine, tmp_path, "answer")
    with pytest.raises(EngineUnavailableError):
        await engine.check()

    assert type(first.value) is EngineError
    await engine.close()


async def test_program_that_is_no_worker_is_refused(tmp_path: Path, logs: Path) -> None:
    engine = misbehaving_engine(logs, command=(sys.executable, "-c", "print('Hello'); input()"))

    with pytest.raises(EngineError, match="did not start"):
        await ask(engine, tmp_path, "answer")

    await engine.close()


async def test_program_that_is_not_there_is_unavailable(tmp_path: Path, logs: Path) -> None:
    engine = misbehaving_engine(logs, command=(str(tmp_path / "nothing"), str(WORKER)))

    with pytest.raises(EngineUnavailableError, match="cannot be started"):
        await ask(engine, tmp_path, "answer")

    await engine.close()


async def test_engine_that_is_closed_while_its_worker_starts_leaves_nothing(tmp_path: Path, logs: Path) -> None:
    engine = misbehaving_engine(logs, command=(sys.executable, "-c", "input(); input()"))
    running = asyncio.create_task(ask(engine, tmp_path, "answer"))
    await asyncio.sleep(0)  # lets it begin to make the process

    await engine.close()

    with pytest.raises(EngineError):
        await running
    assert running_below(logs) == []
