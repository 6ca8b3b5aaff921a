"""OpenAI's door over upstreams that tests program, with a desk that gives turns at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from corral.cluster.gateway_values import GatewayModel
from corral.gateway.catalogue import Catalogue, KnownModel
from corral.gateway.cloud import CloudFallback
from corral.gateway.openai.door import OpenAiDoor
from corral.gateway.passing import Passing
from corral.gateway.upstream import Upstreams
from corral.work import Dialect, SlotId
from doubles.endpoints import ListedModels, NotedUsage, OpenDoorman, ServedEngine, serving_doors
from doubles.guest_desk import OpenDesk

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def say(body: Any, status: int = 200) -> Answer:
    """Answer every request alike."""

    async def answer(_: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    return answer


def stream(*events: Any, breaks: bool = False) -> Answer:
    """Answer with events; `breaks` ends the connection after them."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for event in events:
            await response.write(f"data: {event if isinstance(event, str) else json.dumps(event)}\n\n".encode())
        if breaks:
            assert request.transport is not None
            request.transport.abort()
        return response

    return answer


@dataclass
class Upstream:
    """A server that answers as it is programmed, and notes what it was asked."""

    answer: Answer = field(default_factory=lambda: say({"choices": [], "by": "upstream"}))
    answers: dict[str, Answer] = field(default_factory=dict[str, Answer])
    """By path, before `answer`."""
    asked: list[tuple[str, Any, Mapping[str, str]]] = field(default_factory=list[tuple[str, Any, Mapping[str, str]]])
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Whether a client has left before its answer was whole."""
    url: str = ""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        is_json = request.content_type == "application/json" and body
        self.asked.append((request.path, json.loads(body) if is_json else body, request.headers))
        try:
            return await self.answers.get(request.path, self.answer)(request)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise

    @property
    def bodies(self) -> list[Any]:
        return [body for _, body, _ in self.asked]


@dataclass
class Gateway:
    """The door, what is behind it, and a session to it."""

    url: str
    session: aiohttp.ClientSession
    desk: OpenDesk
    first: Upstream
    second: Upstream
    source: ListedModels
    catalogue: Catalogue
    doorman: OpenDoorman
    usage: NotedUsage
    named: dict[str, GatewayModel]
    stall_s: list[float]

    async def chat(self, model: str = "tiny", **fields: Any) -> tuple[int, Any]:
        status, _, answer = await self.call("/v1/chat/completions", {**_chat(model), **fields})
        return status, answer

    async def call(
        self, path: str, body: Any = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], Any]:
        method = "GET" if body is None else "POST"
        async with self.session.request(method, self.url + path, json=body, headers=headers) as response:
            text = await response.text()
            is_json = response.content_type == "application/json"
            return response.status, response.headers, json.loads(text) if is_json else text

    def post(
        self, path: str = "/v1/chat/completions", headers: Mapping[str, str] | None = None, **fields: Any
    ) -> Any:  # aiohttp's context manager
        return self.session.post(self.url + path, json={**_chat("tiny"), **fields}, headers=headers)


def _chat(model: str) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}]}


FIRST, SECOND = SlotId("node/gpu0/openai"), SlotId("node/gpu1/openai")


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """`tiny` on two servers that speak OpenAI's API, `llama3.2:latest` on an Ollama."""
    first, second = Upstream(), Upstream()
    runners: list[web.AppRunner] = []
    for upstream in (first, second):
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", upstream.serve)
        runner = web.AppRunner(app, shutdown_timeout=0.01, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        upstream.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        runners.append(runner)
    both = frozenset({Dialect.OPENAI, Dialect.OLLAMA})
    desk = OpenDesk(
        {
            FIRST: ServedEngine("openai", first.url, headers={"Authorization": "Bearer secret"}),
            SECOND: ServedEngine("openai", second.url),
            SlotId("far/ollama"): ServedEngine("ollama", second.url, dialects=both),
        }
    )
    source = ListedModels(
        [
            KnownModel(engine="openai", name="tiny", slots=frozenset({FIRST, SECOND})),
            KnownModel(engine="ollama", name="llama3.2:latest"),
            KnownModel(engine="whisper", name="whisper-base"),
        ]
    )
    named: dict[str, GatewayModel] = {}
    read = [dict(named)]

    def list_named() -> dict[str, GatewayModel]:
        """Return another object where the content is another, as a file that was read again is."""
        if read[0] != named:
            read[0] = dict(named)
        return read[0]

    catalogue = Catalogue(source, named=list_named)
    doorman, usage, stall_s = OpenDoorman(), NotedUsage(), [60.0]
    upstreams = Upstreams()
    environment = {"FAR_KEY": "key-of-far"}
    passing = Passing(
        desk=desk,
        catalogue=catalogue,
        upstreams=upstreams,
        sink=usage,
        fallback=CloudFallback(upstreams, environment),
        stall_s=lambda: stall_s[0],
    )
    await catalogue.refresh()
    async with serving_doors(OpenAiDoor(passing, doorman)) as url, aiohttp.ClientSession() as session:
        yield Gateway(
            url=url,
            session=session,
            desk=desk,
            first=first,
            second=second,
            source=source,
            catalogue=catalogue,
            doorman=doorman,
            usage=usage,
            named=named,
            stall_s=stall_s,
        )
    await passing.close()
    for runner in runners:
        await runner.cleanup()
