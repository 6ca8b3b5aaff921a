"""What the ComfyUI engine makes of prompts that are there already, and of being cancelled; over HTTP on loopback."""

import asyncio
from pathlib import Path
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web

from corral.engines.comfyui.client import Timings
from corral.engines.comfyui.engine import ComfyUi
from corral.engines.comfyui.errors import ExecutionFailedError, PromptInterruptedError
from corral.work import Produced, Work
from doubles.comfyui import ComfyDouble
from doubles.comfyui_nodes import picture
from doubles.comfyui_workflows import ComfyStranger, comfy_work, text_to_image
from doubles.remote_reports import KeptReports

QUICK = Timings(settle_s=0.2, poll_s=0.05, cancel_s=2, retry_s=0.01)
FOX = picture(seed=5, prompt="a fox", width=32, height=32)


def image_of(produced: Produced) -> bytes:
    return produced.files[0].path.read_bytes()


async def held(comfy: ComfyDouble, engine: ComfyUi, work: Work, reports: KeptReports) -> asyncio.Task[Produced]:
    """Start an attempt and return while its prompt runs."""
    comfy.hold()
    running = asyncio.create_task(engine.run(work, reports))
    await comfy.until(lambda: comfy.running == str(work.attempt))
    return running


async def test_a_success_of_a_lost_attempt_is_taken_without_running_again(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    first = comfy_work(tmp_path)
    await engine.run(first, reports)

    produced = await engine.run(comfy_work(tmp_path, earlier=(uuid4(), first.attempt)), reports)

    assert image_of(produced) == FOX
    assert produced.values["prompt_id"] == str(first.attempt)
    assert len(comfy.submissions) == 1


async def test_a_running_prompt_of_a_lost_attempt_is_waited_for_and_its_progress_heard(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    first = comfy_work(tmp_path)
    lost = await held(comfy, engine, first, KeptReports())
    successor = ComfyUi(comfy.url)
    second = asyncio.create_task(successor.run(comfy_work(tmp_path, earlier=(first.attempt,)), reports))
    await comfy.until(lambda: comfy.opened_sockets[str(first.attempt)] == 2)
    await comfy.proceed()

    assert image_of(await second) == FOX
    assert "KSampler 4/4" in reports.notes
    assert len(comfy.submissions) == 1
    await lost
    await successor.close()


async def test_a_failed_earlier_attempt_is_not_taken_for_a_result(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    first = comfy_work(tmp_path)
    comfy.faults.node_error = ("KSampler", "RuntimeError", "cosmic ray")
    with pytest.raises(ExecutionFailedError):
        await engine.run(first, reports)
    comfy.faults.node_error = None

    produced = await engine.run(comfy_work(tmp_path, earlier=(first.attempt,)), reports)

    assert image_of(produced) == FOX


async def test_cancelling_interrupts_the_running_prompt_and_returns_when_it_is_gone(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    work = comfy_work(tmp_path)
    running = await held(comfy, engine, work, reports)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert comfy.running is None
    assert comfy.history[str(work.attempt)]["status"]["status_str"] == "error"


@pytest.mark.parametrize("pending", [False, True], ids=["running", "pending"])
async def test_cancelling_works_where_jobs_are_listed_and_cannot_be_cancelled(
    reports: KeptReports, tmp_path: Path, pending: bool
) -> None:
    async with ComfyDouble(jobs=True, cancels=False) as comfy, aiohttp.ClientSession(comfy.url) as session:
        engine = ComfyUi(comfy.url, timings=QUICK)
        comfy.hold()
        if pending:
            await ComfyStranger(session).submit(text_to_image(seed=6))
        work = comfy_work(tmp_path)
        running = asyncio.create_task(engine.run(work, reports))
        await comfy.until(lambda: str(work.attempt) in [comfy.running, *comfy.pending])

        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        assert str(work.attempt) not in [comfy.running, *comfy.pending]
        await engine.close()


async def test_cancelling_a_pending_prompt_leaves_someone_elses_running_one_alone(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path, stranger: ComfyStranger
) -> None:
    comfy.hold()
    other = await stranger.submit(text_to_image())
    await comfy.until(lambda: comfy.running == other)
    work = comfy_work(tmp_path)
    running = asyncio.create_task(engine.run(work, reports))
    await comfy.until(lambda: comfy.pending == [str(work.attempt)])

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert comfy.pending == []
    assert comfy.running == other
    await comfy.proceed()
    await comfy.until(lambda: other in comfy.history)
    assert comfy.history[other]["status"]["status_str"] == "success"


async def test_an_interrupt_that_comes_too_late_does_not_hit_the_next_prompt(
    reports: KeptReports, tmp_path: Path
) -> None:
    work = comfy_work(tmp_path)

    async def let_the_next_begin(request: web.Request) -> None:
        if request.path == "/interrupt":
            comfy.before_answer = None
            await comfy.proceed()
            await comfy.until(lambda: str(work.attempt) in comfy.history)
            await comfy.until(lambda: comfy.running == other)

    async with ComfyDouble() as comfy, aiohttp.ClientSession(comfy.url) as session:
        engine = ComfyUi(comfy.url)
        running = await held(comfy, engine, work, reports)
        comfy.hold_after(str(work.attempt))
        other = await ComfyStranger(session).submit(text_to_image(seed=6))
        comfy.before_answer = let_the_next_begin
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

        assert comfy.running == other
        await comfy.proceed()
        await comfy.until(lambda: other in comfy.history)
        assert comfy.history[other]["status"]["status_str"] == "success"
        await engine.close()


async def test_cancelling_during_submission_still_ends_a_prompt_that_arrives_late(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    comfy.hold()
    comfy.faults.hold_answers = asyncio.Event()
    running = asyncio.create_task(engine.run(comfy_work(tmp_path), reports))
    await comfy.until(lambda: ("POST", "/prompt") in comfy.requests)
    asked = len(comfy.requests)
    running.cancel()
    await comfy.until(lambda: len(comfy.requests) > asked)
    comfy.faults.hold_answers.set()

    with pytest.raises(asyncio.CancelledError):
        await running

    assert (comfy.running, comfy.pending) == (None, [])


async def test_kill_ends_the_prompt_of_this_adapter(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    running = await held(comfy, engine, comfy_work(tmp_path), reports)

    await engine.kill()

    with pytest.raises(PromptInterruptedError):
        await running
    assert comfy.running is None
