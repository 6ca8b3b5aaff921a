"""What `corral.work.Engine` promises, asked of every local engine: the real ones on real models, and doubles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from corral.engines.building import Device, build
from corral.weights.store import Store
from corral.work import Engine, EngineError, EngineUnavailableError, TaskInvalidError, Work
from doubles.lending import LoneBook
from doubles.local_engines import (
    KOKORO,
    LLAMA,
    PIPER,
    WHISPER,
    Remembering,
    a_work,
    real_models,
    running_below,
    write_silence,
)
from doubles.misbehaving_engine import misbehaving_engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """How an engine is asked for little, and for more than a test waits for."""

    little: dict[str, Any]
    endless: dict[str, Any]
    model: str | None = None
    silence_s: tuple[int, int] | None = None


CASES = {
    "misbehaving": Case(little={"how": "answer"}, endless={"how": "wait"}),
    "sleep": Case(little={"seconds": 0}, endless={"seconds": 3600}),
    "hold": Case(little={}, endless={"for_s": 3600}),
    "command": Case(little={"argv": ["true"]}, endless={"argv": ["sh", "-c", "echo corral: progress 0; sleep 3600"]}),
    "llama": Case(
        model=LLAMA,
        little={"prompt": "Hello", "max_tokens": 4, "seed": 1},
        endless={"prompt": "Count to a million.", "max_tokens": 100_000, "temperature": 5.0, "seed": 1},
    ),
    "whisper": Case(model=WHISPER, little={"beam_size": 1}, endless={"beam_size": 20}, silence_s=(1, 1200)),
    "piper": Case(model=PIPER, little={"text": "Hi"}, endless={"text": "A long story. " * 5000}),
    "kokoro": Case(model=KOKORO, little={"text": "Hi"}, endless={"text": "A long story. " * 5000}),
}


@pytest.fixture(scope="session")
def models() -> Store:
    return real_models()


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def case(name: str) -> Case:
    return CASES[name]


@pytest.fixture
async def engine(name: str, models: Store, tmp_path: Path) -> AsyncIterator[Engine]:
    logs = tmp_path / "logs"
    if name == "misbehaving":
        engine: Engine = misbehaving_engine(logs)
    else:
        engine = build(
            name,
            device=Device(name="cpu0"),
            threads=1,
            options={},
            locate=models.path,
            log_dir=logs,
            holds=LoneBook(),
        )
    yield engine
    await engine.close()
    assert running_below(logs) == []


@pytest.fixture
def work(name: str, case: Case, tmp_path: Path) -> Callable[[dict[str, Any]], Work]:
    def make(inputs: dict[str, Any]) -> Work:
        files: dict[str, Path] = {}
        if case.silence_s is not None:
            seconds = case.silence_s[inputs is case.endless]
            files["audio.wav"] = write_silence(tmp_path / f"{seconds}.wav", seconds=seconds)
        return a_work(name, tmp_path, model=case.model, files=files, **inputs)

    return make


async def under_way(engine: Engine, work: Work) -> asyncio.Task[Any]:
    report = Remembering()
    running = asyncio.create_task(engine.run(work, report))
    started = asyncio.create_task(report.under_way.wait())
    await asyncio.wait((running, started), return_when=asyncio.FIRST_COMPLETED)
    assert not running.done(), running.exception()
    return running


async def test_work_is_done_and_its_outputs_lie_in_its_folder(
    engine: Engine, case: Case, work: Callable[..., Work]
) -> None:
    asked = work(case.little)

    produced = await engine.run(asked, Remembering())

    assert all(file.path.is_file() and file.path.is_relative_to(asked.scratch) for file in produced.files)
    assert len({file.name for file in produced.files}) == len(produced.files)


async def test_cancelled_work_stops_and_the_next_is_done(engine: Engine, case: Case, work: Callable[..., Work]) -> None:
    running = await under_way(engine, work(case.endless))

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await engine.run(work(case.little), Remembering())


async def test_killed_engine_fails_its_attempt_and_does_the_next(
    engine: Engine, case: Case, work: Callable[..., Work]
) -> None:
    running = await under_way(engine, work(case.endless))

    await engine.kill()
    with pytest.raises(EngineError):
        await running

    assert await engine.resident() == ()
    await engine.run(work(case.little), Remembering())


async def test_nothing_is_resident_before_the_first_run_and_after_release(
    engine: Engine, case: Case, work: Callable[..., Work]
) -> None:
    assert await engine.resident() == ()

    await engine.run(work(case.little), Remembering())
    assert [resident.model for resident in await engine.resident()] in ([case.model], [], ["a-model"])
    assert bool(await engine.resident()) == (case.model is not None or engine.name == "misbehaving")

    await engine.release()
    assert await engine.resident() == ()


async def test_wrong_inputs_fail_the_task_and_not_the_engine(
    engine: Engine, case: Case, work: Callable[..., Work]
) -> None:
    with pytest.raises(TaskInvalidError):
        await engine.run(work({"nonsense": 1}), Remembering())

    await engine.run(work(case.little), Remembering())


async def test_closed_engine_refuses_work(engine: Engine, case: Case, work: Callable[..., Work]) -> None:
    await engine.close()

    with pytest.raises(EngineUnavailableError):
        await engine.run(work(case.little), Remembering())


async def test_engine_that_is_closed_during_work_fails_it(
    engine: Engine, case: Case, work: Callable[..., Work]
) -> None:
    running = await under_way(engine, work(case.endless))

    await engine.close()

    with pytest.raises(EngineError):
        await running


async def test_installed_engine_passes_its_check_under_its_name(engine: Engine, name: str) -> None:
    await engine.check()

    assert engine.name == name
