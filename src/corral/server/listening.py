"""Listens for HTTP: the socket, which is taken before anything else is started, and uvicorn on it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import ClassVar

import uvicorn

from corral.errors import CorralError, Kind
from corral.server.settings import ServerSettings


class ListenError(CorralError):
    """The server cannot listen at its address."""

    code: ClassVar[str] = "server.cannot_listen"
    kind: ClassVar[Kind] = Kind.CONFLICT


class HttpServer(uvicorn.Server):
    """Uvicorn without its own signal handlers: the runtime decides what a signal means."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening.set()

    async def wait_for_start(self, serving: asyncio.Task[None]) -> bool:
        """Return whether requests are accepted: True once they are, False when `serving` ended before."""
        listening = asyncio.create_task(self._listening.wait())
        try:
            await asyncio.wait({listening, serving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            listening.cancel()
        return self._listening.is_set() and not serving.done()


def listen(settings: ServerSettings) -> socket.socket:
    """Take the address of the settings. Raises: ListenError."""
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((settings.host, settings.port), family=family, backlog=256)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}",
            hint="choose another port with --port, or stop what uses this one",
        ) from error
    listener.setblocking(False)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else small answers wait some 40 ms for an ACK
    return listener


def format_url(settings: ServerSettings, listener: socket.socket) -> str:
    """Return the URL at which programs on this machine reach the server."""
    port = listener.getsockname()[1]
    any_address = settings.host in ("0.0.0.0", "::", "")
    host = "127.0.0.1" if any_address else settings.host
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
