"""What `corral.work.Engine` promises, asked of the engines that are reached by URL, on doubles of their servers.

The suite of the local engines expects that a killed engine has lost its models. A server elsewhere is not killed with
its attempt, and goes on holding them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from corral.engines.building import build_remote
from corral.work import Engine, EngineError, EngineUnavailableError, TaskInvalidError, Work
from doubles.comfyui import ComfyDouble
from doubles.comfyui_workflows import text_to_image
from doubles.ollama import OllamaDouble
from doubles.openai_server import OpenAiDouble
from doubles.remote_reports import KeptReports

Double = ComfyDouble | OllamaDouble | OpenAiDouble
INPUTS: dict[str, dict[str, Any]] = {
    "comfyui": {"workflow": text_to_image()},
    "ollama": {"prompt": "one two three"},
    "openai": {"prompt": "one two three"},
}
MODELS = {"comfyui": None, "ollama": "smol:latest", "openai": "tiny"}
RESIDENT = {"comfyui": "sd_xl_base_1.0.safetensors", "ollama": "smol:latest", "openai": "tiny"}
DOUBLES: dict[str, Callable[[], Double]] = {
    "comfyui": ComfyDouble,
    "ollama": OllamaDouble,
    "openai": lambda: OpenAiDouble(model_names={"tiny": {}}, loaded=[]),
}


@pytest.fixture(params=INPUTS)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def double(name: str) -> AsyncIterator[Double]:
    async with DOUBLES[name]() as double:
        yield double


@pytest.fixture
async def engine(name: str, double: Double) -> AsyncIterator[Engine]:
    engine = build_remote(name, url=double.url, options={})
    yield engine
    await engine.close()


@pytest.fixture
def work(name: str, tmp_path: Path) -> Callable[..., Work]:
    def make(inputs: dict[str, Any] | None = None) -> Work:
        scratch = tmp_path / str(uuid4())
        scratch.mkdir()
        return Work(
            attempt=uuid4(),
            task=1,
            engine=name,
            model=MODELS[name],
            inputs=INPUTS[name] if inputs is None else inputs,
            scratch=scratch,
            timeout_s=60,
        )

    return make


def busy(double: Double) -> bool:
    return double.running is not None if isinstance(double, ComfyDouble) else double.writing > 0


async def under_way(engine: Engine, work: Work, double: Double) -> asyncio.Task[Any]:
    double.hold()
    running = asyncio.create_task(engine.run(work, KeptReports()))
    await double.until(lambda: busy(double))
    return running


async def test_work_is_done_and_its_outputs_lie_in_its_folder(engine: Engine, work: Callable[..., Work]) -> None:
    asked = work()

    produced = await engine.run(asked, KeptReports())

    assert produced.files
    assert all(file.path.is_file() and file.path.parent == asked.scratch for file in produced.files)


async def test_cancelled_work_stops_and_the_next_is_done(
    engine: Engine, work: Callable[..., Work], double: Double
) -> None:
    running = await under_way(engine, work(), double)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await double.until(lambda: not busy(double))
    await double.proceed()
    await engine.run(work(), KeptReports())


async def test_killed_engine_fails_its_attempt_and_does_the_next(
    engine: Engine, work: Callable[..., Work], double: Double
) -> None:
    running = await under_way(engine, work(), double)

    await engine.kill()
    with pytest.raises(EngineError):
        await running

    await double.until(lambda: not busy(double))
    await double.proceed()
    await engine.run(work(), KeptReports())


async def test_nothing_is_resident_before_the_first_run_and_after_release(
    engine: Engine, name: str, work: Callable[..., Work]
) -> None:
    assert await engine.resident() == ()

    await engine.run(work(), KeptReports())
    assert [resident.model for resident in await engine.resident()] == [RESIDENT[name]]

    await engine.release()
    assert await engine.resident() == ()


async def test_wrong_inputs_fail_the_task_and_not_the_engine(engine: Engine, work: Callable[..., Work]) -> None:
    with pytest.raises(TaskInvalidError) as failure:
        await engine.run(work({"nonsense": 1}), KeptReports())
    assert len(failure.value.problems) > 1

    await engine.run(work(), KeptReports())


async def test_closed_engine_refuses_work(engine: Engine, work: Callable[..., Work]) -> None:
    await engine.run(work(), KeptReports())
    await engine.close()

    with pytest.raises(EngineUnavailableError, match="closed"):
        await engine.run(work(), KeptReports())
    with pytest.raises(EngineUnavailableError, match="closed"):
        await engine.check()


async def test_engine_that_is_closed_during_work_fails_it_and_leaves_nothing_running(
    engine: Engine, work: Callable[..., Work], double: Double
) -> None:
    running = await under_way(engine, work(), double)

    await engine.close()

    with pytest.raises(EngineError):
        await running
    await double.until(lambda: not busy(double))


async def test_reachable_engine_passes_its_check_under_its_name(engine: Engine, name: str) -> None:
    await engine.check()

    assert engine.name == name
