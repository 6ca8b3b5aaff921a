"""An edited cluster file takes effect while the server runs, and nothing that runs is lost."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from chaos.client import PatientClient, RefusedError
from chaos.kept import Kept, corral_up, keeping

CLUSTER = """\
apiVersion: corral/v1
name: edited
nodes: [{{name: here, gpus: [], cpu: {{slots: {slots}}}}}]
engines:
  sleep: {{enabled: true}}
  llama: {{enabled: false}}
  whisper: {{enabled: false}}
  piper: {{enabled: false}}
  kokoro: {{enabled: false}}
  inspect: {{enabled: false}}
  onnx: {{enabled: false}}
  hold: {{enabled: false}}
queues: [{{name: default}}, {{name: limited, limits: {{perOwner: {{queued: {most}}}}}}}]
"""


class ClusterFile:
    """The file that the server follows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.write(slots=1)

    def write(self, *, slots: int, most: int = 2) -> None:
        self.path.write_text(CLUSTER.format(slots=slots, most=most))


@pytest.fixture
def file(short_folder: Path) -> ClusterFile:
    return ClusterFile(short_folder / "cluster.yaml")


@pytest.fixture
async def server(short_folder: Path, file: ClusterFile, database_url: str) -> AsyncIterator[Kept]:
    """A server on the tests' PostgreSQL, started again at once when it is killed."""
    env = {"CORRAL_DATABASE_URL": database_url}
    server = corral_up(short_folder / "data", file.path, short_folder / "server.log", env=env)
    async with keeping(server):
        yield server
        await server.stop()


@pytest.fixture
async def client(short_folder: Path, server: Kept) -> AsyncIterator[PatientClient]:
    async with PatientClient(short_folder / "data") as client:
        await client.leading()
        yield client


async def sleep(client: PatientClient, name: str, seconds: float) -> int:
    """Submit a task."""
    body = {"engine": "sleep", "inputs": {"seconds": seconds}, "name": name}
    return (await client.post("/corral/v1/tasks", body, key=name))["id"]


async def running(client: PatientClient, *tasks: int) -> None:
    """Wait until the tasks run."""
    async with asyncio.timeout(60):
        for task in tasks:
            while (await client.get(f"/corral/v1/tasks/{task}"))["state"] != "running":  # noqa: ASYNC110 (it is remote)
                await asyncio.sleep(0.05)


async def slots(client: PatientClient, count: int) -> Sequence[str]:
    """Wait until the server has so many slots that work, and return their names."""
    async with asyncio.timeout(60):
        while True:
            items = (await client.get("/corral/v1/slots"))["items"]
            if len(items) == count and all(slot["problem"] is None for slot in items):
                return [slot["id"] for slot in items]
            await asyncio.sleep(0.05)


async def ended(client: PatientClient, task: int) -> tuple[str, int]:
    """Wait for a task's end, and return its state and how often its attempt was lost."""
    async with asyncio.timeout(60):
        while True:
            shown = await client.get(f"/corral/v1/tasks/{task}/wait?timeout=5")
            if shown["finished_at"]:
                return shown["state"], shown["losses"]


async def test_slot_is_added_while_a_task_runs(client: PatientClient, file: ClusterFile) -> None:
    first = await sleep(client, "first", 600)
    second = await sleep(client, "second", 600)
    await running(client, first)
    file.write(slots=2, most=5)

    shown = await client.post("/corral/v1/reload", {"dry_run": True})
    assert (len(shown["added"]), shown["settings"]) == (1, ["queues.limited.limits.perOwner.queued: 2 -> 5"])
    assert len((await client.get("/corral/v1/slots"))["items"]) == 1

    assert await client.post("/corral/v1/reload", {}) == {**shown, "dry_run": False}
    await slots(client, 2)
    await running(client, first, second)
    limits = {queue["name"]: queue["limits"] for queue in (await client.get("/corral/v1/queues"))["items"]}
    assert limits["limited"]["queued_per_owner"] == 5
    for task in (first, second):
        await client.post(f"/corral/v1/tasks/{task}/cancel", {})


async def test_removed_slot_goes_when_its_task_has_ended(client: PatientClient, file: ClusterFile) -> None:
    file.write(slots=2)
    await client.post("/corral/v1/reload", {})
    await slots(client, 2)
    first, second = await sleep(client, "first", 15), await sleep(client, "second", 15)
    await running(client, first, second)
    file.write(slots=1)

    reloaded = await client.post("/corral/v1/reload", {})
    (edit,) = reloaded["removed"]
    assert edit["waits_for"].startswith((f"task {first} of", f"task {second} of"))
    shown = await client.post("/corral/v1/reload", {"dry_run": True})
    assert (shown["removed"], shown["devices"]) == ([], [])
    assert shown["pending"] == [*reloaded["devices"], edit], "the memory of the slot that stays waits, too"
    assert [await ended(client, task) for task in (first, second)] == [("succeeded", 0)] * 2
    assert await slots(client, 1) != [edit["name"].rpartition("/")[0]]


async def test_file_with_problems_changes_nothing(client: PatientClient, file: ClusterFile) -> None:
    before = await slots(client, 1)
    file.path.write_text(CLUSTER.format(slots="many", most=-1))
    with pytest.raises(RefusedError, match=r"(?s)slots.*queued"):
        await client.post("/corral/v1/reload", {})
    assert await slots(client, 1) == before
    assert await ended(client, await sleep(client, "after", 0)) == ("succeeded", 0)


async def test_server_killed_during_a_reload_follows_the_edited_file(
    client: PatientClient, server: Kept, file: ClusterFile
) -> None:
    task = await sleep(client, "long", 2)
    await running(client, task)
    file.write(slots=2)
    reloading = asyncio.create_task(client.post("/corral/v1/reload", {}))
    await asyncio.sleep(0.01)
    server.kill()
    await reloading
    await slots(client, 2)
    state, losses = await ended(client, task)
    assert (state, losses <= 1) == ("succeeded", True)


async def test_hangup_signal_reads_the_file_again(client: PatientClient, server: Kept, file: ClusterFile) -> None:
    await slots(client, 1)
    file.path.write_text("apiVersion: nothing\n")
    assert server.pid is not None
    os.kill(server.pid, signal.SIGHUP)
    async with asyncio.timeout(60):
        while "cluster_file_not_reloaded" not in server.log.read_text():  # noqa: ASYNC110 (it is another process)
            await asyncio.sleep(0.05)
    file.write(slots=2)
    os.kill(server.pid, signal.SIGHUP)
    await slots(client, 2)
    async with asyncio.timeout(10):
        while not (entries := (await client.get("/corral/v1/audit"))["items"]):  # noqa: ASYNC110 (it is another process)
            await asyncio.sleep(0.05)
    assert [(entry["owner"], entry["action"]) for entry in entries] == [("local", "cluster_reloaded")]
    assert server.starts == 1


async def test_server_ends_when_its_terminal_closes(short_folder: Path, file: ClusterFile, database_url: str) -> None:
    ours, terminal = pty.openpty()
    argv = ["-m", "corral", "up", "--data-dir", str(short_folder / "data"), "--cluster", str(file.path), "--port", "0"]
    env = os.environ | {"CORRAL_DATABASE_URL": database_url}
    server = await asyncio.create_subprocess_exec(sys.executable, *argv, stdout=terminal, stderr=terminal, env=env)
    os.close(terminal)
    async with PatientClient(short_folder / "data") as client:
        await client.leading()
    os.close(ours)
    server.send_signal(signal.SIGHUP)
    assert await asyncio.wait_for(server.wait(), 60) == 0
