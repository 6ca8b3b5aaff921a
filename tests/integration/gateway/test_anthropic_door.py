"""Anthropic's Messages API, passed on to a real llama.cpp, and to servers that lack it or fail."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from corral.gateway.anthropic.door import AnthropicDoor
from corral.gateway.catalogue import Catalogue, KnownModel
from corral.gateway.doors import Visitor
from corral.gateway.passing import Passing
from corral.slots.guests import GuestLateError
from corral.weights.store import Store
from corral.work import SlotId
from doubles.endpoints import ListedModels, OpenDoorman, ServedEngine, serving_doors
from doubles.guest_desk import OpenDesk
from doubles.local_engines import LLAMA, real_models
from doubles.real_doors import SLOT, serving_llama

Json = Any
ASKED = {
    "model": LLAMA,
    "max_tokens": 16,
    "temperature": 0,
    "messages": [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}],
}


async def post(session: aiohttp.ClientSession, url: str, body: Json) -> tuple[int, Json, Any]:
    async with session.post(url, json=body) as answer:
        return answer.status, await answer.json(), answer.headers


@pytest.fixture(scope="session")
def models() -> Store:
    return real_models()


async def test_messages_are_answered_by_a_real_server_whole_and_streamed(models: Store, tmp_path: Path) -> None:
    async with serving_llama(models, tmp_path, AnthropicDoor) as door, aiohttp.ClientSession() as session:
        status, answer, headers = await post(session, f"{door.url}/messages", ASKED)
        assert (status, answer["type"], answer["role"]) == (200, "message", "assistant")
        assert "Paris" in answer["content"][0]["text"]
        assert headers["x-corral-slot"] == SLOT
        async with session.post(f"{door.url}/messages", json={**ASKED, "model": "smollm2", "stream": True}) as stream:
            assert stream.content_type == "text/event-stream"
            events = [json.loads(line[6:]) async for line in stream.content if line.startswith(b"data: ")]
        assert (events[0]["type"], events[-1]["type"]) == ("message_start", "message_stop")
        assert [event for event in events if event["type"] == "content_block_delta"]
        status, counted, _ = await post(session, f"{door.url}/messages/count_tokens", ASKED)
        assert (status, counted["input_tokens"] > 5) == (200, True)
    assert [entry.tokens.completion for entry in door.usage.served][:2] == [
        answer["usage"]["output_tokens"],
        events[-2]["usage"]["output_tokens"],
    ]


@pytest.fixture
async def lacking() -> AsyncIterator[tuple[str, aiohttp.ClientSession, OpenDesk, OpenDoorman]]:
    """The door over a server that has no such route."""
    runner = web.AppRunner(web.Application(), shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    slot = SlotId("a/gpu0/openai")
    desk = OpenDesk({slot: ServedEngine("openai", f"http://127.0.0.1:{runner.addresses[0][1]}")})
    doorman = OpenDoorman()
    models = ListedModels([KnownModel(engine="openai", name="tiny"), KnownModel(engine="whisper", name="hears")])
    door = AnthropicDoor(Passing(desk=desk, catalogue=Catalogue(models)), doorman)
    async with serving_doors(door) as url, aiohttp.ClientSession() as session:
        yield f"{url}/v1/messages", session, desk, doorman
    await runner.cleanup()


Lacking = tuple[str, aiohttp.ClientSession, OpenDesk, OpenDoorman]


@pytest.mark.parametrize(
    ("model", "status", "kind"),
    [("tiny", 404, "not_found_error"), ("hears", 404, "not_found_error"), ("nothing", 404, "not_found_error")],
)
async def test_model_without_the_api_is_an_error_in_its_shape(
    lacking: Lacking, model: str, status: int, kind: str
) -> None:
    url, session, _, _ = lacking
    answered, answer, _ = await post(session, url, {**ASKED, "model": model})
    assert (answered, answer["type"], answer["error"]["type"]) == (status, "error", kind)
    assert answer["error"]["message"]


async def test_call_that_a_server_lacks_is_no_failure_of_its_slot(lacking: Lacking) -> None:
    url, session, desk, _ = lacking
    for _ in range(8):
        assert (await post(session, url, {**ASKED, "model": "tiny"}))[0] == 404
    assert [turn.failures for turn in desk.turns] == [[]] * 8
    assert {ask.avoid for ask in desk.asks[::2]} == {frozenset()}  # each asks again without the slot


async def test_wait_that_is_too_long_and_keys_that_do_not_do_are_errors_in_its_shape(lacking: Lacking) -> None:
    url, session, desk, doorman = lacking
    desk.error = GuestLateError("the slots are busy for 90 s", retry_after_s=30)
    status, answer, headers = await post(session, url, {**ASKED, "model": "tiny"})
    assert (status, answer["error"]["type"], headers["Retry-After"]) == (503, "overloaded_error", "30")
    doorman.visitor = Visitor(owner="ada", can_submit=False)
    status, answer, _ = await post(session, url, {**ASKED, "model": "tiny"})
    assert (status, answer["error"]["type"]) == (403, "permission_error")


@pytest.mark.parametrize("body", [b"{", b"[]", b"{}"])
async def test_body_that_cannot_be_used_is_refused(lacking: Lacking, body: bytes) -> None:
    url, session, _, _ = lacking
    async with session.post(url, data=body) as answer:
        assert (answer.status, (await answer.json())["error"]["type"]) == (400, "invalid_request_error")
