"""Servers that Corral runs for instances, when Corral is killed and when it is stopped: none is left behind."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from chaos.client import PatientClient
from chaos.kept import Kept, corral_up, keeping
from corral.data_dir import find_server
from doubles.local_engines import running_below

OLLAMA = Path(__file__).parents[2] / "doubles" / "ollama.py"
CLUSTER = f"""\
apiVersion: corral/v1
name: survival
nodes: [{{name: here, gpus: [], cpu: {{slots: 1}}}}]
engines:
  ollama:
    instances:
      - name: talk
        run:
          command: ["{sys.executable}", "{OLLAMA}", --port, "{{port}}", --seconds-per-token, "0.5"]
          healthPath: /api/version
"""
WORDS = " ".join(["word"] * 8)
TALK = {"engine": "ollama", "model": "smol", "inputs": {"prompt": WORDS}, "name": "talk"}


def list_servers(data_dir: Path) -> list[psutil.Process]:
    """List the doubles that Corral runs."""
    servers: list[psutil.Process] = []
    for process in running_below(data_dir / "logs"):
        with suppress(psutil.Error):
            if process.cmdline()[1:2] == [str(OLLAMA)]:
                servers.append(process)
    return servers


async def find_talking(client: PatientClient, data_dir: Path, task: int) -> psutil.Process:
    """Wait until the task is being written by a server, and return that."""
    async with asyncio.timeout(90):
        while True:
            shown = await client.get(f"/corral/v1/tasks/{task}")
            servers = list_servers(data_dir)
            if servers and shown["progress"] and shown["progress"]["note"].endswith("tokens"):
                return servers[0]
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("also", ["nothing", "the keeper"])
async def test_server_of_a_killed_corral_is_gone_and_its_task_is_done_by_the_next(
    server: Kept, client: PatientClient, short_folder: Path, also: str
) -> None:
    data_dir = short_folder / "data"
    await client.leading()
    task = (await client.post("/corral/v1/tasks", TALK, key="talk"))["id"]
    first = await find_talking(client, data_dir, task)

    server.kill()
    if also == "the keeper":
        for process in running_below(data_dir / "logs"):
            with suppress(psutil.Error):
                if "corral.processes.keeper" in process.cmdline():
                    process.kill()

    await asyncio.to_thread(psutil.wait_procs, [first], 30)
    assert not first.is_running()
    second = await find_talking(client, data_dir, task)
    assert second.pid != first.pid
    ended = await client.get(f"/corral/v1/tasks/{task}/wait?timeout=30")
    assert (ended["state"], ended["losses"]) == ("succeeded", 1)
    assert await server.stop() == 0
    assert running_below(data_dir / "logs") == []


async def run_down(data_dir: Path) -> str:
    """Run `corral down` in a process of its own, which is not the server's parent, and return what it printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "corral", "down", "--data-dir", str(data_dir)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0, printed
    return printed.decode()


async def test_corral_down_stops_the_server_and_all_that_it_started_and_running_tasks_are_queued_again(
    short_folder: Path, cluster_file: Path, database_url: str, client: PatientClient
) -> None:
    data_dir = short_folder / "data"
    cluster_file.write_text(CLUSTER.replace('"0.5"', '"60"'))
    up = ("up", "--port", "0", "--data-dir", str(data_dir), "--cluster", str(cluster_file))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "corral", *up),
        env={"PATH": "/usr/bin:/bin", "CORRAL_DATABASE_URL": database_url},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    await client.leading()
    task = (await client.post("/corral/v1/tasks", TALK, key="talk"))["id"]
    async with asyncio.timeout(90):
        while not list_servers(data_dir) or (await client.get(f"/corral/v1/tasks/{task}"))["state"] != "running":  # noqa: ASYNC110 (it is remote)
            await asyncio.sleep(0.05)
    url = (find_server(data_dir) or pytest.fail("it runs")).url

    assert await run_down(data_dir) == f"stopped  {url} (process {process.pid}), and all that it started\n"

    assert await process.wait() == 0
    assert running_below(data_dir / "logs") == []
    assert "no server runs" in await run_down(data_dir)
    again = corral_up(data_dir, cluster_file, short_folder / "server.log", env={"CORRAL_DATABASE_URL": database_url})
    async with keeping(again):
        await client.leading()
        assert (await client.get(f"/corral/v1/tasks/{task}"))["state"] in ("queued", "leased", "running")
        await again.stop()
