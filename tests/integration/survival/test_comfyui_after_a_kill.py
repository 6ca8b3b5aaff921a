"""The server is killed while its prompts run on ComfyUI instances.

Where the kill itself is the point, all are processes of their own. Where it is what a next start reads, a dispatcher of
this process is dropped.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import doubles.comfyui
from builders import a_submission, a_task
from chaos.client import PatientClient
from chaos.kept import Kept, corral_up, keeping
from corral.engines.comfyui.client import Timings
from corral.engines.comfyui.engine import ComfyUi
from corral.tasks.lifecycle import TaskState
from corral.tasks.store.submitting import submit
from doubles.comfyui import ComfyDouble
from doubles.comfyui_workflows import text_to_image
from doubles.yard import Yard

Json = Any
PROGRAM = Path(str(doubles.comfyui.__file__))
CLUSTER = """\
apiVersion: corral/v1
name: survival
nodes: [{{name: here, gpus: []}}]
engines:
  comfyui:
    instances:
      - {{name: late, url: "{late}"}}
      - {{name: quick, url: "{quick}"}}
"""
AN_HOUR = 3600.0
STEPS = 10_000
"""Of an image of an hour, so that an interrupt is seen within half a second."""


class Instance:
    """The double as a program."""

    def __init__(self, process: asyncio.subprocess.Process, url: str, session: aiohttp.ClientSession) -> None:
        self.process = process
        self.url = url
        self._session = session

    async def ask(self, path: str) -> Json:
        async with self._session.get(self.url + path) as response:
            return await response.json()

    async def count_prompts(self) -> int:
        """How many prompts it was ever given."""
        queue = await self.ask("/queue")
        return len(await self.ask("/history")) + len(queue["queue_running"]) + len(queue["queue_pending"])

    async def is_running(self) -> bool:
        return bool((await self.ask("/queue"))["queue_running"])


Start = Callable[..., Awaitable[Instance]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts instances, which are killed at the end."""
    instances: list[Instance] = []
    async with aiohttp.ClientSession() as session:

        async def start(*, seconds_per_image: float, latency_s: float = 0) -> Instance:
            options = ("--port", "0", "--seconds-per-image", str(seconds_per_image), "--latency-s", str(latency_s))
            process = await asyncio.create_subprocess_exec(
                sys.executable, str(PROGRAM), *options, stdout=asyncio.subprocess.PIPE
            )
            assert process.stdout is not None
            url = (await process.stdout.readline()).decode().split()[-1]
            instances.append(Instance(process, url, session))
            return instances[-1]

        yield start
    for instance in instances:
        instance.process.kill()
        await instance.process.wait()


def serve(short_folder: Path, database_url: str, late: Instance, quick: Instance) -> Kept:
    file = short_folder / "cluster.yaml"
    file.write_text(CLUSTER.format(late=late.url, quick=quick.url))
    env = {"CORRAL_DATABASE_URL": database_url}
    return corral_up(short_folder / "data", file, short_folder / "server.log", env=env)


async def submit_images(client: PatientClient, count: int, **inputs: Json) -> list[int]:
    tasks: list[int] = []
    for seed in range(count):
        body = {
            "engine": "comfyui",
            "name": f"image-{seed}",
            "inputs": {"workflow": text_to_image(seed=seed), **inputs},
        }
        tasks.append((await client.post("/corral/v1/tasks", body, key=f"image-{seed}"))["id"])
    return tasks


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(90):
        while not await holds():  # noqa: ASYNC110 (it is another process)
            await asyncio.sleep(0.05)


async def wait_for_end(client: PatientClient, task: int) -> Json:
    async def has_ended() -> bool:
        return (await client.get(f"/corral/v1/tasks/{task}"))["finished_at"] is not None

    await until(has_ended)
    return await client.get(f"/corral/v1/tasks/{task}")


async def test_no_prompt_is_sent_twice_when_the_server_is_killed(
    short_folder: Path, database_url: str, start: Start
) -> None:
    late, quick = await start(seconds_per_image=4, latency_s=0.5), await start(seconds_per_image=4)
    server = serve(short_folder, database_url, late, quick)
    async with keeping(server), PatientClient(short_folder / "data") as client:
        tasks = await submit_images(client, 3)
        for instance in (late, quick):
            await until(instance.is_running)
        server.kill()
        ended = [await wait_for_end(client, task) for task in tasks]
        await server.stop()

    assert [task["state"] for task in ended] == ["succeeded"] * 3
    assert await late.count_prompts() + await quick.count_prompts() == 3


async def test_prompt_of_a_task_that_went_elsewhere_is_ended_when_its_instance_is_back(
    short_folder: Path, database_url: str, start: Start
) -> None:
    late, quick = await start(seconds_per_image=AN_HOUR), await start(seconds_per_image=0)
    server = serve(short_folder, database_url, late, quick)
    async with keeping(server), PatientClient(short_folder / "data") as client:
        await client.post("/corral/v1/slots/pause", {"slots": ["quick/comfyui"]})
        (task,) = await submit_images(client, 1, steps=STEPS)
        await until(late.is_running)
        late.process.send_signal(signal.SIGSTOP)
        server.kill()
        await client.post("/corral/v1/slots/resume", {"slots": ["quick/comfyui"]})
        ended = await wait_for_end(client, task)
        late.process.send_signal(signal.SIGCONT)

        async def is_idle() -> bool:
            return not await late.is_running()

        await until(is_idle)
        (entry,) = (await late.ask("/history")).values()
        await server.stop()

    assert (ended["state"], ended["slots"]) == ("succeeded", ["quick/comfyui"])
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


async def test_prompt_that_was_left_is_ended_although_the_server_was_restarted_since(yard: Yard) -> None:
    async with ComfyDouble() as away, ComfyDouble() as there:
        timings = Timings(check_s=0.2, request_s=0.2, cancel_s=0.2, settle_s=0.1, poll_s=0.05, retry_s=0.01)
        away.hold()
        yard.start(ComfyUi(away.url, timings=timings))
        task = a_task(engine="comfyui", inputs={"workflow": text_to_image()})
        (id,) = (await submit(yard.pool, a_submission(task), queued_limits={})).tasks
        await away.until(lambda: away.running is not None)
        away.faults.silent = True
        await yard.crash()
        yard.start(ComfyUi(away.url, timings=timings), ComfyUi(there.url, timings=timings))
        (ended,) = await yard.ended(id)
        await yard.crash()

        yard.start(ComfyUi(away.url, timings=timings), ComfyUi(there.url, timings=timings))
        away.faults.silent = False
        await away.until(lambda: away.running is None)

        assert (ended.state, ended.slots) == (TaskState.SUCCEEDED, ("node/cpu1/comfyui",))
        assert [entry["status"]["status_str"] for entry in away.history.values()] == ["error"]
