"""Servers of instances that Corral runs: started by a task, stopped without work, on real processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from corral.cluster.run_values import Run
from corral.cluster.values import Instance
from corral.engine_kinds import OPENAI
from corral.engines.servers.building import measure_main_memory, name_log
from corral.engines.servers.directory import Directory
from corral.engines.servers.engine import InstanceServer
from corral.engines.servers.recipe import Surroundings, make_recipe
from corral.engines.sleep.engine import SleepingEngine
from corral.processes.bounded_log import BoundedLog
from corral.processes.restarts import RestartRules
from corral.processes.server import Server
from corral.work import (
    EngineError,
    EngineUnavailableError,
    FailureScope,
    NotRunningError,
    Produced,
    Reporter,
    Work,
)
from doubles.comfyui_workflows import comfy_work
from doubles.instance_servers import MakeServer, run_comfy, run_small
from doubles.local_engines import running_below
from doubles.remote_reports import KeptReports
from doubles.supervised import make_program

QUICK = RestartRules(first_wait_s=0.01, longest_wait_s=0.01, most_failures=2)


async def wait_until_gone(logs: Path) -> None:
    async with asyncio.timeout(30):
        while running_below(logs):  # noqa: ASYNC110 (processes send no event)
            await asyncio.sleep(0.02)


async def test_task_starts_the_server_and_sees_how_long_that_takes(
    make_server: MakeServer, reports: KeptReports, tmp_path: Path, logs: Path
) -> None:
    server = make_server(run_comfy())
    await server.check()
    assert running_below(logs) == []

    produced = await server.run(comfy_work(tmp_path), reports)

    assert produced.files[0].media_type == "image/png"
    assert reports.notes[0].startswith("starting comfyui desk, 0 s")
    assert [resident.model for resident in await server.resident()] == ["sd_xl_base_1.0.safetensors"]


async def test_next_task_finds_the_server_running(
    make_server: MakeServer, reports: KeptReports, tmp_path: Path
) -> None:
    server = make_server(run_comfy())
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    await server.run(comfy_work(tmp_path / "a"), reports)
    first, again = server.url, KeptReports()

    await server.run(comfy_work(tmp_path / "b"), again)

    assert server.url == first
    assert not any(note.startswith("starting") for note in again.notes)


async def test_server_without_work_is_stopped_and_the_next_task_starts_it(
    make_server: MakeServer, reports: KeptReports, tmp_path: Path, logs: Path
) -> None:
    server = make_server(run_comfy(idle=timedelta(seconds=0.2)))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    await server.run(comfy_work(tmp_path / "a"), reports)

    await wait_until_gone(logs)
    assert server.url is None
    assert await server.resident() == ()
    await server.check()

    assert (await server.run(comfy_work(tmp_path / "b"), reports)).files


async def test_server_in_use_is_not_idle(make_server: MakeServer, logs: Path) -> None:
    server = make_server(run_comfy(idle=timedelta(0)))
    async with server.use():
        async with server.use():
            pass
        await asyncio.sleep(0)
        await server.check()
        assert server.url is not None
    await wait_until_gone(logs)


async def test_server_that_is_killed_while_it_works_fails_the_attempt_with_its_last_lines(
    make_server: MakeServer, reports: KeptReports, tmp_path: Path, logs: Path
) -> None:
    server = make_server(run_comfy("--seconds-per-image", "3600"))
    running = asyncio.create_task(server.run(comfy_work(tmp_path), reports))
    await asyncio.wait_for(reports.noted("KSampler"), 30)

    for process in running_below(logs):
        if "--seconds-per-image" in process.cmdline() and "corral.processes.keeper" not in process.cmdline():
            os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(
        EngineError, match=r"comfyui desk ended while it worked: .*SIGKILL.*listening on http"
    ) as caught:
        await asyncio.wait_for(running, 30)

    assert caught.value.scope is FailureScope.ATTEMPT
    await server.check()


async def test_server_that_cannot_start_is_the_slots_trouble_until_it_is_out_of_use(
    make_server: MakeServer, reports: KeptReports, tmp_path: Path
) -> None:
    server = make_server(run_small("fail"), rules=QUICK)
    work = comfy_work(tmp_path)

    for _ in range(QUICK.most_failures):
        with pytest.raises(EngineUnavailableError, match=r"did not start: .*no memory for the model") as caught:
            await server.run(work, reports)
        assert "`corral slots logs SLOT`" in (caught.value.hint or "")
    with pytest.raises(EngineUnavailableError, match=r"failed 2 times in a row: .*no memory for the model") as caught:
        await server.check()
    assert caught.value.scope is FailureScope.SLOT

    server.forgive()
    await server.check()


async def test_server_that_is_late_is_ended(make_server: MakeServer, reports: KeptReports, tmp_path: Path) -> None:
    server = make_server(run_small("late", "3600", "daemon", ready_within=timedelta(seconds=1)))

    with pytest.raises(EngineUnavailableError, match=r"not ready within 1s: listening") as caught:
        await server.run(comfy_work(tmp_path), reports)

    assert "readyWithin" in (caught.value.hint or "")


async def test_program_is_handed_its_port_its_gpu_its_folder_and_no_secret_of_corral(
    make_server: MakeServer, tmp_path: Path, logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CORRAL_DATABASE_URL", "postgres://u:secret@h/d")
    monkeypatch.setenv("HUGGING_FACE", "hf_for_the_server")
    server = make_server(
        run_small(
            "environment",
            arguments=("--listen={port}", "{other}"),
            folder=str(tmp_path),
            env={"PORT": "{port}", "OMP_NUM_THREADS": "3"},
            env_from={"HF_TOKEN": "HUGGING_FACE"},
        ),
        gpu="GPU-8c1f",
    )

    async with server.use():
        url = server.url or ""

    handed = json.loads(name_log(logs, "comfyui", "desk").read_text().splitlines()[0])
    port = url.rpartition(":")[2]
    assert handed["folder"] == str(tmp_path)
    assert handed["arguments"] == ["environment", f"--listen={port}", "{other}"]
    variables = handed["variables"]
    assert (variables["CUDA_VISIBLE_DEVICES"], variables["CUDA_DEVICE_ORDER"]) == ("GPU-8c1f", "PCI_BUS_ID")
    assert (variables["PORT"], variables["OMP_NUM_THREADS"]) == (port, "3")
    assert variables["HF_TOKEN"] == "hf_for_the_server"
    assert "CORRAL_DATABASE_URL" not in variables


async def test_server_without_a_gpu_sees_none(make_server: MakeServer, logs: Path) -> None:
    async with make_server(run_small("environment")).use():
        pass

    handed = json.loads(name_log(logs, "comfyui", "desk").read_text().splitlines()[0])
    assert handed["variables"]["CUDA_VISIBLE_DEVICES"] == ""


async def test_secret_that_is_not_set_is_named_before_anything_starts(make_server: MakeServer, logs: Path) -> None:
    server = make_server(run_small(env_from={"HF_TOKEN": "NOT_SET_ANYWHERE"}))

    with pytest.raises(EngineUnavailableError, match="NOT_SET_ANYWHERE is not set"):
        async with server.use():
            pass
    assert running_below(logs) == []


async def test_port_of_another_program_is_not_taken_for_the_server(
    make_server: MakeServer, reports: KeptReports, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = make_server(run_small(port=port))

        with pytest.raises(EngineUnavailableError, match=rf"cannot have port {port}: another program listens"):
            await server.check()
        with pytest.raises(EngineUnavailableError, match="another program listens"):
            await server.run(comfy_work(tmp_path), reports)


async def test_folder_that_is_not_there_is_named(make_server: MakeServer, tmp_path: Path) -> None:
    absent = tmp_path / "absent"

    with pytest.raises(EngineUnavailableError, match="the folder of comfyui desk is not there") as caught:
        async with make_server(run_small(folder=str(absent))).use():
            pass
    assert (caught.value.where, "`folder` of its `run`" in str(caught.value.hint)) == (str(absent), True)


async def test_closing_while_it_starts_leaves_nothing(
    make_server: MakeServer, reports: KeptReports, tmp_path: Path
) -> None:
    server = make_server(run_small("late", "3600"))
    running = asyncio.create_task(server.run(comfy_work(tmp_path), reports))
    await asyncio.wait_for(reports.noted("starting"), 30)

    await asyncio.wait_for(server.close(), 30)

    with pytest.raises(EngineError):
        await running


async def test_server_that_always_runs_is_started_by_its_check_and_again_when_it_ends(
    make_server: MakeServer, logs: Path
) -> None:
    server = make_server(run_comfy(always=True), rules=QUICK)

    async with asyncio.timeout(60):
        while server.url is None:
            await server.check()
            await asyncio.sleep(0.02)
        first = server.url
        for process in running_below(logs):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        while server.url in (None, first):
            await server.check()
            await asyncio.sleep(0.02)


async def test_others_find_the_server_where_it_is_now(make_server: MakeServer, directory: Directory) -> None:
    server = make_server(run_comfy(idle=timedelta(0)))
    instance = Instance(name="desk", run=run_comfy())
    with pytest.raises(NotRunningError, match="desk does not run now"):
        directory.require_url("comfyui", instance)

    async with directory.reach("comfyui", instance) as url:
        assert url == server.url == directory.find_url("comfyui", instance)

    await server.close()
    assert directory.find("comfyui", "desk") is None


@pytest.mark.parametrize(
    ("lacking", "code"),
    [
        (run_small(folder="/no/such/folder"), "instance.folder_missing"),
        (run_small(env_from={"HF_TOKEN": "NOT_SET_ANYWHERE"}), "instance.secret_missing"),
    ],
)
async def test_slot_of_a_server_that_lacks_what_it_needs_does_not_seem_to_work(
    make_server: MakeServer, lacking: Run, code: str
) -> None:
    with pytest.raises(EngineUnavailableError) as caught:
        await make_server(lacking).check()
    assert caught.value.code == code


async def test_server_that_others_ask_is_started_for_them_and_stops_only_after_them(
    make_server: MakeServer, logs: Path
) -> None:
    server = make_server(replace(run_comfy(), idle=timedelta(seconds=0.2)))
    notes: list[str] = []

    async with server.reach(None, notes.append) as endpoint:
        assert endpoint.url == server.url
        assert notes[0].startswith("starting comfyui desk, 0 s")
        await server.release()
        await asyncio.sleep(0.5)
        assert server.url == endpoint.url
    await wait_until_gone(logs)

    assert server.url is None


class Lingering(SleepingEngine):
    """Stands for an adapter whose work takes a moment to stop."""

    def __init__(self, may_stop: asyncio.Event) -> None:
        super().__init__()
        self.is_closed = False
        self.works = asyncio.Event()
        self._may_stop = may_stop

    async def run(self, work: Work, report: Reporter) -> Produced:
        self.works.set()
        try:
            await asyncio.Event().wait()
        finally:
            await self._may_stop.wait()
        return Produced()

    async def close(self) -> None:
        self.is_closed = True


async def test_what_a_dead_server_worked_on_does_not_break_the_one_that_follows(
    logs: Path, reports: KeptReports, tmp_path: Path
) -> None:
    may_stop, adapters = asyncio.Event(), list[Lingering]()

    def make_adapter(url: str) -> Lingering:
        adapters.append(Lingering(may_stop))
        return adapters[-1]

    recipe = make_recipe(OPENAI, "talk", Run(command=("small",)), Surroundings(home=logs, owner="o"))
    process = Server(make_program(logs), BoundedLog(logs / "small.log"), rules=QUICK)
    server = InstanceServer(OPENAI.name, recipe, process, make_adapter, measure_memory=measure_main_memory)
    async with asyncio.timeout(60):
        running = asyncio.create_task(server.run(comfy_work(tmp_path), reports))
        while not adapters:  # noqa: ASYNC110 (it is started by the task)
            await asyncio.sleep(0.01)
        await adapters[0].works.wait()
        assert process.pid is not None
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
        async with server.use() as adapter:
            assert adapter is adapters[1]
            await asyncio.sleep(1.5)  # longer than the work of the first has before its connections are broken
            assert (adapters[0].is_closed, adapters[1].is_closed) == (True, False)
            may_stop.set()
            with pytest.raises(EngineError, match="ended while it worked"):
                await running
            assert server.find_adapter() is adapter
        await server.close()
    assert running_below(logs) == []
