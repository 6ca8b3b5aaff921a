"""Two ComfyUI instances on two slots share a batch of images, and one of them dies half-way."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import doubles.comfyui
from builders import a_submission, a_task
from corral.engines.comfyui.client import Timings
from corral.engines.comfyui.engine import ComfyUi
from corral.tasks.lifecycle import TaskState
from corral.tasks.store import story
from corral.tasks.store.submitting import submit
from corral.work import SlotId
from doubles.comfyui_nodes import picture
from doubles.comfyui_workflows import text_to_image
from doubles.yard import Yard

PROGRAM = Path(str(doubles.comfyui.__file__))
IMAGES = 40
SECONDS_PER_IMAGE = 0.05
QUICK = Timings(poll_s=0.1, retry_s=0.02, reconnect_s=0.5, check_s=0.5)
"""A dead instance is given up after half a second."""


class Instance:
    """The double as a program, which a test kills."""

    def __init__(self, process: asyncio.subprocess.Process, url: str) -> None:
        self.process = process
        self.url = url

    @classmethod
    async def start(cls, port: int = 0) -> Instance:
        arguments = ("--port", str(port), "--seconds-per-image", str(SECONDS_PER_IMAGE))
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), *arguments, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        return cls(process, (await process.stdout.readline()).decode().split()[-1])

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


@pytest.fixture
async def pair() -> AsyncIterator[list[Instance]]:
    instances = [await Instance.start(), await Instance.start()]
    yield instances
    for instance in instances:
        await instance.kill()


def image_tasks() -> list[tuple[int, str]]:
    """A seed and a prompt for each image."""
    return [(1000 + index, f"a fox, number {index}") for index in range(IMAGES)]


@pytest.mark.parametrize("comes_back", [False, True], ids=["stays-dead", "comes-back-empty"])
async def test_no_image_is_lost_or_drawn_into_two_tasks_when_one_instance_dies(
    yard: Yard, pair: list[Instance], comes_back: bool
) -> None:
    yard.start(*(ComfyUi(instance.url, timings=QUICK) for instance in pair))
    wanted = image_tasks()
    specs = [
        a_task(
            f"image-{seed}",
            engine="comfyui",
            inputs={"workflow": text_to_image(), "seed": seed, "prompt": prompt, "width": 32, "height": 32},
        )
        for seed, prompt in wanted
    ]
    ids = (await submit(yard.pool, a_submission(*specs), queued_limits={})).tasks

    await yard.until_some(lambda task: task.state is TaskState.SUCCEEDED, IMAGES // 2, *ids)
    await yard.until_some(
        lambda task: task.state is TaskState.RUNNING and task.slots == (SlotId("node/cpu0/comfyui"),), 1, *ids
    )
    await pair[0].kill()
    if comes_back:
        pair.append(await Instance.start(pair[0].port))
    tasks = await yard.ended(*ids)

    assert [task.state for task in tasks] == [TaskState.SUCCEEDED] * IMAGES
    drawn = [
        hashlib.sha256(picture(seed=seed, prompt=prompt, width=32, height=32)).hexdigest() for seed, prompt in wanted
    ]
    assert [[output.sha256 for output in task.outputs] for task in tasks] == [[sum] for sum in drawn]
    assert all(yard.artifacts.verify(output.sha256) for task in tasks for output in task.outputs)
    stories = [await story.read(yard.pool, task=id) for id in ids]
    assert [sum(event.kind == "succeeded" for event in events) for events in stories] == [1] * IMAGES
    assert sum(event.kind == "attempt_failed" for events in stories for event in events) >= 1
    slots = [event.data["slots"][0] for events in stories for event in events if event.kind == "leased"]
    assert set(slots) == {"node/cpu0/comfyui", "node/cpu1/comfyui"}, "both had a share"
