"""Services on loopback that apprise talks to: what a POST brings (`json://`, `ntfy://`), and e-mail (`mailto://`)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from typing import Any

from aiohttp import web
from aiosmtpd.smtp import SMTP, Envelope, Session


@dataclass
class Service:
    """A service that takes JSON, and what it got."""

    address: str = ""
    """Host and port."""
    status: int = 200
    hangs: bool = False
    got: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def handle(self, request: web.Request) -> web.Response:
        self.got.append({"path": request.path, **json.loads(await request.read())})
        self._news.set()
        if self.hangs:
            await asyncio.sleep(3600)
        return web.json_response({}, status=self.status)

    async def wait_for(self, count: int) -> None:
        """Wait until so many requests have arrived."""
        async with asyncio.timeout(60):
            while len(self.got) < count:
                self._news.clear()
                await self._news.wait()


@asynccontextmanager
async def serving_json() -> AsyncIterator[Service]:
    """Run a service for as long as the context lasts."""
    service = Service()
    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_post("/{path:.*}", service.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    service.address = f"127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield service
    finally:
        await runner.cleanup()


@dataclass
class Mailbox:
    """A mail server, and the letters that it got."""

    letters: list[Message] = field(default_factory=list[Message])
    port: int = 0

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.letters.append(message_from_bytes(envelope.content))
        return "250 OK"


@asynccontextmanager
async def taking_mail() -> AsyncIterator[Mailbox]:
    """Run a mail server for as long as the context lasts."""
    mailbox = Mailbox()
    server = await asyncio.get_running_loop().create_server(lambda: SMTP(mailbox), "127.0.0.1", 0)
    mailbox.port = server.sockets[0].getsockname()[1]
    try:
        yield mailbox
    finally:
        server.close()
