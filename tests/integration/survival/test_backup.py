"""A backup of a server that works is restored elsewhere, whole or not at all, and nothing in it is done twice."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from chaos.client import PatientClient
from chaos.kept import Kept, corral_up, keeping
from corral.data_dir import RESTORING_FOLDER
from corral.tasks.artifacts import ArtifactStore

CLUSTER = """\
apiVersion: corral/v1
name: saved
nodes: [{name: here, gpus: [], cpu: {slots: 2}}]
engines: {command: {enabled: true}}
"""
TASKS = 12
PROGRAM = "sleep 0.4; echo made by $0 > out.txt"


async def corral(*arguments: str, **variables: str) -> tuple[int, str, str]:
    """Run a command to its end; return its exit code and outputs."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "corral", *arguments),
        env={"PATH": "/usr/bin:/bin", "NO_COLOR": "1", **variables},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.fixture
async def server(short_folder: Path, database_url: str) -> AsyncIterator[Kept]:
    """The server that is saved, on the tests' PostgreSQL."""
    (short_folder / "cluster.yaml").write_text(CLUSTER)
    env = {"CORRAL_DATABASE_URL": database_url}
    server = corral_up(short_folder / "a", short_folder / "cluster.yaml", short_folder / "a.log", env=env)
    async with keeping(server):
        yield server


def a_batch() -> dict[str, Any]:
    inputs = [{"argv": ["sh", "-c", PROGRAM, f"t{number}"], "outputs": ["out.txt"]} for number in range(TASKS)]
    tasks = [{"name": f"t{n}", "engine": "command", "inputs": task} for n, task in enumerate(inputs)]
    return {"name": "night", "tasks": tasks}


async def list_tasks(client: PatientClient) -> dict[str, Any]:
    return {task["name"]: task for task in (await client.get("/corral/v1/tasks?limit=500"))["items"]}


async def wait_for(client: PatientClient, count: int) -> None:
    async with asyncio.timeout(120):
        while sum(task["state"] == "succeeded" for task in (await list_tasks(client)).values()) < count:  # noqa: ASYNC110 (it is remote)
            await asyncio.sleep(0.1)


async def test_a_backup_under_work_is_restored_elsewhere_and_each_outcome_is_there_once(
    server: Kept, short_folder: Path
) -> None:
    saved = short_folder / "saved.tar"
    async with PatientClient(short_folder / "a") as client:
        await client.leading()
        await client.post("/corral/v1/batches", a_batch(), key="night")
        await wait_for(client, 3)
        code, out, err = await corral("backup", str(saved), "--data-dir", str(short_folder / "a"), "--json")
        assert code == 0, err
        holder = (short_folder / "a" / "holder").read_text()
        server.kill()
    manifest = json.loads(out)
    ended = TASKS - manifest["open_tasks"]
    assert 3 <= ended < TASKS, "it was taken while tasks ran"
    assert (manifest["artifacts"], manifest["missing"]) == (ended + 1, 0), "their files, and what none of them printed"
    assert saved.stat().st_mode & 0o077 == 0

    code, out, err = await corral("restore", str(saved), "--data-dir", str(short_folder / "b"))
    assert code == 0, err
    assert f"next: corral up --data-dir {short_folder / 'b'}" in out

    restored = corral_up(short_folder / "b", short_folder / "b" / "cluster.yaml", short_folder / "b.log")
    async with keeping(restored), PatientClient(short_folder / "b") as client:
        await client.leading()
        before = await list_tasks(client)
        await wait_for(client, TASKS)
        after = await list_tasks(client)
        artifacts = ArtifactStore(short_folder / "b" / "artifacts")
        for name, task in after.items():
            story = (await client.get(f"/corral/v1/tasks/{task['id']}/story"))["items"]
            kinds = [line["kind"] for line in story]
            assert kinds.count("succeeded") == 1, (name, kinds)
            assert kinds.count("attempt_lost") == task["losses"] <= 1, (name, kinds)
            assert "out.txt" in [output["name"] for output in task["outputs"]]
            assert all(artifacts.verify(output["sha256"]) for output in task["outputs"])
            if before[name]["state"] == "succeeded":
                assert task["finished_at"] == before[name]["finished_at"], "what was done is not done again"
        assert sum(task["losses"] for task in after.values()) <= 2, "those that ran were queued again, once"
        assert (short_folder / "b" / "holder").read_text() != holder
        assert await restored.stop() == 0


async def test_what_is_not_a_whole_backup_leaves_nothing_behind(server: Kept, short_folder: Path) -> None:
    saved, broken, data = short_folder / "saved.tar", short_folder / "broken.tar", short_folder / "b"
    async with PatientClient(short_folder / "a") as client:
        await client.leading()
        await client.post("/corral/v1/batches", a_batch(), key="night")
        await wait_for(client, 2)
        assert (await corral("backup", str(saved), "--data-dir", str(short_folder / "a")))[0] == 0
        await server.stop()
    content = saved.read_bytes()
    for damaged in (content[:-2000], content[: len(content) // 2], b"PK" * 2000):
        broken.write_bytes(damaged)
        code, _, err = await corral("restore", str(broken), "--data-dir", str(data))
        assert (code, "error[backup.damaged]" in err) == (2, True), err
        assert not data.exists() or not any(data.iterdir())
    place = content.index(b"made by t")
    broken.write_bytes(content[:place] + b"M" + content[place + 1 :])
    code, _, err = await corral("restore", str(broken), "--data-dir", str(data))
    assert (code, "has SHA-256" in err) == (2, True), err
    assert not any(data.iterdir())


async def test_a_data_directory_that_is_in_use_is_not_restored_into(server: Kept, short_folder: Path) -> None:
    saved = short_folder / "saved.tar"
    async with PatientClient(short_folder / "a") as client:
        await client.leading()
        assert (await corral("backup", str(saved), "--data-dir", str(short_folder / "a")))[0] == 0
        code, _, err = await corral("restore", str(saved), "--data-dir", str(short_folder / "a"))
        assert (code, "error[backup.data_dir_in_use]" in err) == (4, True), err
        await client.leading()


async def test_a_restore_that_was_cut_off_is_not_started_on(short_folder: Path) -> None:
    (short_folder / "b" / RESTORING_FOLDER).mkdir(parents=True)
    code, _, err = await corral("up", "--data-dir", str(short_folder / "b"), "--port", "0")
    assert (code, "a restore into this data directory did not end" in err) == (2, True), err
