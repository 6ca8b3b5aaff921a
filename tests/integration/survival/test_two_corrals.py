"""Two machines are two Corrals: one has the queue, and the other is a server of it like any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from chaos.client import PatientClient
from chaos.kept import Kept, corral_up, keeping
from corral.data_dir import find_server
from doubles.openai_server import OpenAiDouble

Json = Any
TASKS = 30
FAR = """\
apiVersion: corral/v1
name: far
nodes: [{{name: shed, gpus: [], cpu: {{slots: 1}}}}]
server: {{requireToken: true}}
engines:
  openai: {{instances: [{{name: card, url: "{url}"}}]}}
"""
NEAR = """\
apiVersion: corral/v1
name: near
nodes: [{{name: here, gpus: [], cpu: {{slots: 1}}}}]
engines:
  openai:
    instances:
      - {{name: card, url: "{url}"}}
      - {{name: shed, url: "{far}", tokenFrom: SHED_TOKEN}}
"""

StartCorral = Callable[..., Any]


@pytest.fixture
async def start(short_folder: Path) -> AsyncIterator[StartCorral]:
    """Start a Corral, and return it with a client of it once it leads."""
    async with AsyncExitStack() as started:

        async def start_corral(name: str, cluster: str, **env: str) -> tuple[Kept, PatientClient]:
            path = short_folder / f"{name}.yaml"
            path.write_text(cluster)
            server = corral_up(short_folder / name, path, short_folder / f"{name}.log", env=env)
            await started.enter_async_context(keeping(server))
            started.push_async_callback(server.stop)
            client = await started.enter_async_context(PatientClient(short_folder / name))
            await client.leading()
            return server, client

        yield start_corral


async def test_a_batch_over_two_corrals_loses_nothing_when_the_second_is_killed(
    start: StartCorral, short_folder: Path, database_url: str, other_database_url: str
) -> None:
    async with OpenAiDouble(model_names={"tiny": {}}) as near_card, OpenAiDouble(model_names={"tiny": {}}) as far_card:
        far, far_client = await start("far", FAR.format(url=far_card.url), CORRAL_DATABASE_URL=other_database_url)
        key = (await far_client.post("/corral/v1/tokens", {"name": "near", "role": "submitter"}))["token"]
        address = find_server(short_folder / "far")
        assert address is not None
        cluster = NEAR.format(url=near_card.url, far=address.url)
        _, client = await start("near", cluster, CORRAL_DATABASE_URL=database_url, SHED_TOKEN=key)
        near_card.hold()

        tasks = [
            {"name": f"t{number}", "engine": "openai", "model": "tiny", "inputs": {"prompt": f"number {number}"}}
            for number in range(TASKS)
        ]
        made = await client.post("/corral/v1/batches", {"name": "night", "tasks": tasks}, key="night")
        await far_card.until(lambda: len(far_card.bodies) >= 3)
        far_card.hold()
        await far_card.until(lambda: far_card.writing == 1)
        far.kill()
        await far_card.proceed()
        await near_card.proceed()
        ended = await wait_for_end(client, [task["id"] for task in made["tasks"]])

    assert Counter(task["state"] for task in ended) == {"succeeded": TASKS}
    assert [task["result"]["text"].split() for task in ended] == [["number", str(number)] for number in range(TASKS)]
    said = [body["messages"][-1]["content"] for body in (*near_card.bodies, *far_card.bodies)]
    assert set(said) == {f"number {number}" for number in range(TASKS)}
    assert len(near_card.bodies) < TASKS, "the second Corral did none of it"


async def wait_for_end(client: PatientClient, ids: list[int]) -> list[Json]:
    """Wait until every task has ended, and return all in their order."""
    ended: list[Json] = []
    for id in ids:
        while (task := await client.get(f"/corral/v1/tasks/{id}/wait?timeout=9"))["finished_at"] is None:
            pass
        ended.append(task)
    return ended
