"""The queue of a ComfyUI and its jobs at their bounds: a thousand prompts, and as many streams as an owner can have."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest

from corral.cluster.values import Cluster, EngineSettings, Instance, Node, QueueSettings
from corral.engines.comfyui.client import Timings
from corral.engines.comfyui.engine import ComfyUi
from corral.gateway.comfy_api.streams import MOST_STREAMS
from corral.tasks.store.pool import Pool
from corral.tasks.store.submitting import submit
from corral.tasks.store.tokens import create_token
from corral.tasks.values import Prompt, Submission, TaskSpec
from doubles.comfyui import ComfyDouble
from doubles.comfyui_clients import ComfyCaller
from doubles.comfyui_workflows import text_to_image
from doubles.serving import Serving
from doubles.yard import Yard
from integration.doors.conftest import Open

Json = Any
MANY = 1000
QUICK = Timings(poll_s=0.1, retry_s=0.02, reconnect_s=0.5, check_s=0.5)
CLUSTER = Cluster(name="test", nodes=(Node(name="node"),), queues={"default": QueueSettings(name="default")})
FAR = datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class House:
    """A door without instances, and the address of the other one, Comfy API v2."""

    comfy: ComfyCaller
    api: Serving

    async def get_jobs(self, **query: str) -> Json:
        async with self.api.session.get(f"{self.api.url}/comfy/api/v2/jobs", params=query) as response:
            response.raise_for_status()
            return await response.json()


@pytest.fixture
async def house(open_house: Open) -> AsyncIterator[House]:
    async with open_house(CLUSTER) as api:
        yield House(ComfyCaller(api.session, f"{api.url}/comfyui"), api)


def make_prompt(number: int, **fields: Json) -> TaskSpec:
    workflow = text_to_image(seed=number)
    return TaskSpec.model_validate(
        {
            "name": f"prompt-{number}",
            "engine": "comfyui",
            "inputs": {
                "workflow": workflow,
                "extra_data": {"extra_pnginfo": {"workflow": {"id": f"drawn-{number % 2}"}}},
                "outputs": "all",
            },
            "class": "interactive",
            "max_attempts": 1,
            "prompt": Prompt(id=f"prompt-{number}", facts={"metadata": {"half": str(number % 2)}}),
            **fields,
        }
    )


async def fill(pool: Pool, prompts: Sequence[TaskSpec], owner: str = "local") -> tuple[int, ...]:
    return (await submit(pool, Submission(owner=owner, tasks=tuple(prompts)), queued_limits={})).tasks


async def test_queue_has_all_prompts_and_clients_reach_each(house: House, pool: Pool) -> None:
    await fill(pool, [make_prompt(number) for number in range(MANY)])

    queue = await house.comfy.get("/queue")
    assert [item[1] for item in queue["queue_pending"]] == [f"prompt-{number}" for number in range(MANY)]
    assert queue["queue_pending"][-1][2] == text_to_image(seed=MANY - 1)

    await house.comfy.post("/queue", {"delete": [f"prompt-{MANY - 1}"]})
    await house.comfy.post("/api/jobs/cancel", {"job_ids": [f"prompt-{MANY - 2}"]})
    queue = await house.comfy.get("/queue")
    assert [item[1] for item in queue["queue_pending"]] == [f"prompt-{number}" for number in range(MANY - 2)]

    await house.comfy.post("/queue", {"clear": True})
    assert await house.comfy.get("/queue") == {"queue_running": [], "queue_pending": []}
    assert (await house.comfy.get("/prompt"))["exec_info"]["queue_remaining"] == 0


async def test_jobs_are_counted_and_paged_over_all_prompts(house: House, pool: Pool) -> None:
    await fill(pool, [make_prompt(number) for number in range(MANY)])

    page = await house.comfy.get("/api/jobs?limit=10&offset=985&sort_order=asc")
    assert [job["id"] for job in page["jobs"]] == [f"prompt-{number}" for number in range(985, 995)]
    assert page["pagination"] == {"offset": 985, "limit": 10, "total": MANY, "has_more": True}
    half = await house.comfy.get("/api/jobs?workflow_id=drawn-1&limit=1")
    assert (half["jobs"][0]["id"], half["pagination"]["total"]) == (f"prompt-{MANY - 1}", MANY // 2)


async def test_pages_of_jobs_reach_the_oldest_and_say_when_there_is_no_more(house: House, pool: Pool) -> None:
    tasks = await fill(pool, [make_prompt(number) for number in range(450)])
    await pool.execute("update tasks set state = 'cancelled', finished_at = now() where id = any($1)", tasks[:300])

    listed, query = [], {"limit": "100"}
    while True:
        page = await house.get_jobs(**query)
        listed += [job["id"] for job in page["jobs"]]
        if page["next_cursor"] is None:
            break
        assert page["truncated"]
        query["cursor"] = page["next_cursor"]

    assert not page["truncated"]
    assert listed == [f"prompt-{number}" for number in reversed(range(450))]
    canceled = await house.get_jobs(**{"status": "canceled", "metadata[half]": "1", "limit": "100"})
    assert [job["id"] for job in canceled["jobs"]] == [f"prompt-{number}" for number in range(299, 99, -2)]
    assert canceled["truncated"]


async def test_interrupt_reaches_prompts_behind_a_thousand_that_wait(yard: Yard, open_house: Open, pool: Pool) -> None:
    await fill(pool, [make_prompt(number, not_before=FAR) for number in range(MANY)])
    async with AsyncExitStack() as stack:
        left = await stack.enter_async_context(ComfyDouble())
        left.hold()
        yard.start(ComfyUi(left.url, timings=QUICK))
        settings = EngineSettings(name="comfyui", instances=(Instance(name="instance-0", url=left.url),))
        cluster = Cluster(name="test", nodes=CLUSTER.nodes, engines={"comfyui": settings}, queues=CLUSTER.queues)
        api = await stack.enter_async_context(open_house(cluster))
        comfy = ComfyCaller(api.session, f"{api.url}/comfyui")
        answer = await comfy.post("/prompt", {"prompt": text_to_image()})
        await comfy.poll("/queue", lambda queue: len(queue["queue_running"]) == 1)
        await comfy.post("/interrupt", content_type=None)

        history = await comfy.poll(f"/history/{answer['prompt_id']}", bool)
        messages = history[answer["prompt_id"]]["status"]["messages"]
        assert messages[-1][0] == "execution_interrupted"
        assert (await comfy.get("/prompt"))["exec_info"]["queue_remaining"] == MANY


async def test_prompts_go_by_their_numbers_and_priorities(yard: Yard, open_house: Open) -> None:
    async with ComfyDouble() as left:
        left.hold()
        yard.start(ComfyUi(left.url, timings=QUICK))
        settings = EngineSettings(name="comfyui", instances=(Instance(name="instance-0", url=left.url),))
        cluster = Cluster(name="test", nodes=CLUSTER.nodes, engines={"comfyui": settings}, queues=CLUSTER.queues)
        async with open_house(cluster) as api:
            comfy = ComfyCaller(api.session, f"{api.url}/comfyui")

            async def add(**more: Json) -> str:
                return (await comfy.post("/prompt", {"prompt": text_to_image(), **more}))["prompt_id"]

            runs = await add()
            await comfy.poll("/queue", lambda queue: len(queue["queue_running"]) == 1)
            plain, later = await add(), await add(number=3)
            job = (await api.post("/comfy/api/v2/jobs", {"workflow": text_to_image(), "priority": 5})).json["id"]
            before, first = await add(front=True), await add(front=True, prompt_id="first")
            assert await add(front=True, prompt_id="first") == first, "the same once more is the same task"

            order = [first, before, job, plain, later]
            queue = await comfy.get("/queue")
            assert [item[1] for item in queue["queue_pending"]] == order
            assert (await api.get(f"/comfy/api/v2/jobs/{job}")).json["queue_position"] == 2
            await left.proceed()
            await comfy.poll("/queue", lambda queue: not queue["queue_running"] and not queue["queue_pending"])
            tasks = (await api.get("/corral/v1/tasks")).json["items"]
            assert [task["name"] for task in sorted(tasks, key=lambda task: task["started_at"])] == [runs, *order]


async def test_streams_are_bounded_for_each_owner(house: House, pool: Pool) -> None:
    _, ann = await create_token(pool, name="ann", role="submitter")
    await fill(pool, [make_prompt(0)])
    await fill(pool, [make_prompt(1)], owner="ann")

    async with AsyncExitStack() as stack:

        async def follow(number: int, **headers: str) -> aiohttp.ClientResponse:
            events = f"{house.api.url}/comfy/api/v2/jobs/prompt-{number}/events"
            return await stack.enter_async_context(house.api.session.get(events, headers=headers))

        assert {(await follow(0)).status for _ in range(MOST_STREAMS)} == {200}
        refused = await follow(0)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "5")
        assert (await refused.json())["error"]["code"] == "too_many_streams"
        assert (await follow(1, Authorization=f"Bearer {ann}")).status == 200
