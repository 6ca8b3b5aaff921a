"""What a model writes as text and is a call of an offered tool reaches clients as a call, whole and in streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from corral.engine_kinds import LLAMA
from corral.gateway.ollama.asked import Asked as AskedOllama
from corral.gateway.ollama.asked import Call
from corral.gateway.openai.requests import Asked as AskedOpenAi
from corral.gateway.openai.responses import AskedResponse
from corral.gateway.passing import Prepared
from corral.gateway.tool_calls import StreamRepair, find_calls, list_tools, repair_whole
from corral.slots.guests import Choice
from corral.work import Dialect, Endpoint

Json = Any
TOOLS = frozenset({"look"})
CALL = '{"name": "look", "arguments": {"city": "Paris"}}'


@pytest.mark.parametrize(
    "text",
    [
        CALL,
        f"\n {CALL}\n",
        f"```json\n{CALL}\n```",
        f"```\n{CALL}",
        f"<tool_call>\n{CALL}\n</tool_call>",
        f"[{CALL}]",
        CALL.replace("arguments", "parameters"),
    ],
)
def test_text_that_is_a_call_is_found(text: str) -> None:
    ((name, arguments),) = find_calls(text, TOOLS)
    assert (name, json.loads(arguments)) == ("look", {"city": "Paris"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Paris.",
        f"I call {CALL}",
        CALL.replace("look", "delete"),
        '{"name": "look", "arguments": "Paris"}',
        '{"city": "Paris"}',
        f"[{CALL}, 3]",
        "[]",
        CALL[:-1],
    ],
)
def test_text_that_is_anything_else_stays_text(text: str) -> None:
    assert find_calls(text, TOOLS) == ()
    body = json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}).encode()
    assert repair_whole(body, TOOLS) == body


@pytest.mark.parametrize(
    ("more", "tools"), [({}, TOOLS), ({"tool_choice": "none"}, set()), ({"n": 2}, set()), ({"tools": "look"}, set())]
)
def test_tools_are_those_that_the_request_offers(more: Json, tools: set[str]) -> None:
    assert list_tools({"tools": [{"type": "function", "function": {"name": "look"}}], **more}) == tools


def test_whole_answer_has_the_call_in_place_of_its_text() -> None:
    body = json.dumps(
        {"id": "1", "choices": [{"index": 0, "message": {"role": "assistant", "content": CALL}}]}
    ).encode()
    answer = json.loads(repair_whole(body, TOOLS))
    (choice,) = answer["choices"]
    assert (answer["id"], choice["finish_reason"], choice["message"]["content"]) == ("1", "tool_calls", None)
    (call,) = choice["message"]["tool_calls"]
    assert (call["type"], call["function"]["name"]) == ("function", "look")
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}


def write(delta: Json, finish: str | None = None) -> bytes:
    chunk = {"id": "1", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def stream(text: str, step: int = 3) -> list[bytes]:
    pieces = [text[at : at + step] for at in range(0, len(text), step)]
    said = [write({"content": piece}) for piece in pieces]
    return [write({"role": "assistant", "content": None}), *said, write({}, "stop"), b"data: [DONE]\n\n"]


@pytest.mark.parametrize("text", [CALL, f"```json\n{CALL}\n```", f"\n\n{CALL}"])
def test_stream_has_the_call_in_place_of_its_text(text: str) -> None:
    repair = StreamRepair(TOOLS)
    sent = b"".join([*map(repair.take_event, stream(text)), repair.end()])
    *chunks, done = sent.decode().strip().split("\n\n")
    choices = [json.loads(chunk[6:])["choices"][0] for chunk in chunks]
    assert done == "data: [DONE]"
    assert [choice["delta"].get("content") for choice in choices] == [None, None, None]
    (call,) = choices[1]["delta"]["tool_calls"]
    assert (call["index"], json.loads(call["function"]["arguments"])) == (0, {"city": "Paris"})
    assert choices[2]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("text", ["Paris is a city.", '{"city": "Paris"}', "```python\nprint()\n```", "", "  ", "{"])
def test_stream_of_text_is_sent_as_it_came(text: str) -> None:
    repair = StreamRepair(TOOLS)
    events = stream(text)
    assert b"".join([*map(repair.take_event, events), repair.end()]) == b"".join(events)


def test_stream_of_words_waits_for_nothing() -> None:
    repair = StreamRepair(TOOLS)
    for event in stream("Paris is a city."):
        assert repair.take_event(event) == event


def test_stream_that_breaks_off_loses_nothing() -> None:
    repair = StreamRepair(TOOLS)
    events = stream(CALL)[:5]
    assert b"".join([*map(repair.take_event, events), repair.end()]) == b"".join(events)


SERVER = Endpoint(url="http://llama", dialects=frozenset({Dialect.OPENAI}))
LOCAL = Choice(LLAMA.name, "small")
LOOK = {"name": "look", "parameters": {"type": "object"}}


def answer_with_call(prepared: Prepared, *, streams: bool) -> str:
    """Return what a door sends where the server's answer to a chat is a call as text."""
    assert prepared.path == "/v1/chat/completions"
    assert prepared.editor is not None
    message = {"role": "assistant", "content": CALL}
    whole = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).encode()
    sent = b"".join(map(prepared.editor.edit, stream(CALL) if streams else [whole[:20], whole[20:]]))
    return (sent + prepared.editor.finish()).decode()


@pytest.mark.parametrize("streams", [True, False])
def test_ollamas_door_has_the_call_too(streams: bool) -> None:
    turn = {"role": "user", "content": "Look"}
    body = {"model": "small", "messages": [turn], "tools": [{"type": "function", "function": LOOK}], "stream": streams}
    asked = AskedOllama(Call.CHAT, json.dumps(body).encode())
    lines = answer_with_call(asked.prepare(SERVER, LOCAL, counts_tokens=True), streams=streams).splitlines()
    messages = [json.loads(line)["message"] for line in lines]
    (call,) = [call["function"] for message in messages for call in message.get("tool_calls", [])]
    assert (call["name"], call["arguments"]) == ("look", {"city": "Paris"})
    assert "".join(message["content"] for message in messages) == ""


@pytest.mark.parametrize("streams", [True, False])
def test_response_of_a_local_model_has_the_call_too(streams: bool) -> None:
    body = {"model": "small", "input": "Look", "tools": [{"type": "function", **LOOK}], "stream": streams}
    asked = AskedResponse(AskedOpenAi("/v1/responses", json.dumps(body).encode()))
    sent = answer_with_call(asked.prepare(SERVER, LOCAL, counts_tokens=True), streams=streams)
    response = json.loads(sent.rpartition("data: ")[2])["response"] if streams else json.loads(sent)
    (item,) = response["output"]
    assert (item["type"], item["name"], json.loads(item["arguments"])) == ("function_call", "look", {"city": "Paris"})
