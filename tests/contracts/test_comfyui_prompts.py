"""What Corral relies on in the life of a ComfyUI prompt: submitting, events, cache, end (instances: `conftest`)."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import aiohttp

from doubles.comfyui_client import Instance, Json, image, long_chain

# ---- submitting


async def test_it_says_what_it_is(comfy: Instance) -> None:
    status, stats = await comfy.get("/system_stats")

    assert status == 200
    assert isinstance(stats["system"]["comfyui_version"], str)
    assert {"type", "torch_vram_total", "torch_vram_free"} <= stats["devices"][0].keys()


async def test_a_prompt_has_the_id_that_it_was_given(comfy: Instance) -> None:
    prompt_id, status, answer = await comfy.submit(image())
    entry = await comfy.wait(prompt_id)

    assert status == 200
    assert answer["prompt_id"] == prompt_id
    assert answer["node_errors"] == {}
    assert entry["status"]["status_str"] == "success"
    assert entry["status"]["messages"][0][0] == "execution_start"
    assert entry["status"]["messages"][-1][0] == "execution_success"


async def test_an_unknown_prompt_is_in_no_history_and_is_no_job(comfy: Instance) -> None:
    unknown = str(uuid4())

    assert await comfy.get(f"/history/{unknown}") == (200, {})
    if await comfy.has_jobs():
        assert (await comfy.get(f"/api/jobs/{unknown}"))[0] == 404


async def test_an_id_that_is_sent_twice_is_accepted_twice(comfy: Instance) -> None:
    prompt_id, first, _ = await comfy.submit(image())
    _, second, _ = await comfy.submit(image(), prompt_id)

    assert (first, second) == (200, 200)
    await comfy.wait(prompt_id)


async def test_a_prompt_that_left_the_history_can_be_sent_again(comfy: Instance) -> None:
    prompt_id, _, _ = await comfy.submit(image())
    await comfy.wait(prompt_id)

    assert (await comfy.post("/history", {"delete": [prompt_id]}))[0] == 200
    assert await comfy.get(f"/history/{prompt_id}") == (200, {})
    await comfy.submit(image(), prompt_id)
    assert (await comfy.wait(prompt_id))["status"]["completed"]


async def test_a_request_of_another_origin_is_refused(comfy: Instance) -> None:
    async with comfy.session.get("/queue", headers={"Origin": "http://elsewhere.example"}) as response:
        assert response.status == 403


# ---- events


async def follow(comfy: Instance, prompt: Json) -> list[tuple[str, Json]]:
    """Run a prompt and return its events, up to the last one."""
    prompt_id = str(uuid4())
    events: list[tuple[str, Json]] = []
    async with comfy.listen(prompt_id) as socket, asyncio.timeout(60):
        await comfy.submit(prompt, prompt_id)
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.TEXT:
                continue
            event = json.loads(message.data)
            if event["data"].get("prompt_id") == prompt_id:
                events.append((event["type"], event["data"]))
            if events and events[-1][0] == "executing" and events[-1][1]["node"] is None:
                return events
    raise AssertionError("the socket closed before the end")


async def test_progress_says_that_a_node_runs_before_executing_names_it(comfy: Instance) -> None:
    events = await follow(comfy, image())

    names = [name for name, _ in events]
    assert names[:2] == ["execution_start", "execution_cached"]
    running = next(at for at, (name, data) in enumerate(events) if name == "progress_state" and "1" in data["nodes"])
    named = next(at for at, (name, data) in enumerate(events) if name == "executing" and data["node"] == "1")
    assert running < named
    assert events[running][1]["nodes"]["1"]["state"] == "running"
    states = [data["nodes"] for name, data in events if name == "progress_state"]
    assert {node: state["state"] for node, state in states[-1].items()} == {"1": "finished", "2": "finished"}


async def test_the_last_word_comes_when_the_history_has_the_prompt(comfy: Instance) -> None:
    events = await follow(comfy, image())

    names = [name for name, _ in events]
    assert names.index("execution_success") < len(names) - 1
    assert (await comfy.get(f"/history/{events[-1][1]['prompt_id']}"))[1]


async def test_events_go_to_the_client_that_submitted(comfy: Instance) -> None:
    client = str(uuid4())
    about: set[str] = set()
    async with comfy.listen(client) as socket, asyncio.timeout(60):
        await comfy.run(image())  # of another client
        await comfy.submit(image(), client)
        async for message in socket:
            event = json.loads(message.data) if message.type is aiohttp.WSMsgType.TEXT else {"data": {}}
            about |= {event["data"][name] for name in ("prompt_id",) if name in event["data"]}
            if event.get("type") == "executing" and event["data"]["node"] is None:
                break

    assert about == {client}


async def test_flags_are_answered_with_the_limit_of_uploads(comfy: Instance) -> None:
    async with comfy.listen(str(uuid4())) as socket, asyncio.timeout(20):
        await socket.send_json({"type": "feature_flags", "data": {"supports_preview_metadata": True}})
        async for message in socket:
            event = json.loads(message.data)
            if event["type"] == "feature_flags":
                break

    assert event["data"]["max_upload_size"] == (await comfy.get("/features"))[1]["max_upload_size"]


# ---- the cache


async def test_what_was_made_before_is_named_again_and_not_made(comfy: Instance) -> None:
    prompt = image()
    first = await comfy.run(prompt)
    events = await follow(comfy, prompt)
    second = await comfy.wait(events[-1][1]["prompt_id"])

    assert sorted(events[1][1]["nodes"]) == ["1", "2"]
    assert second["outputs"]["2"]["images"][0]["filename"] == first["outputs"]["2"]["images"][0]["filename"]
    assert not [data for name, data in events if name == "executing" and data["node"] is not None]


async def test_an_input_that_a_node_does_not_know_makes_it_run_again(comfy: Instance) -> None:
    prompt = image()
    first = await comfy.run(prompt)
    prompt["2"]["inputs"]["corral_again"] = str(uuid4())
    second = await comfy.run(prompt)

    cached = next(data["nodes"] for name, data in second["status"]["messages"] if name == "execution_cached")
    assert cached == ["1"]
    assert second["outputs"]["2"]["images"] != first["outputs"]["2"]["images"]


# ---- ending prompts


async def test_a_running_prompt_is_interrupted_by_its_id(comfy: Instance) -> None:
    prompt_id, _, _ = await comfy.submit(long_chain())
    await comfy.wait_until_it_runs(prompt_id)

    status, _ = await comfy.post("/interrupt", {"prompt_id": prompt_id})
    entry = await comfy.wait(prompt_id)

    assert status == 200
    assert entry["status"]["status_str"] == "error"
    assert entry["status"]["messages"][-1][0] == "execution_interrupted"


async def test_a_waiting_prompt_is_deleted_and_others_are_left_alone(comfy: Instance) -> None:
    first, _, _ = await comfy.submit(long_chain(30))
    second, _, _ = await comfy.submit(image())
    assert await comfy.find_stage(second) == "pending"

    await comfy.post("/interrupt", {"prompt_id": second})
    assert (await comfy.post("/queue", {"delete": [second]}))[0] == 200

    assert await comfy.find_stage(second) is None
    assert (await comfy.wait(first))["status"]["completed"]
    assert await comfy.get(f"/history/{second}") == (200, {})


async def test_cancelling_a_job_says_whether_there_was_one(comfy: Instance) -> None:
    if not await comfy.has_jobs():
        status, _ = await comfy.post(f"/api/jobs/{uuid4()}/cancel", {})
        assert status in (404, 405), "an old version has no such route"
        return
    assert await comfy.post(f"/api/jobs/{uuid4()}/cancel", {}) == (200, {"cancelled": False})
    prompt_id, _, _ = await comfy.submit(long_chain())
    await comfy.wait_until_it_runs(prompt_id)
    assert await comfy.post(f"/api/jobs/{prompt_id}/cancel", {}) == (200, {"cancelled": True})
    await comfy.wait(prompt_id)
    assert (await comfy.get(f"/api/jobs/{prompt_id}"))[1]["status"] == "cancelled"
    assert await comfy.post(f"/api/jobs/{prompt_id}/cancel", {}) == (200, {"cancelled": False})


async def test_jobs_name_stage_and_outputs(comfy: Instance) -> None:
    if not await comfy.has_jobs():
        assert (await comfy.get("/api/jobs", limit="1"))[0] == 404
        return
    prompt_id, _, _ = await comfy.submit(image())
    entry = await comfy.wait(prompt_id)
    _, job = await comfy.get(f"/api/jobs/{prompt_id}")

    assert job["status"] == "completed"
    assert job["outputs"].keys() == entry["outputs"].keys()
    assert [name for name, _ in job["execution_status"]["messages"]][-1] == "execution_success"
