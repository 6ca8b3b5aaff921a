"""Engines whose servers tests run themselves, and doors on a loopback port without the rest of a server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

from corral.errors import CorralError, Kind
from corral.gateway.asgi import Exchange, Scope
from corral.gateway.catalogue import KnownModel
from corral.gateway.doors import Door, Doors, Visitor
from corral.gateway.usage import Served
from corral.server.connections import ConnectionLimits, make_server_config
from corral.work import Dialect, Endpoint, EngineError, Produced, Reporter, Resident, Use, Work


@dataclass
class ServedEngine:
    """An engine whose server is somewhere already; everything but lending it is left out."""

    name: str
    url: str
    dialects: frozenset[Dialect] = frozenset({Dialect.OPENAI})
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    is_corral: bool = False
    error: EngineError | None = None
    """Raised instead of lending it."""
    lent: int = 0
    """Those that have it now."""

    @asynccontextmanager
    async def reach(
        self, model: str | None, note: Callable[[str], None], devices: tuple[str, ...] = (), use: Use = Use.WRITING
    ) -> AsyncGenerator[Endpoint]:
        del devices, use
        note(f"loading {model}")
        if self.error is not None:
            raise self.error
        self.lent += 1
        try:
            yield Endpoint(
                url=self.url,
                dialects=self.dialects,
                headers=self.headers,
                model=model,
                is_corral=self.is_corral,
            )
        finally:
            self.lent -= 1

    async def run(self, work: Work, report: Reporter) -> Produced:
        raise NotImplementedError

    async def resident(self) -> tuple[Resident, ...]:
        return ()

    async def check(self) -> None:
        """It works."""

    async def release(self) -> None:
        """It keeps nothing."""

    async def kill(self) -> None:
        """It is the test's to end."""

    async def close(self) -> None:
        """As above."""


@dataclass
class ListedModels:
    """Stands for the stores and servers that the catalogue asks."""

    models: list[KnownModel] = field(default_factory=list[KnownModel])
    looks: int = 0

    async def list_models(self) -> Sequence[KnownModel]:
        self.looks += 1
        return tuple(self.models)


class DeniedError(CorralError):
    code = "auth.not_authenticated"
    kind = Kind.DENIED


@dataclass
class OpenDoorman:
    """Lets everybody in as one visitor; `error` is raised instead while it is set."""

    visitor: Visitor = field(default_factory=lambda: Visitor(owner="ada", can_submit=True, key="ada"))
    error: CorralError | None = None

    async def admit(self, scope: Scope) -> Visitor:
        del scope
        if self.error is not None:
            raise self.error
        return self.visitor


@dataclass
class NotedUsage:
    """Notes what requests use; `error` is raised instead of letting them begin."""

    counts_tokens: bool = False
    error: CorralError | None = None
    began: list[str] = field(default_factory=list[str])
    ended: list[str] = field(default_factory=list[str])
    served: list[Served] = field(default_factory=list[Served])
    joules: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    """Energy of requests, by model."""

    def check(self, visitor: Visitor) -> None:
        del visitor
        if self.error is not None:
            raise self.error

    def begin(self, visitor: Visitor, model: str) -> None:
        del visitor
        if self.error is not None:
            raise self.error
        self.began.append(model)

    def end(self, visitor: Visitor, model: str) -> None:
        del visitor
        self.ended.append(model)

    def record(self, served: Served) -> None:
        self.served.append(served)

    def record_energy(self, served: Served, joules: float) -> None:
        self.joules.append((served.model, joules))


async def _answer_nothing(scope: Scope, receive: object, send: object) -> None:
    """Stand for Corral's own API."""
    if scope["type"] == "http":
        await Exchange(scope, receive, send).answer_json(404, {"error": "of the API"})


@asynccontextmanager
async def serving_doors(*doors: Door) -> AsyncIterator[str]:
    """Serve doors as the server does, and return their base URL.

    What escapes a door closes the connection, which the next request on it meets: it is raised at the end instead.
    """
    app, escaped = Doors(_answer_nothing, doors), list[Exception]()

    async def serve(scope: Any, receive: Any, send: Any) -> None:  # ASGI's, of any server
        try:
            await app(scope, receive, send)
        except Exception as error:
            escaped.append(error)
            raise

    config = make_server_config(serve, ConnectionLimits(connections=500))
    config.lifespan = "off"
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        running = asyncio.create_task(server.serve([listener]))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            await running
            if escaped:
                raise escaped[0]
