"""A server that Corral runs gives its memory back, by unloading or by being stopped, and its start is measured."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import uuid4

import pytest

from corral.cluster.run_values import Run
from corral.engine_kinds import OPENAI
from corral.engines.servers.building import measure_main_memory
from corral.engines.servers.engine import InstanceServer
from corral.engines.servers.recipe import Surroundings, make_recipe
from corral.engines.sleep.engine import SleepingEngine
from corral.processes.bounded_log import BoundedLog
from corral.processes.server import Server
from corral.work import Resident
from doubles.comfyui_workflows import comfy_work
from doubles.instance_servers import MakeServer, run_comfy
from doubles.local_engines import running_below
from doubles.remote_reports import KeptReports
from doubles.supervised import make_program


class Holder(SleepingEngine):
    """Stands for the adapter of a server that has a model in memory as long as it runs, or until it unloads it."""

    def __init__(self, *, unloads: bool) -> None:
        super().__init__()
        self._unloads = unloads
        self._held = (Resident(model="qwen3"),)

    async def resident(self) -> tuple[Resident, ...]:
        return self._held

    async def can_unload(self) -> bool:
        return self._unloads

    async def release(self) -> None:
        assert self._unloads, "it is stopped instead"
        self._held = ()


@pytest.fixture
async def make_holder(logs: Path) -> AsyncIterator[Callable[[Holder], InstanceServer]]:
    """Make the engine of a server with this adapter, in front of a small server."""
    made: list[InstanceServer] = []

    def make(holder: Holder) -> InstanceServer:
        recipe = make_recipe(OPENAI, "talk", Run(command=("small",)), Surroundings(home=logs, owner="o"))
        server = Server(make_program(logs), BoundedLog(logs / "small.log"))
        made.append(InstanceServer(OPENAI.name, recipe, server, lambda _: holder, measure_memory=measure_main_memory))
        return made[-1]

    yield make
    for server in made:
        await server.close()


async def test_server_that_can_unload_goes_on_without_its_models(
    make_server: MakeServer, reports: KeptReports, tmp_path: Path
) -> None:
    server = make_server(run_comfy())
    await server.run(comfy_work(tmp_path), reports)

    await server.release()

    assert server.url is not None
    (itself,) = await server.resident()
    assert (itself.model, itself.memory is not None) == ("comfyui desk", True)


async def test_server_on_a_gpu_that_names_no_model_is_there_to_be_stopped(make_server: MakeServer) -> None:
    server = make_server(run_comfy(), gpu="GPU-8c1f")
    async with server.use():
        pass

    assert await server.resident() == (Resident(model="comfyui desk"),)
    await server.release()

    assert server.url is None


async def test_server_that_holds_no_model_is_stopped_for_its_own_memory(make_server: MakeServer, logs: Path) -> None:
    server = make_server(run_comfy())
    async with server.use():
        await server.release()
        assert server.url is not None, "one that is in use is not stopped"

    await server.release()

    assert running_below(logs) == []
    assert await server.resident() == ()
    await server.check()


async def test_server_that_cannot_unload_is_stopped_and_started_by_the_next_task(
    make_holder: Callable[[Holder], InstanceServer], logs: Path
) -> None:
    server = make_holder(Holder(unloads=False))
    async with server.use():
        pass
    assert [resident.model for resident in await server.resident()] == ["qwen3"]

    await server.release()

    assert running_below(logs) == []
    async with server.use():
        assert server.url is not None


async def test_server_that_says_that_it_unloads_is_not_stopped(
    make_holder: Callable[[Holder], InstanceServer],
) -> None:
    holder = Holder(unloads=True)
    server = make_holder(holder)
    async with server.use():
        pass

    await server.release()

    assert server.url is not None
    assert await holder.resident() == ()


async def test_always_running_server_that_was_stopped_for_its_memory_waits_for_work(
    make_server: MakeServer, logs: Path
) -> None:
    server = make_server(run_comfy(always=True))
    async with server.use():
        pass
    await server.release()

    await server.check()
    await asyncio.sleep(0)

    assert running_below(logs) == []
    async with server.use():
        assert server.url is not None


async def test_start_is_measured_apart_from_the_work(
    make_server: MakeServer, reports: KeptReports, tmp_path: Path
) -> None:
    server = make_server(run_comfy())
    assert server.start_s is None
    work = comfy_work(tmp_path)

    await server.run(work, reports)

    assert server.start_s == 0.0
    assert server.take_waited(uuid4()) == 0.0
    again = comfy_work(tmp_path)
    await server.kill()
    await server.run(again, reports)
    waited = server.take_waited(again.attempt)
    await server.kill()
    assert server.start_s is not None
    assert server.start_s > 0.0
    assert waited > 0.0
