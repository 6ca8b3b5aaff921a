"""A task's time ends while its prompt runs on a ComfyUI instance: what happens to the prompt, the slot and the next."""

from __future__ import annotations

import pytest

from builders import a_submission, a_task
from corral.engines.comfyui.client import Timings
from corral.engines.comfyui.engine import ComfyUi
from corral.tasks.lifecycle import TaskState
from corral.tasks.store.submitting import submit
from corral.tasks.values import TaskSpec
from doubles.comfyui import ComfyDouble
from doubles.comfyui_workflows import text_to_image
from doubles.yard import Yard

QUICK = Timings(poll_s=0.05, retry_s=0.01, cancel_s=0.2, settle_s=0.1)


def an_image(name: str, *, timeout_s: float, max_attempts: int = 1) -> TaskSpec:
    inputs = {"workflow": text_to_image()}
    return a_task(name, engine="comfyui", inputs=inputs, timeout_s=timeout_s, max_attempts=max_attempts)


@pytest.mark.parametrize("modern", [False, True], ids=["old", "with-jobs"])
async def test_time_out_ends_the_prompt_however_late_the_instance_answers(yard: Yard, modern: bool) -> None:
    async with ComfyDouble(jobs=modern) as comfy:
        comfy.hold()
        comfy.faults.latency_s = 0.02
        yard.start(ComfyUi(comfy.url, timings=QUICK))
        (id,) = (await submit(yard.pool, a_submission(an_image("slow", timeout_s=2)), queued_limits={})).tasks
        (ended,) = await yard.ended(id)

        assert ended.state is TaskState.FAILED
        assert ended.error is not None
        assert ended.error.code == "attempt.timeout"
        assert (comfy.running, comfy.pending, len(comfy.executed)) == (None, [], 1)


async def test_slot_of_an_instance_whose_worker_died_is_closed_until_it_was_restarted(yard: Yard) -> None:
    async with ComfyDouble() as comfy:
        comfy.hold()
        yard.start(ComfyUi(comfy.url, timings=QUICK))
        specs = an_image("first", timeout_s=1), an_image("second", timeout_s=20)
        first, second = (await submit(yard.pool, a_submission(*specs), queued_limits={})).tasks
        await comfy.until(lambda: comfy.running is not None)
        await comfy.kill_worker()
        await yard.ended(first)

        await yard.shown(lambda slots: "does not stop it" in slots[0].engine_problems.get("comfyui", ""))
        assert len(comfy.submissions) == 1
        await comfy.restart()
        await comfy.proceed()
        (ended,) = await yard.ended(second)

        assert (ended.state, ended.losses) == (TaskState.SUCCEEDED, 0)


async def test_slot_whose_instance_cannot_be_interrupted_takes_no_task_until_its_prompt_is_gone(yard: Yard) -> None:
    async with ComfyDouble() as comfy:
        comfy.hold()
        comfy.faults.deaf = True
        yard.start(ComfyUi(comfy.url, timings=QUICK))
        specs = an_image("first", timeout_s=1), an_image("second", timeout_s=20)
        first, second = (await submit(yard.pool, a_submission(*specs), queued_limits={})).tasks
        await yard.ended(first)

        stuck = f"it still has the prompt {comfy.running} of task {first}, and does not stop it"
        await yard.shown(lambda slots: stuck in slots[0].engine_problems.get("comfyui", ""))
        assert len(comfy.submissions) == 1
        await comfy.proceed()
        (ended,) = await yard.ended(second)

        assert (ended.state, ended.losses) == (TaskState.SUCCEEDED, 0)
        assert comfy.executed == comfy.submissions
