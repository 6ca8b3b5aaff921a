"""The night of the Hydra pipeline: 60 characters by 32 pictures over two instances, and a server that is killed."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from chaos.client import PatientClient
from chaos.kept import corral_up, keeping
from corral.tasks.store.pool import Pool
from doubles.comfyui import ComfyDouble
from doubles.comfyui_nodes import picture
from doubles.picture_sets import SHOTS, a_set, list_characters

CHARACTERS, SEEDS = 60, 4
VARIANTS = {"day": "by day", "night": "by night"}
PICTURES = CHARACTERS * len(SHOTS) * len(VARIANTS) * SEEDS
CLUSTER = """\
apiVersion: corral/v1
name: hydra
nodes: [{name: here, gpus: [], cpu: {slots: 2}}]
engines:
  comfyui: {instances: [{name: compute, url: "FIRST"}, {name: control, url: "SECOND"}]}
"""


@pytest.fixture
async def pair() -> AsyncIterator[tuple[ComfyDouble, ComfyDouble]]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(ComfyDouble()), await stack.enter_async_context(ComfyDouble())


async def list_pictures(client: PatientClient, name: str) -> list[dict[str, Any]]:
    pictures: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await client.get(f"/corral/v1/sets/{name}/pictures?limit=500{cursor}")
        pictures += page["items"]
        if page["next"] is None:
            return pictures
        cursor = f"&cursor={page['next']}"


async def until(pool: Pool, accepted: int) -> None:
    """Wait until so many pictures are accepted, in the database: showing a set compares all of it."""
    async with asyncio.timeout(280):
        while await pool.fetchval("select count(*) from set_pictures where state = 'accepted'") < accepted:  # noqa: ASYNC110 (it is another process)
            await asyncio.sleep(0.1)


@pytest.mark.alone
@pytest.mark.timeout(900)
async def test_a_night_ends_with_every_picture_once_checked_and_the_same_figures_everywhere(
    short_folder: Path, database_url: str, pool: Pool, pair: tuple[ComfyDouble, ComfyDouble]
) -> None:
    cluster = short_folder / "cluster.yaml"
    cluster.write_text(CLUSTER.replace("FIRST", pair[0].url).replace("SECOND", pair[1].url))
    env = {"CORRAL_DATABASE_URL": database_url}
    server = corral_up(short_folder / "data", cluster, short_folder / "server.log", env=env)
    file = a_set(
        characters=list_characters(CHARACTERS),
        seeds=SEEDS,
        shots=SHOTS,
        variants=VARIANTS,
        thresholds={"width": {"least": 32}, "brightness": {"least": 100}},
        remakes=20,
    )
    file["task"]["inputs"]["prompt"] = "{character.look}, {shot}, {variant}"
    async with keeping(server), PatientClient(short_folder / "data") as client:
        await client.leading()
        made = await client.post("/corral/v1/sets", {"file": file})
        assert (made["planned"], made["kept"]) == (PICTURES, 0)
        server.kill()  # while its tasks are submitted
        await until(pool, PICTURES // 3)
        server.kill()
        await until(pool, PICTURES * 2 // 3)
        server.kill()
        await until(pool, PICTURES)
        shown = await client.get("/corral/v1/sets/night")
        pictures = await list_pictures(client, "night")
        again = await client.post("/corral/v1/sets", {"file": file, "dry_run": True})
        groups = (await client.get("/corral/v1/sets/night/measures?by=shot"))["items"]
        await server.stop()

    assert server.unexpected == []
    assert server.starts == 4
    assert shown["states"] == {"accepted": PICTURES}, "every picture is there"
    assert shown["forecast"] == {"pictures": 0, "expected_takes": 0, "ends_at": None}
    assert (again["planned"], again["kept"], again["stale"]) == (0, PICTURES, []), "nothing is made twice"

    takes = [take for entry in pictures for take in entry["takes"]]
    states = Counter(take["state"] for take in takes)
    assert len(pictures) == PICTURES
    assert states.keys() == {"accepted", "rejected"}
    assert states["accepted"] == PICTURES
    assert 0 < states["rejected"] == shown["remade"] == shown["takes"] - PICTURES
    assert [sum(take["state"] == "accepted" for take in entry["takes"]) for entry in pictures] == [1] * PICTURES
    assert all(take["measurements"]["brightness"] >= 100 for take in takes if take["state"] == "accepted")
    assert all(take["measurements"]["brightness"] < 100 for take in takes if take["state"] == "rejected")
    assert sum(group["takes"] for group in groups) == len(takes)
    assert sum(group["accepted"] for group in groups) == PICTURES

    assert len({take["task"] for take in takes}) == len(takes), "each take has a task of its own"
    counts = await pool.fetchrow(
        "select count(*) filter (where engine = 'comfyui') as made,"
        " count(*) filter (where engine = 'inspect') as checked, count(*) as tasks from tasks"
    )
    assert counts is not None
    assert (counts["made"], counts["checked"], counts["tasks"]) == (len(takes), len(takes), 2 * len(takes))
    for entry in pictures:
        take = entry["takes"][-1]
        look, shot, variant, _ = entry["key"].split("/")
        prompt = f"look {int(look[-2:])}, {SHOTS[shot]}, {VARIANTS[variant]}"
        drawn = picture(seed=take["seed"], prompt=prompt, width=32, height=32)
        assert take["sha256"] == hashlib.sha256(drawn).hexdigest()
