"""What the ComfyUI engine makes of an instance that fails; one promise per failure, over real HTTP on loopback."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from corral.engines.comfyui.client import Timings
from corral.engines.comfyui.engine import ComfyUi
from corral.engines.comfyui.errors import (
    ExecutionFailedError,
    InstanceAnswerError,
    InstanceLacksError,
    InstanceOutOfMemoryError,
    InstanceStuckError,
    InstanceUnreachableError,
    PromptInterruptedError,
    PromptLostError,
)
from corral.work import FailureScope, Produced, Work
from doubles.comfyui import ComfyDouble
from doubles.comfyui_nodes import picture
from doubles.comfyui_workflows import ComfyStranger, comfy_work, image_to_image
from doubles.remote_reports import KeptReports

FOX = picture(seed=5, prompt="a fox", width=32, height=32)


def image_of(produced: Produced) -> bytes:
    return produced.files[0].path.read_bytes()


async def held(comfy: ComfyDouble, engine: ComfyUi, work: Work, reports: KeptReports) -> asyncio.Task[Produced]:
    """Start an attempt and return while its prompt runs."""
    comfy.hold()
    running = asyncio.create_task(engine.run(work, reports))
    await comfy.until(lambda: comfy.running == str(work.attempt))
    return running


# ---- submitting


async def test_a_prompt_whose_answer_got_lost_is_found_and_not_sent_again(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    comfy.faults.lose_answer = "kept"

    produced = await engine.run(comfy_work(tmp_path), reports)

    assert image_of(produced) == FOX
    assert len(comfy.submissions) == 1


async def test_a_prompt_that_died_with_the_instance_before_it_answered_is_sent_again(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    comfy.faults.lose_answer = "died"
    work = comfy_work(tmp_path)

    produced = await engine.run(work, reports)

    assert image_of(produced) == FOX
    assert comfy.submissions == [str(work.attempt)] * 2
    assert comfy.executed == [str(work.attempt)]


async def test_a_submission_that_is_answered_too_late_is_adopted_when_it_arrives(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    comfy.faults.hold_answers = asyncio.Event()
    running = asyncio.create_task(engine.run(comfy_work(tmp_path), reports))
    await comfy.until(lambda: ("POST", "/prompt") in comfy.requests)
    asked = len(comfy.requests)
    # The engine gave up on the answer once it asks the instance for the prompt again.
    await comfy.until(lambda: len(comfy.requests) > asked)
    comfy.faults.hold_answers.set()

    assert image_of(await running) == FOX
    assert len(comfy.submissions) == 1


async def test_an_instance_that_is_not_there_is_unavailable_at_once(reports: KeptReports, tmp_path: Path) -> None:
    async with ComfyDouble() as gone:
        url = gone.url
    engine = ComfyUi(url)

    with pytest.raises(InstanceUnreachableError) as failure:
        await engine.run(comfy_work(tmp_path), reports)
    with pytest.raises(InstanceUnreachableError):
        await engine.check()
    await engine.close()

    assert failure.value.scope is FailureScope.SLOT
    assert failure.value.where == url
    assert "start ComfyUI" in (failure.value.hint or "")


async def test_something_else_at_the_address_is_told_apart_from_comfyui(
    comfy: ComfyDouble, reports: KeptReports, tmp_path: Path
) -> None:
    engine = ComfyUi(f"{comfy.url}/nowhere")

    with pytest.raises(InstanceAnswerError) as failure:
        await engine.check()
    await engine.close()

    assert "404" in failure.value.what


async def test_a_body_that_the_instance_never_takes_is_sent_once(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    comfy.faults.refuse_submission = {"error": "too large"}
    comfy.faults.submission_status = 413

    with pytest.raises(InstanceLacksError, match="413") as failure:
        await engine.run(comfy_work(tmp_path), reports)

    assert failure.value.scope is FailureScope.HERE
    assert comfy.requests.count(("POST", "/prompt")) == 1


@pytest.mark.parametrize("status", [401, 403, 407, 429])
async def test_a_refusal_of_the_client_is_not_the_tasks_fault(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path, status: int
) -> None:
    comfy.faults.refuse_submission = {"error": "who are you"}
    comfy.faults.submission_status = status

    with pytest.raises(InstanceAnswerError) as failure:
        await engine.run(comfy_work(tmp_path), reports)

    assert failure.value.scope is FailureScope.SLOT


async def test_a_file_over_the_instances_limit_is_refused_before_it_is_sent(
    reports: KeptReports, tmp_path: Path
) -> None:
    async with ComfyDouble(max_upload_size=4096) as comfy:
        engine = ComfyUi(comfy.url)
        file = tmp_path / "upload"
        file.write_bytes(bytes(4096))
        work = comfy_work(tmp_path, inputs={"workflow": image_to_image()}, files={"portrait.png": file})

        with pytest.raises(InstanceLacksError, match=r"'portrait.png' has 5.0 KiB, and the instance takes 4.0 KiB"):
            await engine.run(work, reports)

        assert ("POST", "/upload/image") not in comfy.requests
        await engine.close()


# ---- while it runs


async def test_losing_the_socket_loses_neither_the_job_nor_later_progress(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    work = comfy_work(tmp_path)
    running = await held(comfy, engine, work, reports)
    await comfy.drop_sockets()
    await comfy.until(lambda: str(work.attempt) in comfy.sockets)
    await comfy.proceed()

    assert image_of(await running) == FOX
    assert reports.previews
    assert len(comfy.submissions) == 1


async def test_without_any_socket_the_job_is_still_finished(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    comfy.faults.refuse_sockets = True

    assert image_of(await engine.run(comfy_work(tmp_path), reports)) == FOX


async def test_a_restart_with_an_empty_history_is_told_as_a_lost_prompt(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    running = await held(comfy, engine, comfy_work(tmp_path), reports)
    await comfy.restart()

    with pytest.raises(PromptLostError, match="restarted") as failure:
        await running

    assert failure.value.scope is FailureScope.ATTEMPT
    assert failure.value.where == comfy.url


async def test_a_prompt_that_ends_between_two_questions_is_not_taken_for_lost(
    reports: KeptReports, tmp_path: Path
) -> None:
    work = comfy_work(tmp_path)

    async def end_it(request: web.Request) -> None:
        if request.path == "/queue" and comfy.running is not None:
            await comfy.proceed()
            await comfy.until(lambda: str(work.attempt) in comfy.history)

    async with ComfyDouble() as comfy:
        engine = ComfyUi(comfy.url, timings=Timings(poll_s=0.05, retry_s=0.01))
        running = await held(comfy, engine, work, reports)
        comfy.before_answer = end_it
        await comfy.drop_sockets()

        assert image_of(await running) == FOX
        await engine.close()


@pytest.mark.parametrize("modern_first", [True, False])
async def test_an_instance_that_comes_back_as_another_version_is_asked_in_its_own_way(
    reports: KeptReports, tmp_path: Path, modern_first: bool
) -> None:
    async with ComfyDouble(jobs=modern_first) as comfy:
        engine = ComfyUi(comfy.url)
        await engine.run(comfy_work(tmp_path), reports)
        comfy.jobs = not modern_first
        await comfy.restart()
        comfy.requests.clear()

        assert (await engine.run(comfy_work(tmp_path), reports)).files
        await engine.close()

        assert ("GET", "/queue") in comfy.requests or not modern_first


async def test_an_instance_that_stays_away_makes_its_slot_unavailable(
    comfy: ComfyDouble, reports: KeptReports, tmp_path: Path, quick_to_give_up: ComfyUi
) -> None:
    running = await held(comfy, quick_to_give_up, comfy_work(tmp_path), reports)
    await comfy.die()

    with pytest.raises(InstanceUnreachableError) as failure:
        await running

    assert failure.value.scope is FailureScope.SLOT


async def test_a_prompt_that_cannot_be_interrupted_is_not_waited_for_for_ever(
    comfy: ComfyDouble, reports: KeptReports, tmp_path: Path
) -> None:
    comfy.faults.deaf = True
    engine = ComfyUi(comfy.url, timings=Timings(cancel_s=0.2, poll_s=0.05, retry_s=0.01))
    work = comfy_work(tmp_path)
    running = await held(comfy, engine, work, reports)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert comfy.running == str(work.attempt)
    with pytest.raises(InstanceStuckError, match=f"{work.attempt} of task {work.task}"):
        await engine.check()
    comfy.faults.deaf = False
    await comfy.proceed()
    await comfy.until(lambda: comfy.running is None)
    await engine.check()
    await engine.close()


async def test_a_second_cancel_does_not_end_the_cleaning_up(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    running = await held(comfy, engine, comfy_work(tmp_path), reports)
    comfy.faults.latency_s = 0.02
    asked = len(comfy.requests)

    running.cancel()
    await comfy.until(lambda: len(comfy.requests) > asked)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await comfy.until(lambda: comfy.running is None and not comfy.pending)


async def test_a_prompt_left_on_an_instance_that_was_away_is_ended_when_it_is_back(
    comfy: ComfyDouble, reports: KeptReports, tmp_path: Path, quick_to_give_up: ComfyUi
) -> None:
    running = await held(comfy, quick_to_give_up, comfy_work(tmp_path), reports)
    comfy.faults.silent = True
    with pytest.raises(InstanceUnreachableError):
        await running
    comfy.faults.silent = False

    await quick_to_give_up.check()

    assert comfy.running is None


async def test_an_instance_that_stops_answering_is_unavailable(
    comfy: ComfyDouble, reports: KeptReports, quick_to_give_up: ComfyUi
) -> None:
    comfy.faults.silent = True

    with pytest.raises(InstanceUnreachableError, match="no answer in time"):
        await quick_to_give_up.check()


async def test_an_error_of_a_node_names_the_node(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path
) -> None:
    comfy.faults.node_error = ("VAEDecode", "RuntimeError", "Given groups=1, weight of size\n[512]")

    with pytest.raises(ExecutionFailedError) as failure:
        await engine.run(comfy_work(tmp_path), reports)

    assert failure.value.scope is FailureScope.ATTEMPT
    assert failure.value.what == "RuntimeError: Given groups=1, weight of size [512]"
    assert failure.value.where == f"{comfy.url} node 8 (VAEDecode)"


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("torch.OutOfMemoryError", "no words"),
        ("RuntimeError", "Allocation on device 0 would exceed allowed memory."),
        ("torch.cuda.OutOfMemoryError", "CUDA out of memory. Tried to allocate 2.00 GiB"),
        ("RuntimeError", "CUDA error: out of memory"),
    ],
)
async def test_running_out_of_memory_is_told_apart(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path, kind: str, message: str
) -> None:
    comfy.faults.node_error = ("KSampler", kind, message)

    with pytest.raises(InstanceOutOfMemoryError, match="ran out of memory") as failure:
        await engine.run(comfy_work(tmp_path), reports)

    assert failure.value.scope is FailureScope.ATTEMPT


async def test_an_interrupt_by_someone_else_is_told_as_such(
    comfy: ComfyDouble, engine: ComfyUi, reports: KeptReports, tmp_path: Path, stranger: ComfyStranger
) -> None:
    running = await held(comfy, engine, comfy_work(tmp_path), reports)
    await stranger.interrupt()

    with pytest.raises(PromptInterruptedError):
        await running
