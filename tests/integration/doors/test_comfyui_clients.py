"""Clients of ComfyUI run their calls against a server over two instances, which is killed in the middle.

Server and instances are processes of their own.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import doubles.comfyui
from chaos.client import PatientClient
from chaos.kept import Kept, corral_up, keeping
from corral.data_dir import find_server
from doubles.comfyui_clients import ComfyCaller
from doubles.comfyui_nodes import picture
from doubles.comfyui_workflows import text_to_image
from doubles.short_folders import lend_short_folder

Json = Any
PROGRAM = Path(str(doubles.comfyui.__file__))
CLUSTER = """\
apiVersion: corral/v1
name: doors
nodes: [{{name: here, gpus: []}}]
engines:
  comfyui:
    instances: [{{name: left, url: "{left}"}}, {{name: right, url: "{right}"}}]
"""
PROMPTS = 10
MOST_CALLS = 40


@pytest.fixture
async def instances() -> AsyncIterator[list[str]]:
    """The addresses of two instances that take a second for a picture."""
    processes: list[asyncio.subprocess.Process] = []
    urls: list[str] = []
    for _ in range(2):
        options = ("--port", "0", "--seconds-per-image", "1")
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAM), *options, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        urls.append((await process.stdout.readline()).decode().split()[-1])
        processes.append(process)
    yield urls
    for process in processes:
        process.kill()
        await process.wait()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for PostgreSQL's socket."""
    with lend_short_folder() as folder:
        yield folder


@pytest.fixture
async def server(folder: Path, instances: list[str], database_url: str) -> AsyncIterator[Kept]:
    """A server, started again at once when it is killed."""
    file = folder / "cluster.yaml"
    file.write_text(CLUSTER.format(left=instances[0], right=instances[1]))
    server = corral_up(folder / "data", file, folder / "server.log", env={"CORRAL_DATABASE_URL": database_url})
    async with keeping(server):
        yield server
        await server.stop()


async def reach(folder: Path, session: aiohttp.ClientSession) -> ComfyCaller:
    """Return a caller of the server that leads now."""
    async with PatientClient(folder / "data") as client:
        await client.leading()
    here = find_server(folder / "data")
    assert here is not None
    return ComfyCaller(session, f"{here.url}/comfyui")


async def test_clients_see_one_comfyui_that_works_on_two_instances_and_survives_a_kill(
    folder: Path, server: Kept, instances: list[str]
) -> None:
    async with aiohttp.ClientSession() as session:
        comfy = await reach(folder, session)
        ids = await _submit(comfy)
        await _look_around(comfy)
        async with comfy.listen("script") as heard:
            await heard.until("executing", node=None)
        running = await comfy.poll("/queue", lambda queue: len(queue["queue_running"]) == 2)
        await comfy.post("/queue", {"delete": [running["queue_pending"][-1][1]]})
        assert server.kill()

        after = await reach(folder, session)
        history = await after.poll("/api/history", lambda history: len(history) == PROMPTS - 1)
        await _check_history(after, ids, history)
        both = [len(await ComfyCaller(session, url).get("/history")) for url in instances]
        calls = comfy.calls + after.calls

    assert sum(both) == PROMPTS - 1, "no prompt ran twice"
    assert min(both) > 1, "both instances worked"
    assert calls >= MOST_CALLS
    assert server.unexpected == []


async def _submit(comfy: ComfyCaller) -> list[str]:
    """Ten prompts as five clients send them: each with its own content type and with what it leaves out."""
    ids: list[str] = []
    for seed in range(PROMPTS):
        path = ("/prompt", "/api/prompt")[seed % 2]
        kind = ("application/json", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", None)[seed % 4]
        body: Json = {"prompt": text_to_image(seed=seed), "client_id": "script"}
        if seed % 3 == 0:
            body["prompt_id"] = f"0d5e0dd4-0000-4000-8000-00000000000{seed}"
        answer = await comfy.post(path, body, content_type=kind)
        assert answer["prompt_id"] == body.get("prompt_id", answer["prompt_id"])
        ids.append(answer["prompt_id"])
    again = await comfy.post("/prompt", {"prompt": text_to_image(seed=0), "client_id": "script", "prompt_id": ids[0]})
    assert again["prompt_id"] == ids[0]
    other = {"prompt": text_to_image(seed=99), "prompt_id": ids[0]}
    status, _ = await comfy.call("POST", "/prompt", json=other)
    assert status == 400, "an id is one prompt's"
    return ids


async def _look_around(comfy: ComfyCaller) -> None:
    """What clients read before and while they wait: SillyTavern, Open WebUI and Krita's plugin ask for these."""
    nodes = await comfy.get("/object_info")
    assert "KSampler" in nodes
    assert (await comfy.get("/object_info/KSampler"))["KSampler"] == nodes["KSampler"]
    assert await comfy.get("/object_info/Absent") == {}
    assert len((await comfy.get("/system_stats"))["devices"]) == 2
    assert "checkpoints" in await comfy.get("/models")
    assert "flux1-dev.safetensors" in await comfy.get("/models/checkpoints")
    assert await comfy.get("/embeddings") == []
    assert (await comfy.get("/features"))["supports_preview_metadata"] is True
    assert (await comfy.get("/prompt"))["exec_info"]["queue_remaining"] > 0
    jobs = await comfy.get("/api/jobs?status=pending,in_progress&limit=3")
    assert len(jobs["jobs"]) == 3
    assert jobs["pagination"]["has_more"]
    assert (await comfy.get(f"/api/jobs/{jobs['jobs'][0]['id']}"))["status"] in ("pending", "in_progress")
    await comfy.post("/free", {"unload_models": True, "free_memory": True})
    assert (await comfy.upload("mine.png", picture(seed=3, prompt="mine"), overwrite="true"))["name"] == "mine.png"
    status, page = await comfy.call("GET", "/")
    assert (status, b"<title>ComfyUI</title>" in page) == (200, True)
    await comfy.post("/api/settings/Comfy.Theme", "dark")
    assert (await comfy.get("/api/settings"))["Comfy.Theme"] == "dark"
    assert await comfy.get("/history/unknown") == {}
    status, _ = await comfy.call("GET", "/api/jobs/unknown")
    assert status == 404
    assert (await comfy.get("/prompt"))["exec_info"]["queue_remaining"] > 0


async def _check_history(comfy: ComfyCaller, ids: list[str], history: Json) -> None:
    for seed, prompt_id in enumerate(ids):
        if prompt_id not in history:
            continue
        entry = history[prompt_id]
        assert entry["status"]["status_str"] == "success", entry["status"]
        assert await comfy.get(f"/history/{prompt_id}") == {prompt_id: entry}
        (image,) = entry["outputs"]["9"]["images"]
        assert await comfy.view(image) == picture(seed=seed, prompt="a fox", width=32, height=32)
    upload = {"filename": "mine.png", "subfolder": "", "type": "input"}
    assert await comfy.view(upload) == picture(seed=3, prompt="mine")
    assert list(history) == [prompt_id for prompt_id in ids if prompt_id in history]
    assert await comfy.get("/queue") == {"queue_running": [], "queue_pending": []}
