"""Containers, services and units as servers: started, read, ended, and not left behind; a double runs them."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from corral.cluster.run_values import Compose, Container, Run
from corral.engines.servers.building import name_log
from corral.processes.leftovers import sweep
from corral.processes.outside import end_left
from corral.work import Resident
from doubles.container_daemon import ContainerDaemon
from doubles.instance_servers import MakeServer
from doubles.local_engines import running_below
from doubles.short_folders import lend_short_folder

CONTAINER = Run(container=Container(image="comfy:1"), health_path="/health", env={"A": "b"})
SERVICE = Run(compose=Compose(file="compose.yaml", service="comfy"), health_path="/health")


def choose_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
async def daemon(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ContainerDaemon]:
    """A daemon whose programs are the first on the path."""
    with lend_short_folder() as folder:
        async with ContainerDaemon(folder, unit_port=choose_port()) as daemon:
            monkeypatch.setenv("PATH", f"{daemon.programs}{os.pathsep}{os.environ['PATH']}")
            yield daemon
            assert daemon.running == []


def make_unit(daemon: ContainerDaemon) -> Run:
    return Run(systemd="comfy.service", port=daemon.unit_port, health_path="/health")


@pytest.mark.parametrize("kind", ["container", "service", "unit"])
async def test_server_is_started_and_ended_by_the_program_that_runs_it(
    daemon: ContainerDaemon, make_server: MakeServer, logs: Path, kind: str
) -> None:
    run = {"container": CONTAINER, "service": SERVICE, "unit": make_unit(daemon)}[kind]
    server = make_server(run)

    async with server.use():
        assert len(daemon.running) == 1
        assert await server.resident() == (Resident(model="comfyui desk"),), "of unknown memory, outside of Corral"
    await server.kill()

    assert daemon.running == []
    assert list(logs.rglob("*.outside.json")) == []


async def test_what_a_container_prints_and_gets_goes_through_its_program(
    daemon: ContainerDaemon, make_server: MakeServer, logs: Path
) -> None:
    async with make_server(CONTAINER).use():
        pass

    started = next(number for number, call in enumerate(daemon.calls) if "run" in call)
    assert daemon.environments[started]["A"] == "b"
    assert "CUDA_VISIBLE_DEVICES" not in daemon.environments[started]
    assert "listens" in name_log(logs, "comfyui", "desk").read_text()


async def test_journal_of_a_unit_is_its_log(daemon: ContainerDaemon, make_server: MakeServer, logs: Path) -> None:
    async with make_server(make_unit(daemon)).use():
        log = name_log(logs, "comfyui", "desk")
        async with asyncio.timeout(30):
            while "the unit printed this" not in log.read_text():  # noqa: ASYNC110 (a file sends no event)
                await asyncio.sleep(0.02)


async def test_container_that_outlived_its_program_is_removed_before_the_next_start(
    daemon: ContainerDaemon, make_server: MakeServer, logs: Path
) -> None:
    server = make_server(CONTAINER)
    async with server.use():
        for process in running_below(logs):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        async with asyncio.timeout(30):
            while server.url is not None:  # noqa: ASYNC110 (the end of a process sends no event here)
                await asyncio.sleep(0.02)
        assert len(daemon.running) == 1

    async with server.use():
        assert len(daemon.running) == 1
    assert [call[1] for call in daemon.calls if call[1] != "run"] == ["rm"] * 3


@pytest.mark.parametrize("kind", ["container", "service", "unit"])
async def test_what_was_left_by_a_corral_and_keeper_that_were_killed_is_ended_at_the_next_start(
    daemon: ContainerDaemon, make_server: MakeServer, logs: Path, kind: str
) -> None:
    run = {"container": CONTAINER, "service": SERVICE, "unit": make_unit(daemon)}[kind]
    async with make_server(run).use():
        (name,) = daemon.running
        (left,) = logs.rglob("*.outside.json")
        noted = left.read_text()
        # Where nothing of that Corral lives any more, only its note is left.
        await asyncio.to_thread(sweep, logs)
        assert daemon.running == [name]
        left.write_text(noted)

        assert await asyncio.to_thread(end_left, logs) == 1

        assert daemon.running == []
        assert await asyncio.to_thread(end_left, logs) == 0
