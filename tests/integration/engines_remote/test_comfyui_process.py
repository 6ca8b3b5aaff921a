"""The ComfyUI engine against an instance in a process of its own, which is killed for good."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import doubles.comfyui
from corral.engines.comfyui.client import Timings
from corral.engines.comfyui.engine import ComfyUi
from corral.engines.comfyui.errors import PromptLostError
from doubles.comfyui_nodes import picture
from doubles.comfyui_workflows import comfy_work
from doubles.remote_reports import KeptReports

PROGRAM = Path(str(doubles.comfyui.__file__))
AN_HOUR = 3600
"""Seconds per image of an instance that must not finish before it is killed."""


class ComfyProcess:
    """The double as a program, on one port for all its lives."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self.url = ""

    async def start(self, seconds_per_image: float) -> None:
        port = self.url.rpartition(":")[2] or "0"
        arguments = (str(PROGRAM), "--port", port, "--seconds-per-image", str(seconds_per_image))
        self._process = await asyncio.create_subprocess_exec(sys.executable, *arguments, stdout=asyncio.subprocess.PIPE)
        assert self._process.stdout is not None
        self.url = (await self._process.stdout.readline()).decode().split()[-1]

    async def kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()


@pytest.fixture
async def process() -> AsyncIterator[ComfyProcess]:
    process = ComfyProcess()
    yield process
    await process.kill()


async def test_an_instance_killed_in_mid_image_loses_the_attempt_and_not_the_task(
    process: ComfyProcess, tmp_path: Path
) -> None:
    await process.start(seconds_per_image=AN_HOUR)
    engine = ComfyUi(process.url, timings=Timings(poll_s=0.1, retry_s=0.02))
    first, reports = comfy_work(tmp_path, timeout_s=60), KeptReports()
    running = asyncio.create_task(engine.run(first, reports))
    await asyncio.wait_for(reports.noted("KSampler"), 30)

    await process.kill()
    await process.start(seconds_per_image=0)
    with pytest.raises(PromptLostError):
        await running
    produced = await engine.run(comfy_work(tmp_path, earlier=(first.attempt,)), KeptReports())
    await engine.close()

    assert produced.files[0].path.read_bytes() == picture(seed=5, prompt="a fox", width=32, height=32)
