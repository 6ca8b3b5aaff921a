"""A served API and a client of it, as tests use them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from corral.server.api.app import create_app, end_streams
from corral.server.connections import ConnectionLimits, make_server_config
from corral.server.listening import HttpServer
from corral.server.services import Services
from corral.units import Bytes

MIB = Bytes(1024 * 1024)
LIMITS = ConnectionLimits(connections=500)


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer, read whole."""

    status: int
    headers: dict[str, str]
    """By lower-case name."""
    body: bytes
    json: Any  # whatever the API answered


@dataclass(frozen=True, slots=True)
class Serving:
    """A real API on a loopback port, and a session to it."""

    url: str
    session: aiohttp.ClientSession
    stop: Callable[[], Awaitable[None]]
    """Stops the server as the runtime does; calling it again changes nothing."""

    async def call(self, method: str, path: str, **request: Any) -> Answered:  # the arguments of aiohttp's request
        """Send one request and read the answer."""
        async with self.session.request(method, self.url + path, **request) as response:
            body = await response.read()
            is_json = response.content_type == "application/json"
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answered(response.status, headers, body, await response.json() if is_json else None)

    async def get(self, path: str, **request: Any) -> Answered:
        """GET."""
        return await self.call("GET", path, **request)

    async def post(self, path: str, json: Any = None, **request: Any) -> Answered:
        """POST JSON."""
        return await self.call("POST", path, json=json, **request)


@asynccontextmanager
async def serving(
    services: Services, *, max_upload: Bytes = MIB, limits: ConnectionLimits = LIMITS, heartbeat_s: float = 15.0
) -> AsyncIterator[Serving]:
    """Serve the API, and the listeners of the services, for as long as the context lasts."""
    app = create_app(services, max_upload=max_upload, heartbeat_s=heartbeat_s)
    server = HttpServer(make_server_config(app, limits, services.listeners.explain_refusal))
    with socket.socket() as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as the runtime: 40 ms per answer otherwise
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)  # connections queue up from here on, so that nobody has to wait for the start
        running = asyncio.create_task(server.serve([listener]))
        if await server.wait_for_start(running):
            services.listeners.serve(server)

        async def stop() -> None:
            end_streams(app)
            services.listeners.close()
            server.should_exit = True
            await running

        async with aiohttp.ClientSession() as session:
            try:
                yield Serving(f"http://127.0.0.1:{listener.getsockname()[1]}", session, stop)
            finally:
                await stop()
