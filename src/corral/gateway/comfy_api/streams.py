"""The events of one job as server-sent events; nothing is replayed, a new stream begins with how it is now."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from corral.gateway.asgi import Exchange
from corral.gateway.comfy_api.jobs import ApiError, describe_outputs, describe_progress, find_status
from corral.gateway.comfyui.workshop import ENDED, Event, Moved, News, Picture, StoredPrompt, Workshop
from corral.gateway.statuses import RETRY_AFTER_S
from corral.work import Json

MOST_STREAMS = 64
"""Of one owner."""
MOST_OF_ALL = 1024
"""Of all owners: each has a connection, and reads every change of the queue."""
HEARTBEAT_S = 10.0
"""Between two comments; `comfy-sdk` takes 45 s of silence for a lost connection."""
PREVIEW_S = 0.5
"""Between two previews at least: they are base64 in the stream."""
_HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


@dataclass(slots=True)
class Streams:
    """The streams that are open."""

    workshop: Workshop
    heartbeat_s: float = HEARTBEAT_S
    _open: Counter[str] = field(default_factory=Counter[str], init=False)
    """Streams by owner."""

    async def serve(self, exchange: Exchange, prompt: StoredPrompt, base: str, expires_at: str) -> None:
        """Send a job's events until it ends, its client goes, or the server stops. Raises: ApiError."""
        owner = prompt.owner
        if self._open[owner] >= MOST_STREAMS or self._open.total() >= MOST_OF_ALL:
            what = f"{self._open[owner]} streams of {owner!r} are open, and {self._open.total()} of all owners"
            raise ApiError(429, "too_many_streams", what, {"retry_after": RETRY_AFTER_S})
        self._open[owner] += 1
        try:
            stream = _Stream(self.workshop, exchange, prompt, base, expires_at)
            await exchange.start(200, _HEADERS)
            async with asyncio.TaskGroup() as group:
                parts = [
                    group.create_task(part)
                    for part in (stream.run(), stream.beat(self.heartbeat_s), _until_gone(exchange))
                ]
                await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
                for part in parts:
                    part.cancel()
            await exchange.end()
        finally:
            self._open[owner] -= 1
            if not self._open[owner]:
                del self._open[owner]


async def _until_gone(exchange: Exchange) -> None:
    await exchange.read_body()
    await exchange.until_gone()


class _Stream:
    def __init__(
        self, workshop: Workshop, exchange: Exchange, prompt: StoredPrompt, base: str, expires_at: str
    ) -> None:
        self._workshop = workshop
        self._exchange = exchange
        self._prompt = prompt
        self._base = base
        self._expires_at = expires_at
        self._node = ""
        self._shown_at = 0.0
        self._status = ""

    async def run(self) -> None:
        """Send what happens to the job."""
        async with self._workshop.follow() as news:
            await self._say_status()
            if self._prompt.stage in ENDED:
                return
            await self._say_progress()
            async for item in news:
                if item.task == self._prompt.task:
                    await self._take(item)
                    if self._prompt.stage in ENDED:
                        return

    async def beat(self, every_s: float) -> None:
        """Send comments, so that neither side takes silence for an end."""
        while True:
            await asyncio.sleep(every_s)
            await self._exchange.write(b": heartbeat\n\n")

    async def _take(self, news: News) -> None:
        if isinstance(news, Moved):
            await self._say_status()
        elif isinstance(news, Event):
            if news.name == "execution_start":
                await self._say_status()
            if news.name == "executing" and isinstance(news.data.get("node"), str):
                self._node = news.data["node"]
            if news.name in ("progress_state", "execution_cached"):
                await self._say_progress()
        else:
            await self._show(news)

    async def _say_status(self) -> None:
        """Read the job anew, and say how it is where that has changed; its files are said before its end."""
        prompt = next(iter(await self._workshop.read([self._prompt.task])), None)
        if prompt is None:
            return
        self._prompt = prompt
        status = find_status(prompt)
        if status == self._status:
            return
        self._status = status
        if prompt.stage in ENDED:
            for output in describe_outputs(prompt, self._base, self._expires_at):
                await self._say("output", output)
        await self._say("status", {"status": status, "queue_position": None})

    async def _say_progress(self) -> None:
        progress = describe_progress(self._prompt, self._workshop.find_course(self._prompt.task))
        if progress is not None:
            await self._say("progress", progress)

    async def _show(self, picture: Picture) -> None:
        now = time.monotonic()
        if picture.media_type.startswith("image/") and now - self._shown_at >= PREVIEW_S:
            self._shown_at = now
            encoded = base64.b64encode(picture.data).decode()
            await self._say(
                "preview", {"node_id": self._node, "content_type": picture.media_type, "data_base64": encoded}
            )

    async def _say(self, event: str, data: Mapping[str, Json]) -> None:
        await self._exchange.write(f"event: {event}\ndata: {json.dumps(data)}\n\n".encode())
