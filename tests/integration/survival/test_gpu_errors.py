"""A server whose GPUs get errors: its driver is nvml.c, whose world the test writes; tasks go on at the other GPU."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chaos.client import PatientClient
from chaos.kept import corral_up, keeping
from doubles.installed import a_home, run
from doubles.nvml_library import build_library, machine, write_state

CLUSTER = """\
apiVersion: corral/v1
name: desk
nodes: [{name: desk}]
engines: {sleep: {enabled: true}, llama: {enabled: false}, whisper: {enabled: false}, piper: {enabled: false}}
"""
LONG = {"engine": "sleep", "inputs": {"seconds": 600}, "name": "night", "memory": "1Gi"}


class Desk:
    """A running server with two GPUs, and one task that runs on one of them."""

    def __init__(self, home: Path, state: Path, client: PatientClient) -> None:
        self.home, self.state, self.client, self.task = home, state, client, 0

    async def until(self, path: str, holds: Callable[[Any], bool]) -> Any:
        async with asyncio.timeout(60):
            while True:
                if holds(answer := await self.client.get(path)):
                    return answer
                await asyncio.sleep(0.2)

    async def start_task(self) -> str:
        """Start it and return the device that it runs on."""
        await self.client.leading()
        self.task = (await self.client.post("/corral/v1/tasks", LONG, key="night"))["id"]
        return await self.find_device()

    async def find_device(self, *, losses: int = 0) -> str:
        path = f"/corral/v1/tasks/{self.task}"
        expected = ("running", losses)
        task = await self.until(path, lambda task: (task["state"], task["losses"]) == expected)
        assert task["attempts"] == 0
        return str(task["slots"][0]).rsplit("/", 1)[0]

    async def pause_and_resume(self, device: str) -> None:
        """Open a device by hand; a pause that ends before the server has seen it does nothing, so try again."""
        async with asyncio.timeout(60):
            while (await self.list_gates())[device][0] != "open":
                for verb in ("pause", "resume"):
                    await asyncio.to_thread(run, self.home, "slots", verb, device)

    async def read_metrics(self) -> str:
        server = self.client.find_server()
        assert server is not None
        async with aiohttp.ClientSession() as session:
            headers = {"Authorization": f"Bearer {server.token}"}
            async with session.get(f"{server.url}/metrics", headers=headers) as answer:
                return await answer.text()

    async def list_gates(self) -> dict[str, tuple[str, str]]:
        slots = await self.client.get("/corral/v1/slots")
        return {slot["device"]: (slot["gate"], slot["gate_reason"]) for slot in slots["items"]}


@asynccontextmanager
async def a_desk(folder: Path) -> AsyncGenerator[Desk]:
    state = folder / "state"
    write_state(state)
    with a_home() as home:
        (home / "cluster.yaml").write_text(CLUSTER)
        gpus = machine(build_library(folder), "twins", state=state)
        server = corral_up(home / "data", home / "cluster.yaml", home / "server.log", env=gpus)
        async with keeping(server), PatientClient(home / "data") as client:
            yield Desk(home, state, client)
            await server.stop()


@pytest.mark.parametrize(
    ("sign", "reason"),
    [
        ("xid {gpu} 62 1", "its driver reported XID 62: an internal error of its microcontroller"),
        ("ecc {gpu} 2", "its memory had errors that could not be corrected (2 since its driver was loaded)"),
    ],
)
async def test_task_of_a_gpu_with_an_error_is_lost_and_runs_on_the_other(
    tmp_path: Path, sign: str, reason: str
) -> None:
    async with a_desk(tmp_path) as desk:
        device = await desk.start_task()
        write_state(desk.state, sign.format(gpu=device[-1]))
        other = await desk.find_device(losses=1)
        gates = await desk.list_gates()
        doctor = await asyncio.to_thread(run, desk.home, "doctor")
        metrics = await desk.read_metrics()
        write_state(desk.state)
        await desk.pause_and_resume(device)
        log = (desk.home / "server.log").read_text()

    closed = f"the GPU cannot be used: {reason}"
    assert other != device
    assert gates[device] == ("unhealthy", closed)
    assert f"{device}: {closed}" in " ".join(doctor.stdout.split())
    assert f'corral_device_closed{{device="{device}"}} 1.0' in metrics
    assert f'corral_device_closed{{device="{other}"}} 0.0' in metrics
    assert re.findall(r"\b(slot_\w+)\s+device=", log) == ["slot_closed", "slot_opened"]
