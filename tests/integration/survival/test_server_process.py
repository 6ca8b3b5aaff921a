"""The server as a process: killed under work, started twice, started on a database that is not its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp
import asyncpg
import psutil

from chaos.client import PatientClient
from chaos.kept import Kept, corral_up, keeping
from chaos.verdict import judge_machine
from corral.data_dir import find_server
from doubles.local_engines import running_below

CLUSTER = """\
apiVersion: corral/v1
name: survival
nodes: [{name: here, gpus: [], cpu: {slots: 1}}]
engines: {sleep: {enabled: true}, command: {enabled: true}}
"""
FAMILY = """\
setsid sleep 7201 > /dev/null 2>&1 &
(sleep 7202; echo never) &
echo "corral: progress 0.5 the family is complete"
wait
"""
"""A program with a child, a grandchild, and a daemon that has left its session."""


async def complete_family(client: PatientClient, data_dir: Path, task: int) -> list[psutil.Process]:
    """Wait until the program has started all its children, and return them."""
    async with asyncio.timeout(60):
        while True:
            shown = await client.get(f"/corral/v1/tasks/{task}")
            if shown["progress"] and shown["progress"]["note"] == "the family is complete":
                return running_below(data_dir / "logs")
            await asyncio.sleep(0.05)


async def test_nothing_of_a_killed_servers_work_runs_after_the_next_start(
    server: Kept, client: PatientClient, short_folder: Path
) -> None:
    await client.leading()
    command = {"engine": "command", "inputs": {"argv": ["sh", "-c", FAMILY]}, "name": "family"}
    id = (await client.post("/corral/v1/tasks", command, key="family"))["id"]
    first = await complete_family(client, short_folder / "data", id)
    assert {"7201", "7202"} <= {word for process in first for word in process.cmdline()}
    workers = [process for process in first if "corral.engines.worker" in process.cmdline()]
    server.kill()
    for worker in workers:
        worker.kill()  # so that nobody but the next server can end what is left
    second = await complete_family(client, short_folder / "data", id)
    assert not {process.pid for process in first if process.is_running() and process.status() != "zombie"}
    assert {process.pid for process in second}.isdisjoint(process.pid for process in first)
    await client.post(f"/corral/v1/tasks/{id}/cancel", {})
    ended = await client.get(f"/corral/v1/tasks/{id}/wait?timeout=9")
    assert (ended["state"], ended["losses"]) == ("cancelled", 1)
    assert await server.stop() == 0
    assert judge_machine(short_folder / "data") == []


async def run_up(data_dir: Path, cluster_file: Path, database_url: str) -> tuple[int, str]:
    """Start a server that is expected to refuse, and return its exit code and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "corral", "up", "--port", "0"),
        *("--data-dir", str(data_dir), "--cluster", str(cluster_file)),
        env={"PATH": "/usr/bin:/bin", "CORRAL_DATABASE_URL": database_url, "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_second_server_on_one_data_directory_is_refused(
    server: Kept, client: PatientClient, short_folder: Path, cluster_file: Path, database_url: str
) -> None:
    await client.leading()
    code, said = await run_up(short_folder / "data", cluster_file, database_url)
    assert code != 0
    assert "error[server.already_running]: a server runs on this data directory already" in said
    assert "hint: use it, stop it, or choose another directory with --data-dir" in said
    await client.leading()
    assert server.starts == 1, "the first one was not disturbed"


async def test_database_with_a_newer_schema_is_refused_and_left_alone(
    short_folder: Path, cluster_file: Path, database_url: str
) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute("update alembic_version set version_num = '9999'")
    code, said = await run_up(short_folder / "data", cluster_file, database_url)
    assert code != 0
    assert "error[database.newer]: the database has schema 9999" in said
    assert "go back with the newer one's `corral rollback`" in said
    assert await connection.fetchval("select version_num from alembic_version") == "9999"
    await connection.close()


async def test_server_that_is_stopped_while_it_starts_leaves_no_database_running(
    short_folder: Path, cluster_file: Path
) -> None:
    data_dir = short_folder / "data"
    command = [sys.executable, "-m", "corral", "up", "--data-dir", str(data_dir), "--cluster", str(cluster_file)]
    process = await asyncio.create_subprocess_exec(*command, "--port", "0", stderr=asyncio.subprocess.PIPE)
    async with asyncio.timeout(60):
        while not any(data_dir.glob("postgres*/PG_VERSION")):  # noqa: ASYNC110 (another process makes it)
            await asyncio.sleep(0.01)
        process.terminate()
        _, said = await process.communicate()

    assert process.returncode == 0, said.decode()
    databases = [
        process for process in psutil.process_iter(["cmdline"]) if str(data_dir) in str(process.info["cmdline"])
    ]
    assert databases == []


async def test_server_that_requires_tokens_asks_for_them_on_loopback_and_its_owner_needs_none(
    short_folder: Path, cluster_file: Path, database_url: str
) -> None:
    data_dir = short_folder / "data"
    env = {"CORRAL_DATABASE_URL": database_url}
    server = corral_up(data_dir, cluster_file, short_folder / "server.log", "--require-token", env=env)
    async with keeping(server), PatientClient(data_dir) as client:
        await client.leading()
        presence = find_server(data_dir)
        assert presence is not None
        async with aiohttp.ClientSession() as session, session.get(f"{presence.url}/corral/v1/tasks") as answer:
            assert answer.status == 401
            assert "this server trusts no address without one" in await answer.text()
        assert (await client.get("/corral/v1/status"))["role"] == "admin"
        await server.stop()
