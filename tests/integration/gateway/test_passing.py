"""A request reaches a slot and its answer comes back as it is; failures before the first byte are not the client's."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import pytest
from aiohttp import web

from corral.cluster.gateway_values import GatewayModel
from corral.gateway.doors import Visitor
from corral.gateway.usage import Tokens
from corral.slots.guests import Choice, GuestLateError
from corral.work import EngineUnavailableError, SlotId, TaskInvalidError
from doubles.endpoints import DeniedError, ServedEngine

from .conftest import FIRST, SECOND, Gateway, say, stream

EVENT = {"choices": [{"index": 0, "delta": {"content": "hi"}}]}


async def wait_for_end(gateway: Gateway) -> None:
    async with asyncio.timeout(20):
        while gateway.desk.open:  # noqa: ASYNC110 (the double has no signal)
            await asyncio.sleep(0.01)


async def test_answer_is_passed_on_untouched_with_the_slots_name(gateway: Gateway) -> None:
    gateway.first.answer = say({"model": "whatever", "choices": [1], "extra": "é"})

    status, headers, answer = await gateway.call("/v1/chat/completions", {"model": "tiny", "messages": [], "odd": 1})

    assert (status, answer) == (200, {"model": "whatever", "choices": [1], "extra": "é"})
    assert headers["x-corral-slot"] == FIRST
    ((path, body, sent),) = gateway.first.asked
    assert (path, body) == ("/v1/chat/completions", {"model": "tiny", "messages": [], "odd": 1})
    assert sent["Authorization"] == "Bearer secret"
    assert gateway.desk.open == 0


async def test_stream_arrives_while_it_is_written(gateway: Gateway) -> None:
    go_on = asyncio.Event()

    async def write(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await go_on.wait()
        await response.write(b"data: 2\n\n")
        return response

    gateway.first.answer = write
    async with gateway.post(stream=True) as response:
        assert response.content_type == "text/event-stream"
        assert await response.content.readany() == b"data: 1\n\n"
        assert gateway.desk.open == 1
        go_on.set()
        assert await response.content.read() == b"data: 2\n\n"


async def test_turn_is_given_back_at_once_when_the_client_leaves(gateway: Gateway) -> None:
    async def write(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await asyncio.Event().wait()
        return response

    gateway.first.answer = write
    async with gateway.post(stream=True) as response:
        await response.content.readany()
        response.close()
    await wait_for_end(gateway)
    await asyncio.wait_for(gateway.first.left.wait(), 20)
    assert gateway.usage.served[0].is_whole is False
    assert gateway.usage.ended == ["tiny"]


async def test_client_that_leaves_before_the_answer_ends_the_upstreams_work(gateway: Gateway) -> None:
    asked = asyncio.Event()

    async def think(_: web.Request) -> web.StreamResponse:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    gateway.first.answer = think
    asking = asyncio.create_task(gateway.chat())
    await asyncio.wait_for(asked.wait(), 20)
    asking.cancel()
    await asyncio.wait_for(gateway.first.left.wait(), 20)
    await wait_for_end(gateway)


@pytest.mark.parametrize("status", [500, 502, 503, 429, 404, 401])
async def test_failure_before_the_first_byte_goes_to_the_next_slot(gateway: Gateway, status: int) -> None:
    gateway.first.answer = say({"error": {"message": "model not found", "code": status}}, status)

    answered, headers, answer = await gateway.call("/v1/chat/completions", {"model": "tiny", "messages": []})

    assert (answered, answer["by"], headers["x-corral-slot"]) == (200, "upstream", SECOND)
    assert len(gateway.desk.turns[0].failures) == 1


async def test_server_that_is_gone_is_noted_and_the_next_one_serves(gateway: Gateway) -> None:
    gateway.desk.engines[FIRST] = ServedEngine("openai", "http://127.0.0.1:1")

    status, answer = await gateway.chat()

    assert (status, answer["by"]) == (200, "upstream")
    assert "Connection refused" in gateway.desk.turns[0].failures[0]


async def test_engine_that_does_not_start_is_passed_over(gateway: Gateway) -> None:
    engine = gateway.desk.engines[FIRST]
    assert isinstance(engine, ServedEngine)
    engine.error = EngineUnavailableError("no such program")

    assert (await gateway.chat())[0] == 200
    assert [turn.slot for turn in gateway.desk.turns] == [FIRST, SECOND]


async def test_slot_that_failed_is_avoided_until_its_breaker_lets_a_guest_try(gateway: Gateway) -> None:
    gateway.first.answer = say({"error": "broken"}, 500)
    await gateway.chat()
    await gateway.chat()

    assert [turn.slot for turn in gateway.desk.turns] == [FIRST, SECOND, SECOND]


async def test_slots_that_all_failed_lately_are_tried_all_the_same(gateway: Gateway) -> None:
    gateway.first.answer = gateway.second.answer = say({"error": "broken"}, 500)
    assert (await gateway.chat())[0] == 500
    gateway.second.answer = say({"by": "upstream"})

    assert (await gateway.chat())[0] == 200


async def test_last_failure_is_the_clients_in_openais_shape(gateway: Gateway) -> None:
    gateway.first.answer = gateway.second.answer = say({"error": {"message": "out of memory", "code": 500}}, 500)

    assert await gateway.chat() == (
        500,
        {"error": {"message": "out of memory", "type": "server_error", "param": None, "code": None}},
    )


async def test_refused_request_is_not_tried_elsewhere(gateway: Gateway) -> None:
    gateway.first.answer = say({"error": {"message": "`messages` is wrong", "type": "x", "code": 400}}, 400)

    assert await gateway.chat() == (
        400,
        {"error": {"message": "`messages` is wrong", "type": "x", "param": None, "code": None}},
    )
    assert len(gateway.desk.turns) == 1
    engine = gateway.desk.engines[FIRST]
    assert isinstance(engine, ServedEngine)
    engine.error = TaskInvalidError("the model is no model")
    assert (await gateway.chat())[0] == 400
    assert len(gateway.desk.turns) == 2


async def test_stream_that_breaks_ends_with_an_error_event(gateway: Gateway) -> None:
    gateway.first.answer = stream(EVENT, breaks=True)

    async with gateway.post(stream=True) as response:
        events = (await response.text()).split("\n\n")

    assert json.loads(events[0].removeprefix("data: ")) == EVENT
    assert json.loads(events[1].removeprefix("data: "))["error"]["code"] == "upstream.lost"
    assert events[2] == "data: [DONE]"
    assert gateway.second.asked == []


async def test_answer_of_a_known_length_that_breaks_is_cut_off(gateway: Gateway) -> None:
    async def break_off(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    gateway.first.answer = break_off
    with pytest.raises(aiohttp.ClientPayloadError):
        await gateway.chat()


async def test_answer_that_has_to_be_whole_and_breaks_is_asked_of_the_next_server(gateway: Gateway) -> None:
    gateway.first.answer = stream(EVENT, breaks=True)
    tools = [{"type": "function", "function": {"name": "look"}}]

    status, answer = await gateway.chat(tools=tools)

    assert (status, answer["by"], len(gateway.first.asked)) == (200, "upstream", 1), "nothing of it was sent"


async def test_silence_is_a_failure(gateway: Gateway) -> None:
    async def say_nothing(_: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    gateway.stall_s[0] = 0.3
    gateway.first.answer = say_nothing

    status, answer = await gateway.chat()
    assert (status, answer["by"]) == (200, "upstream")


async def test_wait_that_is_too_long_is_answered_with_when_to_come_back(gateway: Gateway) -> None:
    gateway.desk.error = GuestLateError("every slot of openai is busy", retry_after_s=41.5)

    status, headers, answer = await gateway.call("/v1/chat/completions", {"model": "tiny", "messages": []})

    assert (status, headers["Retry-After"]) == (503, "42")
    assert answer["error"] == {
        "message": "every slot of openai is busy",
        "type": "server_error",
        "param": None,
        "code": "slots_busy",
    }


@pytest.mark.parametrize(("style", "begins"), [("comments", b": 1 ahead, about 20 s: "), ("reasoning", b'data: {"id"')])
async def test_client_that_opts_in_sees_its_wait_in_the_stream(gateway: Gateway, style: str, begins: bytes) -> None:
    gateway.desk.held = asyncio.Event()
    gateway.first.answer = stream(EVENT)

    async with gateway.post(headers={"X-Corral-Wait": style}, stream=True) as response:
        first = await response.content.readany()
        gateway.desk.held.set()
        rest = await response.content.read()

    assert first.startswith(begins)
    assert b"slots are busy" in first
    assert (b": runs on " in first + rest) == (style == "comments")
    assert rest.endswith(b'{"content": "hi"}}]}\n\n')


async def test_stream_that_began_with_its_wait_ends_with_the_error_of_it(gateway: Gateway) -> None:
    gateway.desk.held = asyncio.Event()
    gateway.desk.error = GuestLateError("too late", retry_after_s=5)

    async with gateway.post(headers={"X-Corral-Wait": "comments"}, stream=True) as response:
        await response.content.readany()
        gateway.desk.held.set()
        events = (await response.content.read()).split(b"\n\n")

    assert json.loads(events[0].removeprefix(b"data: "))["error"]["message"] == "too late"
    assert events[1] == b"data: [DONE]"


async def test_names_of_one_model_and_aliases_are_understood(gateway: Gateway) -> None:
    gateway.named["tiny"] = GatewayModel(name="tiny", aliases=("gpt-4o",))
    for name in ("llama3.2", "llama3.2:latest", "Llama3.2", "gpt-4o"):
        assert (await gateway.chat(name))[0] == 200

    assert [body["model"] for body in gateway.second.bodies] == ["llama3.2:latest"] * 3
    assert [body["model"] for body in gateway.first.bodies] == ["tiny"]
    assert gateway.desk.asks[0].choices == (Choice("ollama", "llama3.2:latest"),)


async def test_unknown_model_gets_near_names_after_one_more_look(gateway: Gateway) -> None:
    status, answer = await gateway.chat("llama3")

    assert (status, answer["error"]["code"], answer["error"]["param"]) == (404, "model_not_found", "model")
    assert "did you mean `llama3.2:latest`?" in answer["error"]["message"]


async def test_model_of_an_engine_that_does_not_chat_is_refused(gateway: Gateway) -> None:
    status, answer = await gateway.chat("whisper-base")

    assert status == 404
    assert "a model of whisper" in answer["error"]["message"]


async def test_ollamas_deviations_are_mended(gateway: Gateway) -> None:
    gateway.second.answer = say({"id": "chatcmpl-123", "choices": []})
    _, answer = await gateway.chat("llama3.2", max_completion_tokens=5)

    assert gateway.second.bodies[0]["max_tokens"] == 5
    assert answer["id"].startswith("chatcmpl-")
    assert answer["id"] != "chatcmpl-123"
    assert (await gateway.chat("llama3.2", n=2))[0] == 404


async def test_tokens_are_counted_only_where_they_are_wanted(gateway: Gateway) -> None:
    usage = {"prompt_tokens": 11, "completion_tokens": 7}
    gateway.first.answer = say({"choices": [], "usage": usage})
    await gateway.chat()
    gateway.usage.counts_tokens = True
    await gateway.chat()

    assert [served.tokens for served in gateway.usage.served] == [Tokens(), Tokens(prompt=11, completion=7)]


@pytest.mark.parametrize("asked", [True, False])
async def test_tokens_of_a_stream_are_counted_without_the_client_seeing_what_it_did_not_ask_for(
    gateway: Gateway, asked: bool
) -> None:
    gateway.usage.counts_tokens = True
    counts = {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    gateway.first.answer = stream(EVENT, counts, "[DONE]")

    async with gateway.post(stream=True, **({"stream_options": {"include_usage": True}} if asked else {})) as response:
        text = await response.text()

    assert ("prompt_tokens" in text) is asked
    assert text.endswith("data: [DONE]\n\n")
    assert gateway.first.bodies[0]["stream_options"] == {"include_usage": True}
    assert gateway.usage.served[0].tokens == Tokens(prompt=3, completion=2)


async def test_models_are_listed_without_asking_any_server(gateway: Gateway) -> None:
    gateway.named["tiny"] = GatewayModel(name="tiny", aliases=("gpt-4o",))
    looks = gateway.source.looks
    _, _, listed = await gateway.call("/v1/models")
    status, _, shown = await gateway.call("/v1/models/llama3.2:latest")

    assert [model["id"] for model in listed["data"]] == ["gpt-4o", "llama3.2:latest", "tiny", "whisper-base"]
    expected = {"id": "gpt-4o", "object": "model", "created": 0, "owned_by": "openai", "capabilities": None}
    assert listed["data"][0] | {"created": 0} == expected
    assert (status, shown["id"]) == (200, "llama3.2:latest")
    assert (gateway.source.looks, gateway.first.asked, gateway.desk.asks) == (looks, [], [])


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [(b"{", 400, None), (b"[]", 400, None), (b"{}", 400, "model"), (b'{"model": 1}', 400, "model")],
)
async def test_body_that_cannot_be_used_is_refused_in_openais_shape(
    gateway: Gateway, body: bytes, status: int, param: str | None
) -> None:
    async with gateway.session.post(f"{gateway.url}/v1/chat/completions", data=body) as response:
        error = (await response.json())["error"]
        assert (response.status, error["type"], error["param"]) == (status, "invalid_request_error", param)


async def test_what_is_not_offered_is_said_in_openais_shape(gateway: Gateway) -> None:
    status, _, answer = await gateway.call("/v1/moderations", {"input": "x"})
    assert (status, answer["error"]["type"]) == (404, "invalid_request_error")
    assert (await gateway.call("/v1/chat/completions"))[0] == 404
    assert (await gateway.call("/corral/v1/tasks"))[2] == {"error": "of the API"}


async def test_visitors_without_a_key_or_the_right_to_submit_are_refused(gateway: Gateway) -> None:
    gateway.doorman.visitor = Visitor(owner="eve", can_submit=False)
    assert (await gateway.chat())[0] == 403
    gateway.doorman.error = DeniedError("a token is needed")
    status, headers, answer = await gateway.call("/v1/models")
    assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer["error"]["code"] == "invalid_api_key"


async def test_limits_of_a_key_refuse_a_request_before_it_waits(gateway: Gateway) -> None:
    gateway.usage.error = GuestLateError("3 requests a minute", retry_after_s=20)
    assert (await gateway.chat())[0] == 503
    assert gateway.desk.asks == []


async def test_place_of_a_slot_without_an_endpoint_is_said(gateway: Gateway) -> None:
    gateway.desk.engines = {SlotId("node/cpu0/openai"): ServedEngine("openai", "http://x", dialects=frozenset())}
    status, answer = await gateway.chat()
    assert status == 404
    assert "does not speak OpenAI's protocol" in answer["error"]["message"]


async def test_request_of_a_corral_goes_to_a_server_and_not_to_a_third_corral(gateway: Gateway) -> None:
    gateway.desk.engines[FIRST] = ServedEngine("openai", gateway.first.url, is_corral=True)
    passed = {"Corral-Passed-On": "1"}
    body = {"model": "tiny", "messages": []}

    _, of_corral, _ = await gateway.call("/v1/chat/completions", body, headers=passed)
    _, of_person, _ = await gateway.call("/v1/chat/completions", body)
    gateway.desk.engines[SECOND] = ServedEngine("openai", gateway.second.url, is_corral=True)
    status, _, answer = await gateway.call("/v1/chat/completions", body, headers=passed)

    assert (of_corral["x-corral-slot"], of_person["x-corral-slot"]) == (SECOND, FIRST)
    assert (status, len(gateway.first.asked), len(gateway.second.asked)) == (404, 1, 1)
    assert "comes from a Corral" in answer["error"]["message"]
