"""The ComfyUI door over two doubles: what its clients see is one ComfyUI."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from corral.cluster.values import Cluster, EngineSettings, Instance, Node, QueueSettings
from corral.engines.comfyui.client import Timings
from corral.engines.comfyui.engine import ComfyUi
from corral.gateway.comfyui.sockets import MOST_SOCKETS
from corral.work import PASSED_ON_MARK, SlotLacksError
from doubles.comfyui import ComfyDouble
from doubles.comfyui_clients import ComfyCaller, read_preview
from doubles.comfyui_nodes import picture
from doubles.comfyui_workflows import comfy_work, text_to_image
from doubles.remote_reports import KeptReports
from doubles.serving import Serving
from doubles.yard import Yard
from integration.doors.conftest import Open

Json = Any
QUICK = Timings(poll_s=0.1, retry_s=0.02, reconnect_s=0.5, check_s=0.5)


@dataclass(frozen=True)
class House:
    """A door, and the two instances behind it."""

    comfy: ComfyCaller
    left: ComfyDouble
    right: ComfyDouble
    api: Serving
    yard: Yard


def make_cluster(*urls: str) -> Cluster:
    instances = tuple(Instance(name=f"instance-{number}", url=url) for number, url in enumerate(urls))
    return Cluster(
        name="test",
        nodes=(Node(name="node"),),
        engines={"comfyui": EngineSettings(name="comfyui", instances=instances)},
        queues={"default": QueueSettings(name="default")},
    )


@pytest.fixture
async def house(yard: Yard, open_house: Open) -> AsyncIterator[House]:
    """The door over two instances that take no time."""
    async with ComfyDouble() as left, ComfyDouble(jobs=True) as right:
        yard.start(ComfyUi(left.url, timings=QUICK), ComfyUi(right.url, timings=QUICK))
        async with open_house(make_cluster(left.url, right.url)) as api:
            yield House(ComfyCaller(api.session, f"{api.url}/comfyui"), left, right, api, yard)


async def test_example_of_comfyui_itself_works_unchanged(house: House) -> None:
    """`websockets_api_example.py`: form-urlencoded prompt, the socket until no node runs, history, view."""
    comfy = house.comfy
    async with comfy.listen("example") as heard:
        body = {"prompt": text_to_image(seed=7), "client_id": "example"}
        answer = await comfy.post("/prompt", body, content_type="application/x-www-form-urlencoded")
        prompt_id = answer["prompt_id"]
        await heard.until("executing", node=None, prompt_id=prompt_id)
        history = await comfy.get(f"/history/{prompt_id}")

    (image,) = history[prompt_id]["outputs"]["9"]["images"]
    assert await comfy.view(image) == picture(seed=7, prompt="a fox", width=32, height=32)
    events = heard.list_events(prompt_id)
    assert events[0] == "execution_start"
    assert events[-2:] == ["execution_success", "executing"]
    assert {"progress", "progress_state", "executed"} < set(events)
    assert answer["node_errors"] == {}
    assert history[prompt_id]["status"]["completed"] is True
    assert heard.messages[-1][0] == "status" or heard.messages[-1][1]["node"] is None


async def test_previews_come_with_their_prompt_and_node_where_the_client_asks(house: House) -> None:
    async with house.comfy.listen("artist", metadata=True) as heard:
        answer = await house.comfy.post("/prompt", {"prompt": text_to_image(), "client_id": "artist"})
        await heard.until("executing", node=None, prompt_id=answer["prompt_id"])

    assert len(heard.pictures) == 4
    metadata, image = read_preview(heard.pictures[0])
    assert (metadata["prompt_id"], metadata["node_id"]) == (answer["prompt_id"], "3")
    assert image.startswith(b"\x89PNG")


async def test_prompt_without_client_and_key_is_in_the_history_that_sillytavern_polls(house: House) -> None:
    answer = await house.comfy.post("/prompt", {"prompt": text_to_image()}, content_type="text/plain")
    history = await house.comfy.poll("/history", bool)

    entry = history[answer["prompt_id"]]
    assert entry["prompt"][2] == text_to_image()
    assert entry["status"]["status_str"] == "success"
    assert await house.comfy.get("/queue") == {"queue_running": [], "queue_pending": []}


async def test_two_instances_work_at_once_on_ten_prompts(house: House) -> None:
    house.left.hold()
    house.right.hold()
    async with house.comfy.listen("ten") as heard:
        bodies = [{"prompt": text_to_image(seed=seed), "client_id": "ten"} for seed in range(10)]
        ids = [(await house.comfy.post("/prompt", body))["prompt_id"] for body in bodies]
        await house.left.until(lambda: house.left.running is not None)
        await house.right.until(lambda: house.right.running is not None)
        queue = await house.comfy.poll("/queue", lambda queue: len(queue["queue_running"]) == 2)
        assert [item[1] for item in queue["queue_pending"]] == ids[2:]
        assert (await house.comfy.get("/prompt"))["exec_info"]["queue_remaining"] == 10
        await house.left.proceed()
        await house.right.proceed()
        for prompt_id in ids:
            await heard.until("executing", node=None, prompt_id=prompt_id)

    history = await house.comfy.get("/history")
    assert list(history) == ids
    assert len(house.left.executed) + len(house.right.executed) == 10
    assert house.left.executed
    assert house.right.executed


async def test_uploaded_picture_reaches_whichever_instance_runs_its_prompt(house: House) -> None:
    content = picture(seed=1, prompt="a portrait")
    first = await house.comfy.upload("portrait.png", content, type="input")
    other = await house.comfy.upload("portrait.png", picture(seed=2, prompt="another"), type="input")
    again = await house.comfy.upload("portrait.png", content, type="input")
    workflow = text_to_image()
    workflow["5"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["10", 0], "vae": ["4", 2]}}
    workflow["10"] = {"class_type": "LoadImage", "inputs": {"image": other["name"]}}
    async with house.comfy.listen("uploads") as heard:
        for seed in range(4):
            workflow["3"]["inputs"]["seed"] = seed
            answer = await house.comfy.post("/prompt", {"prompt": workflow, "client_id": "uploads"})
            await heard.until("executing", node=None, prompt_id=answer["prompt_id"])
    history = await house.comfy.get("/history")

    assert (first["name"], other["name"], again["name"]) == ("portrait.png", "portrait (1).png", "portrait.png")
    assert {entry["status"]["status_str"] for entry in history.values()} == {"success"}
    assert await house.comfy.view({"filename": "portrait.png", "subfolder": "", "type": "input"}) == content
    described = await house.comfy.get("/object_info/LoadImage")
    assert described["LoadImage"]["input"]["required"]["image"][0] == [
        "example.png",
        "portrait (1).png",
        "portrait.png",
    ]


async def test_mask_is_put_on_an_upload_or_an_output_by_an_instance_and_is_an_upload_then(house: House) -> None:
    portrait, mask = picture(seed=1, prompt="a portrait"), picture(seed=9, prompt="a mask")
    await house.comfy.upload("portrait.png", portrait, type="input", subfolder="people")
    drawn = await house.comfy.post("/prompt", {"prompt": text_to_image(seed=3)})
    history = await house.comfy.poll(f"/history/{drawn['prompt_id']}", bool)
    (output,) = history[drawn["prompt_id"]]["outputs"]["9"]["images"]
    uploaded = {"filename": "portrait.png", "subfolder": "people", "type": "input"}

    async def put_mask(on: Json) -> Json:
        rest = {"type": "input", "subfolder": "clipspace", "original_ref": json.dumps(on)}
        return await house.comfy.upload("painted.png", mask, path="/upload/mask", **rest)

    first, second = await put_mask(uploaded), await put_mask(output)

    assert first == {"name": "painted.png", "subfolder": "clipspace", "type": "input"}
    assert second["name"] == "painted (1).png"  # another content under the same name, as ComfyUI names it
    original = picture(seed=3, prompt="a fox", width=32, height=32)
    for masked, content in ((first, portrait), (second, original)):
        named = {"filename": masked["name"], "subfolder": masked["subfolder"], "type": "input"}
        assert await house.comfy.view(named) == content + mask
    form = {"original_ref": json.dumps({"filename": "absent.png", "type": "input"})}
    status, body = await house.comfy.call("POST", "/upload/mask", data=_make_form("a.png", mask, form))
    assert (status, b"absent.png" in body) == (404, True)


def _make_form(name: str, content: bytes, fields: dict[str, str]) -> aiohttp.FormData:
    form = aiohttp.FormData(fields)
    form.add_field("image", content, filename=name, content_type="image/png")
    return form


async def test_owner_has_so_many_sockets_and_one_more_says_why_it_closes(house: House) -> None:
    address = f"{house.api.url}/comfyui/ws".replace("http", "ws", 1)
    async with AsyncExitStack() as stack:

        async def connect(client: int) -> aiohttp.ClientWebSocketResponse:
            connecting = house.api.session.ws_connect(f"{address}?clientId={client}")
            return await stack.enter_async_context(connecting)

        for client in range(MOST_SOCKETS):
            assert (await (await connect(client)).receive()).type is aiohttp.WSMsgType.TEXT
        refused = await (await connect(MOST_SOCKETS)).receive()
        again = await (await connect(0)).receive()  # takes the place of the first
        seen = (await house.api.get("/metrics")).body.decode()
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await house.api.session.ws_connect(address.removesuffix("/ws"))
    ended = (await house.api.get("/metrics")).body.decode()

    assert (refused.type, refused.data) == (aiohttp.WSMsgType.CLOSE, 1013)
    assert f"{MOST_SOCKETS} sockets" in (refused.extra or "")
    assert again.type is aiohttp.WSMsgType.TEXT
    counted = re.findall(
        r'^corral_websockets_(?:open|total\{outcome="accepted",route="/comfyui/ws"\}) (.+)$', seen, re.M
    )
    assert sum(map(float, counted)) == MOST_SOCKETS + 2, "those that are open, and those that were"
    assert 'corral_websockets_total{outcome="refused",route="unmatched"} 1.0' in ended


async def test_refusal_is_comfyuis_own(house: House) -> None:
    workflow = text_to_image()
    workflow["4"]["inputs"]["ckpt_name"] = "absent.safetensors"
    workflow["3"]["inputs"]["steps"] = 0
    status, body = await house.comfy.call("POST", "/prompt", json={"prompt": workflow})
    answer = json.loads(body)

    assert status == 400
    assert answer["error"]["type"] == "prompt_outputs_failed_validation"
    errors = {node: [error["type"] for error in entry["errors"]] for node, entry in answer["node_errors"].items()}
    assert errors == {"3": ["value_smaller_than_min"], "4": ["value_not_in_list"]}
    assert answer["node_errors"]["4"]["dependent_outputs"] == ["9"]
    assert await house.comfy.get("/queue") == {"queue_running": [], "queue_pending": []}


async def test_interrupt_ends_what_runs_and_clear_what_waits(house: House) -> None:
    house.left.hold()
    house.right.hold()
    async with house.comfy.listen("stops") as heard:
        bodies = [{"prompt": text_to_image(seed=seed), "client_id": "stops"} for seed in range(4)]
        ids = [(await house.comfy.post("/prompt", body))["prompt_id"] for body in bodies]
        await house.left.until(lambda: house.left.running is not None)
        await house.right.until(lambda: house.right.running is not None)
        await house.comfy.poll("/queue", lambda queue: len(queue["queue_running"]) == 2)
        await house.comfy.post("/queue", {"clear": True})
        await house.comfy.post("/interrupt", content_type=None)
        for prompt_id in ids[:2]:
            await heard.until("execution_interrupted", prompt_id=prompt_id)

    history = await house.comfy.get("/history")
    assert sorted(history) == sorted(ids[:2])
    assert {entry["status"]["messages"][-1][0] for entry in history.values()} == {"execution_interrupted"}
    await house.comfy.post("/history", {"delete": [ids[0]]})
    assert list(await house.comfy.get("/history")) == [ids[1]]
    await house.comfy.post("/history", {"clear": True})
    assert await house.comfy.get("/history") == {}


async def test_pictures_are_made_by_another_corral_on_as_many_lanes_as_it_has_instances(
    house: House, tmp_path: Path
) -> None:
    far = ComfyUi(f"{house.api.url}/comfyui", timings=QUICK)
    near = ComfyUi(house.left.url, timings=QUICK)
    folders = [tmp_path / name for name in ("first", "second")]
    for folder in folders:
        folder.mkdir()
    works = [comfy_work(folder, inputs={"seed": number}) for number, folder in enumerate(folders)]

    await far.check()
    await near.check()
    lanes = await far.count_lanes(), await near.count_lanes()
    made = await asyncio.gather(*(far.run(work, KeptReports()) for work in works))
    await far.close()
    await near.close()

    assert lanes == (2, None)
    assert [produced.files[0].media_type for produced in made] == ["image/png", "image/png"]
    stored = [data for _, data in await house.yard.pool.fetch("select id, inputs -> 'extra_data' from tasks")]
    assert all(PASSED_ON_MARK in data for data in stored)


async def test_a_prompt_of_a_corral_goes_to_a_comfyui_and_not_to_a_third_corral(house: House, tmp_path: Path) -> None:
    third = ComfyUi(f"{house.api.url}/comfyui", timings=QUICK)
    await third.check()

    with pytest.raises(SlotLacksError, match="comes from a Corral"):
        await third.run(comfy_work(tmp_path, inputs={"extra_data": {PASSED_ON_MARK: True}}), KeptReports())
    await third.close()

    assert await house.yard.pool.fetchval("select count(*) from tasks") == 0
