"""ComfyUI instances that do not have the same nodes and models: a task goes to one that has what it needs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from builders import a_submission, a_task
from corral.engines.comfyui.engine import ComfyUi
from corral.tasks.lifecycle import TaskState
from corral.tasks.store import story
from corral.tasks.store.submitting import submit
from corral.tasks.values import TaskSpec
from doubles.comfyui import ComfyDouble
from doubles.comfyui_workflows import text_to_image
from doubles.yard import Yard

MODEL = "sd_xl_base_1.0.safetensors"


@pytest.fixture
async def instances() -> AsyncIterator[list[ComfyDouble]]:
    """Three instances, two old ones and a new one."""
    async with ComfyDouble() as first, ComfyDouble(jobs=True) as second, ComfyDouble() as third:
        yield [first, second, third]


def an_image() -> TaskSpec:
    return a_task(engine="comfyui", inputs={"workflow": text_to_image()})


@pytest.mark.parametrize("lacking", ["KSampler", MODEL], ids=["node", "model"])
async def test_task_goes_on_until_an_instance_has_what_it_needs(
    yard: Yard, instances: list[ComfyDouble], lacking: str
) -> None:
    for instance in instances[:2]:
        instance.faults.lacks = frozenset({lacking})
    yard.start(*(ComfyUi(instance.url) for instance in instances))
    (id,) = (await submit(yard.pool, a_submission(an_image()), queued_limits={})).tasks
    (ended,) = await yard.ended(id)

    assert (ended.state, ended.attempts, ended.losses) == (TaskState.SUCCEEDED, 0, 0)
    assert ended.slots == ("node/cpu2/comfyui",)
    refused = [event for event in await story.read(yard.pool, task=id) if event.kind == "attempt_failed"]
    assert len(refused) <= 2
    assert all(lacking in event.data["error"]["what"] or lacking == MODEL for event in refused)
    assert not any(place.facts.engine_problems for place in yard.board.places), "the slots are sound"


async def test_task_fails_when_each_instance_was_asked_once(yard: Yard, instances: list[ComfyDouble]) -> None:
    for instance in instances:
        instance.faults.lacks = frozenset({MODEL})
    yard.start(*(ComfyUi(instance.url) for instance in instances))
    (id,) = (await submit(yard.pool, a_submission(an_image()), queued_limits={})).tasks
    (ended,) = await yard.ended(id)

    assert (ended.state, ended.attempts) == (TaskState.FAILED, 1)
    assert ended.error is not None
    assert ended.error.code == "comfyui.value_not_in_list"
    asked = [instance.requests.count(("POST", "/prompt")) for instance in instances]
    assert asked == [1, 1, 1]
