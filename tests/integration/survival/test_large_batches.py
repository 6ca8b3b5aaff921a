"""The server is killed while it stores a batch that is larger than one request: all of it is there in the end, once."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

from chaos.client import PatientClient
from chaos.kept import corral_up, keeping
from corral.client.api import Api
from corral.client.large_batches import is_large, submit_large
from corral.tasks.store.pool import Pool
from doubles.comfyui_workflows import text_to_image

CLUSTER = """\
apiVersion: corral/v1
name: survival
nodes: [{name: here, gpus: []}]
engines: {comfyui: {instances: [{name: away, url: "http://127.0.0.1:1"}]}}
"""
TASKS, TEXT = 60, 800_000
WRITES = "select count(*) from pg_stat_activity where datname = current_database() and query like 'COPY \"tasks\"%'"


def a_large_batch() -> dict[str, Any]:
    """Return a batch of 46 MiB."""

    def a_workflow(number: int) -> dict[str, Any]:
        workflow = text_to_image(seed=number)
        workflow["6"]["inputs"]["text"] = f"{number} " + "x" * TEXT
        return workflow

    tasks = [{"name": f"t-{number}", "inputs": {"workflow": a_workflow(number)}} for number in range(TASKS)]
    return {"name": "large", "defaults": {"engine": "comfyui"}, "tasks": tasks}


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_server_that_is_killed_while_it_stores_a_large_batch_has_all_of_it_once(
    short_folder: Path, database_url: str, pool: Pool
) -> None:
    batch, port = a_large_batch(), find_free_port()
    assert is_large(batch)
    (short_folder / "cluster.yaml").write_text(CLUSTER)
    server = corral_up(
        short_folder / "data",
        short_folder / "cluster.yaml",
        short_folder / "server.log",
        *("--port", str(port)),
        env={"CORRAL_DATABASE_URL": database_url},
    )
    async with (
        keeping(server),
        PatientClient(short_folder / "data") as client,
        Api(f"http://127.0.0.1:{port}", None) as api,
    ):
        await client.leading()
        submitting = asyncio.create_task(submit_large(api, batch, key="night"))
        async with asyncio.timeout(60):
            while not await pool.fetchval(WRITES):  # noqa: ASYNC110 (it is another process)
                await asyncio.sleep(0.001)
        server.kill()
        assert await pool.fetchval("select count(*) from tasks") == 0
        assert await pool.fetchval("select count(*) from batches") == 0

        async with asyncio.timeout(90):
            accepted = await submitting
        again = await submit_large(api, batch, key="night")
        assert await pool.fetchval("select count(*) from uploads") == 0, "parts count for a quota, and are not needed"
        await server.stop()

    assert server.starts == 2
    assert (accepted["batch"]["task_count"], accepted["replayed"]) == (TASKS, False)
    assert (again["batch"]["id"], again["replayed"]) == (accepted["batch"]["id"], True)
    rows = await pool.fetch(
        "select name, length(inputs -> 'workflow' -> '6' -> 'inputs' ->> 'text') as length from tasks"
    )
    assert {row["name"] for row in rows} == {f"t-{number}" for number in range(TASKS)}
    assert len(rows) == TASKS
    assert all(row["length"] > TEXT for row in rows)
