"""A server is killed again and again while tasks run in the lanes of its slot: each ends once, and no lane is kept."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from typing import NamedTuple

from chaos.client import PatientClient
from chaos.kept import Kept
from corral.tasks.store.pool import Pool

LANES = 4
CLUSTER = f"""\
apiVersion: corral/v1
name: survival
nodes: [{{name: here, gpus: [], cpu: {{slots: 1}}}}]
engines: {{sleep: {{enabled: true, lanes: {LANES}}}}}
"""
KILLS = 6
TASKS = 36
MODELS = ("a", "b")
SEED = 20261130
ENDS = frozenset({"succeeded", "failed", "cancelled"})


class Use(NamedTuple):
    """The lanes of one look at the leases."""

    lanes: int
    models: int


async def look(pool: Pool) -> Use:
    """Look at what has lanes now, in one statement."""
    row = await pool.fetchrow(
        "select count(*) as lanes, count(distinct t.model) as models"
        " from slot_leases l join tasks t on t.id = l.task_id group by l.slot"
    )
    return Use(0, 0) if row is None else Use(row["lanes"], row["models"])


async def watch(pool: Pool, seen: Counter[Use]) -> None:
    while True:
        seen[await look(pool)] += 1
        await asyncio.sleep(0.02)


def judge(lines: list[tuple[int, str, str | None, str | None]], models: dict[int, str]) -> tuple[int, list[str]]:
    """Go through the story; return the most tasks that had the slot at once, and what must not be."""
    having: dict[str, int] = {}
    most, problems = 0, list[str]()
    for task, kind, state, attempt in lines:
        if kind == "leased" and attempt is not None:
            if task in having.values():
                problems.append(f"task {task} was given a second lane")
            having[attempt] = task
        elif attempt is not None and state not in ("leased", "running"):
            having.pop(attempt, None)
        most = max(most, len(having))
        if len({models[other] for other in having.values()}) > 1:
            problems.append(f"two models had the slot at once: {having}")
    if having:
        problems.append(f"attempts did not end: {having}")
    return most, problems


async def until_running(pool: Pool, least: int) -> None:
    """Wait until so many tasks run, or fewer are left."""
    async with asyncio.timeout(60):
        while True:
            left = await pool.fetchval("select count(*) from tasks where finished_at is null")
            running = await pool.fetchval("select count(*) from tasks where state = 'running'")
            if running >= min(least, left):
                return
            await asyncio.sleep(0.02)


async def test_kills_while_tasks_run_in_lanes_end_each_of_them_once_and_keep_no_lane(
    server: Kept, client: PatientClient, pool: Pool
) -> None:
    await client.leading()
    chance = random.Random(SEED)
    tasks = [
        {
            "name": f"t{number}",
            "engine": "sleep",
            "model": MODELS[number % len(MODELS)],
            "inputs": {"seconds": round(chance.uniform(0.5, 2.0), 2)},
        }
        for number in range(TASKS)
    ]
    await client.post("/corral/v1/batches", {"name": "lanes", "tasks": tasks}, key="lanes")
    seen = Counter[Use]()
    watching = asyncio.create_task(watch(pool, seen))

    kills = 0
    for _ in range(KILLS):
        await until_running(pool, 2)
        await asyncio.sleep(chance.uniform(0.0, 0.3))
        kills += server.kill()
        await client.leading()
    async with asyncio.timeout(90):
        while await pool.fetchval("select count(*) from tasks where finished_at is null"):  # noqa: ASYNC110 (as above)
            await asyncio.sleep(0.05)
    watching.cancel()

    assert kills == KILLS
    states = await pool.fetch("select state::text, count(*) from tasks group by state")
    assert [tuple(row) for row in states] == [("succeeded", TASKS)]
    rows = await pool.fetch("select task_id, kind, data from events where task_id is not null order by id")
    data = [json.loads(row["data"]) if isinstance(row["data"], str) else row["data"] for row in rows]
    lines = [
        (row["task_id"], row["kind"], facts.get("state"), facts.get("attempt"))
        for row, facts in zip(rows, data, strict=True)
    ]
    ends = Counter(task for task, _, state, _ in lines if state in ENDS)
    assert (len(ends), set(ends.values())) == (TASKS, {1})
    models = {row["id"]: row["model"] for row in await pool.fetch("select id, model from tasks")}
    most, problems = judge(lines, models)
    assert problems == []
    assert most == LANES, "the test is worth nothing unless lanes were shared"
    assert await pool.fetchval("select count(*) from events where kind = 'attempt_lost'") >= LANES
    assert max(use.lanes for use in seen) == LANES
    assert max(use.models for use in seen) == 1
    assert await pool.fetchval("select count(*) from slot_leases") == 0
    assert await server.stop() == 0
    assert server.unexpected == []
