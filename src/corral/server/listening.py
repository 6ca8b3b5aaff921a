"""Listens for HTTP: the socket, which is taken before anything else is started, and uvicorn on it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Generator
from contextlib import contextmanager
from typing import ClassVar

import uvicorn

from corral.errors import CorralError, Kind
from corral.server.settings import ServerSettings

BACKLOG = 256
"""Connections that wait to be accepted."""


_EVERY_ADDRESS = ("0.0.0.0", "::", "")


class ListenError(CorralError):
    """The server cannot listen at its address."""

    code: ClassVar[str] = "server.cannot_listen"
    kind: ClassVar[Kind] = Kind.CONFLICT


class HttpServer(uvicorn.Server):
    """Uvicorn without its own signal handlers: the runtime decides what a signal means."""

    def __init__(self, config: uvicorn.Config, context: ssl.SSLContext | None = None) -> None:
        """With a context, connections of the first sockets are encrypted."""
        super().__init__(config)
        config.load()
        config.ssl = self.context = context
        self._listening = asyncio.Event()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening.set()

    async def open(self, listener: socket.socket, context: ssl.SSLContext | None = None) -> asyncio.Server:
        """Accept connections at one more socket, which listens; with a context they are encrypted."""
        config = self.config

        def make_protocol() -> asyncio.Protocol:
            state, app_state = self.server_state, self.lifespan.state
            return config.http_protocol_class(config=config, server_state=state, app_state=app_state)  # pyright: ignore[reportCallIssue]  uvicorn's types call it an asyncio.Protocol

        loop = asyncio.get_running_loop()
        server = await loop.create_server(make_protocol, sock=listener, ssl=context, backlog=config.backlog)
        self.servers.append(server)
        return server

    def end_refused(self) -> None:
        """End the connections that would be refused by now: idle ones at once, the others after their answer."""
        for connection in list(self.server_state.connections):
            explain = getattr(connection, "explain_refusal", None)
            if explain is not None and explain() is not None:
                connection.shutdown()

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
        return bind(settings.host, settings.port)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror or error}",
            hint="choose another port with --port, or stop what uses this one",
        ) from error


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that listens at an address; an empty one is every address, of IPv4 and IPv6. Raises: OSError."""
    if not host and socket.has_dualstack_ipv6():
        listener = socket.create_server((host, port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG)
    else:
        family = socket.getaddrinfo(host or "0.0.0.0", port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    listener.setblocking(False)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # else small answers wait some 40 ms for an ACK
    return listener


def listen_for_own(settings: ServerSettings) -> socket.socket | None:
    """Take a free port of loopback for commands of this machine; None where the main port is plain and does for them.

    A certificate is for the name that others use; commands here know the server by its token.
    """
    return None if settings.tls is None else bind("127.0.0.1", 0)


def format_address(listener: socket.socket) -> str:
    """Return the address and the port at which a socket listens."""
    host, port = listener.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def format_people_url(settings: ServerSettings, listener: socket.socket, link: str | None) -> str:
    """Return the URL at which people reach a main port; `link` is the one that the cluster file gives."""
    if link is not None:
        return link
    url = format_url(settings, listener)
    return url.replace("127.0.0.1", socket.gethostname(), 1) if settings.host in _EVERY_ADDRESS else url


def format_url(settings: ServerSettings, listener: socket.socket) -> str:
    """Return the URL at which programs on this machine reach a main port."""
    scheme = "http" if settings.tls is None else "https"
    port = listener.getsockname()[1]
    host = "127.0.0.1" if settings.host in _EVERY_ADDRESS else settings.host
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
