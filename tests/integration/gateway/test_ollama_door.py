"""Ollama's door where servers speak OpenAI's protocol alone, and where things go wrong: in Ollama's shape, at once."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from corral.gateway.catalogue import Catalogue, KnownModel
from corral.gateway.doors import Visitor
from corral.gateway.ollama.door import OllamaDoor
from corral.gateway.ollama.keeping import Host
from corral.gateway.ollama.listing import InMemory
from corral.gateway.passing import Passing
from corral.slots.guests import GuestLateError
from corral.work import Dialect, Endpoint, HostedModel, LoadedModel, PullStep, SlotId
from doubles.endpoints import ListedModels, NotedUsage, OpenDoorman, ServedEngine, serving_doors
from doubles.guest_desk import OpenDesk

Json = Any
OPENAI, OLLAMA = SlotId("a/gpu0/openai"), SlotId("a/gpu1/ollama")
CHAT = {"model": "tiny", "messages": [{"role": "user", "content": "hello"}]}
SSE = {"content-type": "text/event-stream"}


@dataclass
class NoModels:
    """Keeps the models of one instance, which does not run."""

    in_memory: list[InMemory] = field(default_factory=list[InMemory])
    pulled: list[str] = field(default_factory=list[str])

    def list_in_memory(self) -> Sequence[InMemory]:
        return self.in_memory

    def list_hosts(self, on: Sequence[str]) -> Sequence[Host]:
        del on
        return [Host("big", OLLAMA)]

    async def pull(self, visitor: Visitor, model: str, on: Host, report: Callable[[PullStep], None]) -> None:
        del visitor
        report(PullStep(words=f"pulling on {on.name}"))
        self.pulled.append(model)

    async def delete(self, visitor: Visitor, model: str, on: Host) -> None:
        raise AssertionError

    @asynccontextmanager
    async def reach(self, on: Host, *, starts: bool) -> AsyncIterator[Endpoint | None]:
        del on, starts
        yield None

    async def note_made(self, visitor: Visitor, model: str, on: Host) -> None:
        raise AssertionError


@dataclass
class House:
    """The door over one server of each kind."""

    url: str
    session: aiohttp.ClientSession
    answers: dict[str, Callable[[web.Request], Any]]
    asked: list[tuple[str, Json]]
    desk: OpenDesk
    doorman: OpenDoorman
    keeper: NoModels
    models: ListedModels
    usage: NotedUsage

    async def post(self, path: str, body: Json) -> tuple[int, Json, Any]:
        """POST, and return status, body and headers."""
        async with self.session.post(self.url + path, json=body) as answer:
            return answer.status, json.loads(await answer.read()), answer.headers

    async def read_lines(self, path: str, body: Json) -> list[Json]:
        async with self.session.post(self.url + path, json=body) as answer:
            assert answer.content_type == "application/x-ndjson"
            return [json.loads(line) for line in (await answer.read()).splitlines()]


@pytest.fixture
async def house() -> AsyncIterator[House]:
    answers: dict[str, Callable[[web.Request], Any]] = {}
    asked: list[tuple[str, Json]] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        asked.append((request.path, json.loads(body) if body else None))
        return await answers[request.path](request)

    runner = web.AppRunner(web.Application(), shutdown_timeout=0.01, handler_cancellation=True)
    runner.app.router.add_route("*", "/{path:.*}", serve)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    upstream = f"http://127.0.0.1:{runner.addresses[0][1]}"
    both = frozenset({Dialect.OLLAMA, Dialect.OPENAI})
    desk = OpenDesk({OPENAI: ServedEngine("openai", upstream), OLLAMA: ServedEngine("ollama", upstream, dialects=both)})
    loaded = HostedModel(name="smol:latest", digest="a" * 64, loaded=LoadedModel(context=4096))
    models = ListedModels(
        [
            KnownModel(engine="openai", name="tiny", slots=frozenset({OPENAI})),
            KnownModel(engine="ollama", name="smol:latest", slots=frozenset({OLLAMA}), facts=loaded),
            KnownModel(engine="whisper", name="hears"),
        ]
    )
    usage, doorman, keeper = NotedUsage(counts_tokens=True), OpenDoorman(), NoModels()
    passing = Passing(desk=desk, catalogue=Catalogue(models), sink=usage)
    async with serving_doors(OllamaDoor(passing, doorman, keeper)) as url, aiohttp.ClientSession() as session:
        yield House(url, session, answers, asked, desk, doorman, keeper, models, usage)
    await runner.cleanup()


def send(*events: Json, breaks: bool = False) -> Callable[[web.Request], Any]:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=SSE)
        await response.prepare(request)
        for event in events:
            await response.write(f"data: {json.dumps(event)}\n\n".encode())
        if breaks:
            assert request.transport is not None
            request.transport.abort()
        return response

    return answer


def refuse(status: int, body: Json) -> Callable[[web.Request], Any]:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    return answer


def say(text: str, finish: str | None = None) -> Json:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


async def test_stream_is_translated_line_by_line_and_its_tokens_counted(house: House) -> None:
    usage = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1}}
    house.answers["/v1/chat/completions"] = send(say("hi"), say("", "stop"), usage)

    lines = await house.read_lines("/api/chat", CHAT)

    assert [line["message"]["content"] for line in lines] == ["hi", ""]
    assert (lines[-1]["done"], lines[-1]["eval_count"]) == (True, 1)
    assert house.asked[0][1]["stream_options"] == {"include_usage": True}
    assert house.usage.served[0].tokens.prompt == 5
    assert house.desk.open == 0


async def test_request_goes_to_an_ollama_as_it_came_but_for_its_stay_in_memory(house: House) -> None:
    house.answers["/api/chat"] = refuse(200, {"anything": ["it", "says"]})
    turn = {**CHAT, "model": "SMOL", "keep_alive": -1, "unknown": 1}

    _, answer, headers = await house.post("/api/chat", turn)

    assert answer == {"anything": ["it", "says"]}
    assert headers["x-corral-slot"] == OLLAMA
    assert house.asked == [("/api/chat", {**CHAT, "model": "SMOL", "unknown": 1})]


async def test_connection_that_breaks_in_the_midst_ends_the_stream_with_one_error(house: House) -> None:
    house.answers["/v1/chat/completions"] = send(say("hi"), breaks=True)
    first, last = await house.read_lines("/api/chat", CHAT)
    assert first["message"]["content"] == "hi"
    assert list(last) == ["error"]


async def test_refusal_of_a_server_has_its_words_in_ollamas_shape(house: House) -> None:
    house.answers["/v1/chat/completions"] = refuse(400, {"error": {"message": "too long", "code": 400}})
    status, answer, _ = await house.post("/api/chat", CHAT)
    assert (status, answer) == (400, {"error": "too long"})


async def test_guest_that_would_wait_too_long_is_told_when_to_come_back(house: House) -> None:
    house.desk.error = GuestLateError("the slots are busy for 90 s", retry_after_s=31.2)
    status, answer, headers = await house.post("/api/chat", CHAT)
    assert (status, headers["Retry-After"]) == (503, "32")
    assert answer == {"error": "the slots are busy for 90 s"}


async def test_model_of_another_kind_and_one_that_is_unknown_are_refused_at_once(house: House) -> None:
    status, answer, _ = await house.post("/api/chat", {**CHAT, "model": "hears"})
    assert (status, "does not do this" in answer["error"]) == (404, True)
    status, answer, _ = await house.post("/api/generate", {"model": "tiny2", "prompt": "a"})
    assert status == 404
    assert answer["error"].startswith("model 'tiny2' not found (did you mean `tiny`")
    assert house.desk.asks == []


async def test_what_is_in_memory_is_listed_with_what_its_server_says(house: House) -> None:
    house.keeper.in_memory = [("ollama", "smol:latest"), ("openai", "tiny"), ("comfyui", "flux")]
    async with house.session.get(house.url + "/api/ps") as answer:
        listed = (await answer.json())["models"]
    assert [model["name"] for model in listed] == ["smol:latest", "tiny"]
    assert (listed[0]["digest"], listed[0]["context_length"]) == ("a" * 64, 4096)
    assert house.asked == []


async def test_key_that_is_for_some_models_lists_these_alone_and_changes_none(house: House) -> None:
    for path, body in (("/api/pull", {"model": "smoll"}), ("/api/create", {"model": "b", "from": "tiny"})):
        status, answer, _ = await house.post(path, body)
        assert (status, "'ada' cannot change models" in answer["error"]) == (403, True)
    house.doorman.visitor = Visitor(owner="ada", can_submit=False)
    assert (await house.post("/api/chat", CHAT))[0] == 403
    async with house.session.delete(house.url + "/api/delete", json={"model": "tiny"}) as answer:
        assert answer.status == 403


async def test_administrator_pulls_on_every_instance(house: House) -> None:
    house.doorman.visitor = Visitor(owner="local", can_submit=True, is_admin=True)
    lines = await house.read_lines("/api/pull", {"model": "new"})
    assert [line["status"] for line in lines] == ["pulling on big", "success"]
    assert (await house.post("/api/pull", {"model": "other", "stream": False}))[:2] == (200, {"status": "success"})
    assert house.keeper.pulled == ["new", "other"]


@pytest.mark.parametrize(("method", "path"), [("GET", "/api/chat"), ("POST", "/api/push"), ("GET", "/api/blobs/x")])
async def test_route_that_is_not_there_is_an_error_in_ollamas_shape(house: House, method: str, path: str) -> None:
    async with house.session.request(method, house.url + path) as answer:
        assert answer.status == 404
        assert list(await answer.json()) == ["error"]
