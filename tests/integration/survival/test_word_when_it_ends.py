"""Every failure and the end of a batch reach their receivers in order, however often the server is killed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from chaos.client import PatientClient
from chaos.kept import Kept, corral_up, keeping
from doubles.notified import Service, serving_json
from doubles.webhook_receiver import SECRET, Receiver, receiving

CLUSTER = """\
apiVersion: corral/v1
name: desk
nodes: [{name: here, gpus: [], cpu: {slots: 1}}]
engines:
  command: {enabled: true}
  llama: {enabled: false}
  whisper: {enabled: false}
  piper: {enabled: false}
webhooks: {secretFrom: HOOK_SECRET, allowPrivate: [127.0.0.1]}
notify: [{to: phone, urlFrom: PHONE_URL, when: [batch-ended], bundle: 1s}]
"""
TASKS, KILLS = 4, 5
FAILING = {"engine": "command", "max_attempts": 1, "inputs": {"argv": ["sh", "-c", "sleep 0.3; exit 3"]}}


@pytest.fixture
async def hook() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def phone() -> AsyncIterator[Service]:
    async with serving_json() as service:
        yield service


@pytest.fixture
async def server(short_folder: Path, database_url: str, phone: Service) -> AsyncIterator[Kept]:
    """A server on the tests' PostgreSQL, started again at once when it is killed."""
    env = {
        "CORRAL_DATABASE_URL": database_url,
        "HOOK_SECRET": SECRET,
        "PHONE_URL": f"json://{phone.address}/topic-geheim",
    }
    cluster = short_folder / "cluster.yaml"
    cluster.write_text(CLUSTER)
    server = corral_up(short_folder / "data", cluster, short_folder / "server.log", env=env)
    async with keeping(server):
        yield server
        await server.stop()


async def test_what_ends_is_reported_in_order_while_the_server_is_killed(
    short_folder: Path, server: Kept, hook: Receiver, phone: Service
) -> None:
    chance = random.Random(13)
    hook.answer = lambda _: web.Response(status=500) if chance.random() < 0.15 else None
    async with PatientClient(short_folder / "data") as client:
        await client.leading()
        asked: dict[str, Any] = {
            "name": "night",
            "webhook": hook.url,
            "defaults": FAILING,
            "tasks": [{"name": f"t{number}"} for number in range(TASKS)],
        }
        batch = (await client.post("/corral/v1/batches", asked, key="one"))["batch"]["id"]
        async with asyncio.timeout(200):
            kills = 0
            while kills < KILLS:
                await asyncio.sleep(chance.uniform(0.3, 1.5))
                kills += server.kill()
                await client.leading()
            await hook.wait_for(lambda seen: seen.list_taken()[-1:] == [("batch.ended", batch)], within_s=180)
            await phone.wait_for(1)
        shown = await client.get(f"/corral/v1/batches/{batch}")
    assert shown["states"] == {"failed": TASKS}
    first_taken = list(dict.fromkeys(hook.list_taken()))
    tasks = [number for kind, number in first_taken if kind == "task.failed"]
    assert first_taken == [*(("task.failed", number) for number in tasks), ("batch.ended", batch)]
    assert len(tasks) == TASKS
    assert len({name for name, _ in hook.taken}) == TASKS + 1
    assert phone.got[0]["title"] == f"desk: batch {batch} (night) has ended: {TASKS} failed"
    assert "geheim" not in (short_folder / "server.log").read_text()
    assert SECRET not in (short_folder / "server.log").read_text()
