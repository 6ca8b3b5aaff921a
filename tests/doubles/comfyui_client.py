"""A plain client of a ComfyUI instance, and workflows that need no model: what the contract with ComfyUI is asked with.

It stands for nothing: it runs against the double and against a real instance alike.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any
from uuid import uuid4

import aiohttp

Json = Any
FOLDER = "corral-contract"
"""Where the workflows save, in the instance's folder of outputs."""
PREFIX = {"filename_prefix": f"{FOLDER}/plain"}


class Instance:
    """An instance and one client of it."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def get(self, path: str, **params: str) -> tuple[int, Json]:
        async with self.session.get(path, params=params) as response:
            body = await response.read()
            return response.status, json.loads(body) if response.content_type == "application/json" else body

    async def post(self, path: str, body: Json) -> tuple[int, Json]:
        async with self.session.post(path, json=body) as response:
            content = await response.read()
            return response.status, json.loads(content) if content.startswith(b"{") else content

    async def submit(self, prompt: Json, prompt_id: str | None = None, **more: Json) -> tuple[str, int, Json]:
        """Submit as Corral does: the prompt's id is the client's id as well."""
        prompt_id = prompt_id or str(uuid4())
        body = {"prompt": prompt, "prompt_id": prompt_id, "client_id": prompt_id, **more}
        return prompt_id, *(await self.post("/prompt", body))

    async def wait(self, prompt_id: str) -> Json:
        """Wait until the history has a prompt, and return its entry."""
        async with asyncio.timeout(60):
            while not (entry := (await self.get(f"/history/{prompt_id}"))[1].get(prompt_id)):  # noqa: ASYNC110 (no event)
                await asyncio.sleep(0.02)
        return entry

    async def run(self, prompt: Json) -> Json:
        """Run a prompt that is accepted, and return its entry in the history."""
        prompt_id, status, answer = await self.submit(prompt)
        assert status == 200, answer
        return await self.wait(prompt_id)

    async def find_stage(self, prompt_id: str) -> str | None:
        """Return where a prompt is in the queue."""
        _, queue = await self.get("/queue")
        stages = {"queue_running": "running", "queue_pending": "pending"}
        return next((stages[name] for name in stages for item in queue[name] if item[1] == prompt_id), None)

    async def wait_until_it_runs(self, prompt_id: str) -> None:
        """Wait until a prompt is the running one."""
        async with asyncio.timeout(60):
            while await self.find_stage(prompt_id) != "running":  # noqa: ASYNC110 (a real instance has no event to await)
                await asyncio.sleep(0.01)

    async def has_jobs(self) -> bool:
        """Whether this version has the jobs routes."""
        return (await self.get("/api/jobs", limit="1"))[0] == 200

    async def upload(self, name: str, content: bytes, **fields: str) -> tuple[int, Json]:
        form = aiohttp.FormData()
        form.add_field("image", content, filename=name, content_type="application/octet-stream")
        for field, value in fields.items():
            form.add_field(field, value)
        async with self.session.post("/upload/image", data=form) as response:
            return response.status, await response.json() if response.status == 200 else None

    def listen(self, client_id: str) -> aiohttp.client._WSRequestContextManager:
        return self.session.ws_connect("/ws", params={"clientId": client_id})


def image(*, color: int | None = None, size: int = 16) -> dict[str, Json]:
    """A workflow that saves one picture of one colour, a new one each time."""
    color = random.randrange(2**24) if color is None else color
    return {
        "1": {
            "class_type": "EmptyImage",
            "inputs": {"width": size, "height": size, "batch_size": 1, "color": color},
        },
        "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": f"{FOLDER}/plain"}},
    }


def long_chain(links: int = 100) -> dict[str, Json]:
    """A workflow that is interrupted between two of its nodes."""
    prompt = image()
    before = "1"
    for number in range(links):
        inputs = {"image": [before, 0], "upscale_method": "lanczos", "width": 512 + number, "height": 512}
        before = f"scale{number}"
        prompt[before] = {"class_type": "ImageScale", "inputs": inputs | {"crop": "disabled"}}
    prompt["2"]["inputs"]["images"] = [before, 0]
    return prompt
