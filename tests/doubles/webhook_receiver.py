"""A receiver of webhooks on loopback that takes them, fails, hangs, redirects or is gone, as a test says.

It verifies each request with the code of the Standard Webhooks project (PyPI `standardwebhooks`), so what it has taken
was signed right, with a timestamp of the last five minutes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from standardwebhooks import Webhook

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
"""The secret of the specification's own examples."""


@dataclass
class Receiver:
    """What has arrived, and how it answers."""

    url: str = ""
    secret: str = SECRET
    answer: Callable[[dict[str, Any]], web.Response | None] = lambda _: None
    """Makes the answer to a message; None takes it."""
    hangs: bool = False
    arrived: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    """Ids and contents of all requests, also of those that were not taken."""
    taken: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        Webhook(self.secret).verify(body, dict(request.headers))
        message = (request.headers["webhook-id"], json.loads(body))
        self.arrived.append(message)
        self._note()
        if self.hangs:
            await asyncio.sleep(3600)
        answer = self.answer(message[1])
        if answer is None:
            self.taken.append(message)
            self._note()
        return answer or web.Response(status=204)

    async def wait_for(self, holds: Callable[[Receiver], bool], *, within_s: float = 30) -> None:
        """Wait until something is true of what has arrived."""
        async with asyncio.timeout(within_s):
            while not holds(self):
                await self._news.wait()

    def list_taken(self) -> list[tuple[str, int]]:
        """The types of the messages that were taken, each with the task or batch that it is about."""
        return [
            (message["type"], message["data"].get("task") or message["data"].get("batch")) for _, message in self.taken
        ]

    def _note(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


@asynccontextmanager
async def receiving(host: str = "127.0.0.1") -> AsyncIterator[Receiver]:
    """Run a receiver for as long as the context lasts."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/{path:.*}", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, host, 0)
    await site.start()
    port = runner.addresses[0][1]
    receiver.url = f"http://{host}:{port}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()
