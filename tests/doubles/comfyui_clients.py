"""Clients of ComfyUI as programs write them: the calls of each, in its order and with its content types.

Stands for: ComfyUI's own websocket example (`script_examples/websockets_api_example.py`), SillyTavern, Open WebUI and
Krita's plugin, as their public sources make these calls. Does not stand for what they do with the answers.
"""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp

Json = Any


@dataclass
class Heard:
    """Everything that came over one websocket."""

    messages: list[tuple[str, Json]] = field(default_factory=list)
    pictures: list[bytes] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    def list_events(self, prompt_id: str) -> list[str]:
        """The events of one prompt, in order, each once in a row."""
        names = [name for name, data in self.messages if data.get("prompt_id") == prompt_id]
        return [name for index, name in enumerate(names) if index == 0 or names[index - 1] != name]

    async def until(self, event: str, **data: Json) -> Json:
        """Wait until an event has come with these data, and return all of its data."""
        async with asyncio.timeout(30):
            while True:
                self.came.clear()
                for name, said in self.messages:
                    if name == event and all(said.get(key, "absent") == value for key, value in data.items()):
                        return said
                await self.came.wait()


class ComfyCaller:
    """Asks one ComfyUI; `base` is its address."""

    def __init__(self, session: aiohttp.ClientSession, base: str) -> None:
        self.session = session
        self.base = base.rstrip("/")
        self.calls = 0

    async def call(self, method: str, path: str, **request: Any) -> tuple[int, bytes]:
        """Send one request, and return status and body."""
        self.calls += 1
        async with self.session.request(method, f"{self.base}{path}", **request) as response:
            return response.status, await response.read()

    async def get(self, path: str) -> Json:
        """GET JSON that must be there."""
        status, body = await self.call("GET", path)
        assert status == 200, (path, status, body[:300])
        return json.loads(body)

    async def poll(self, path: str, holds: Callable[[Json], bool]) -> Json:
        """GET JSON until it is as described, as many clients do, and return it."""
        async with asyncio.timeout(60):
            while not holds(answer := await self.get(path)):  # noqa: ASYNC110 (as its clients do)
                await asyncio.sleep(0.02)
        return answer

    async def post(self, path: str, body: Json = None, *, content_type: str | None = "application/json") -> Json:
        """POST JSON under any content type; the answer must be a success, and can be empty."""
        headers = {} if content_type is None else {"Content-Type": content_type}
        data = None if body is None else json.dumps(body).encode()
        status, answer = await self.call("POST", path, data=data, headers=headers)
        assert status == 200, (path, status, answer[:300])
        return json.loads(answer) if answer else None

    async def upload(self, name: str, content: bytes, *, path: str = "/upload/image", **fields: str) -> Json:
        """Upload an image, the file before the other fields, as browsers and SillyTavern order them."""
        form = aiohttp.FormData()
        form.add_field("image", content, filename=name, content_type="image/png")
        for field_name, value in fields.items():
            form.add_field(field_name, value)
        status, body = await self.call("POST", path, data=form)
        assert status == 200, (status, body)
        return json.loads(body)

    async def view(self, file: Json) -> bytes:
        """Get a file as the history names it."""
        query = f"filename={quote(file['filename'])}&subfolder={quote(file['subfolder'])}&type={file['type']}"
        status, body = await self.call("GET", f"/view?{query}")
        assert status == 200, (file, status, body[:300])
        return body

    @asynccontextmanager
    async def listen(self, client_id: str, *, metadata: bool = False) -> AsyncGenerator[Heard]:
        """Open the websocket of a client, and keep all that it says."""
        heard = Heard()
        url = f"{self.base.replace('http', 'ws', 1)}/ws?clientId={client_id}"
        async with self.session.ws_connect(url) as socket:
            self.calls += 1
            if metadata:
                flags = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
                await socket.send_json(flags)
            taking = asyncio.create_task(_take(socket, heard))
            await heard.until("status")
            try:
                yield heard
            finally:
                taking.cancel()


async def _take(socket: aiohttp.ClientWebSocketResponse, heard: Heard) -> None:
    async for message in socket:
        if message.type is aiohttp.WSMsgType.TEXT:
            said = json.loads(message.data)
            heard.messages.append((said["type"], said["data"]))
        elif message.type is aiohttp.WSMsgType.BINARY:
            heard.pictures.append(message.data)
        heard.came.set()


def read_preview(frame: bytes) -> tuple[Json, bytes]:
    """Read a preview with metadata."""
    event, length = struct.unpack(">II", frame[:8])
    assert event == 4, event
    return json.loads(frame[8 : 8 + length]), frame[8 + length :]
