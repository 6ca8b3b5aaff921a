"""What `openai` takes, and what it sends of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from corral.engines.http.reading import find_message, read_events
from corral.engines.inputs import check_inputs, read_task_inputs
from corral.engines.openai.inputs import OpenAiInputs
from corral.engines.openai.requests import make_writing_request
from corral.work import EngineError


def request(**inputs: Any) -> dict[str, Any]:
    return make_writing_request(read_task_inputs(OpenAiInputs, inputs), "m", {})


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({}, "none of 'prompt', 'messages' is given"),
        ({"kind": "embed", "prompt": "a"}, "'prompt' has no meaning for 'embed', which takes 'input'"),
        ({"kind": "transcribe", "prompt": "a"}, "which takes the task's one file"),
        ({"kind": "draw"}, "none of 'prompt' is given"),
        ({"prompt": "a", "messages": [{"role": "user", "content": "b"}]}, "only one can be used"),
        ({"prompt": "a", "voice": "heart"}, "'voice' has no meaning for 'chat'; it goes with 'speak'"),
        ({"input": "a", "max_tokens": 3}, "'max_tokens' has no meaning for 'embed'"),
        ({"kind": "draw", "prompt": "a", "mask": "m.png"}, "no image that it belongs to"),
        ({"messages": [{"role": "user", "content": "a"}], "images": ["b.png"]}, "each message has its own"),
        ({"kind": "transcribe", "word_timestamps": True, "segments": False}, "'segments' is false"),
        ({"prompt": "a", "extra": {"model": "b", "stream": False}}, "'extra' has 'model', 'stream', which Corral sets"),
        ({"prompt": "a", "kind": "sing"}, "kind"),
    ],
)
def test_inputs_that_do_not_go_together_are_named(inputs: dict[str, Any], problem: str) -> None:
    reported = check_inputs("openai", inputs)

    assert any(problem in f"{report.where} {report.what}" for report in reported)


def test_all_problems_are_reported_at_once() -> None:
    assert len(check_inputs("openai", {"kind": "speak", "tools": [{}], "size": "huge", "temperature": 9})) == 6


def test_what_is_not_given_is_left_to_the_server() -> None:
    assert request(prompt="Hi").keys() == {"model", "messages", "stream", "stream_options"}
    assert request(kind="complete", prompt="Hi", extra={"top_k": 4})["top_k"] == 4


def test_a_schema_has_the_name_that_openai_asks_for() -> None:
    form = request(prompt="Hi", json_schema={"type": "object"})["response_format"]

    assert form == {
        "type": "json_schema",
        "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True},
    }


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "too long", "code": 400}}, "too long"),
        ({"error": "prompt required"}, "prompt required"),
        ({"error": "server_error", "message": "it broke"}, "server_error: it broke"),
        ({"detail": "Not Found"}, "Not Found"),
        ({"detail": {"error": "invalid_model", "message": "Unsupported model: x"}}, "Unsupported model: x"),
        ({"detail": [{"loc": ["body", "voice"], "msg": "Field required"}]}, "voice: Field required"),
        ({"object": "error", "message": "no"}, "no"),
        ({"data": []}, ""),
        ([1], ""),
    ],
)
def test_the_words_of_an_error_are_found_in_every_shape(body: Any, message: str) -> None:
    assert find_message(body) == message


async def read(*pieces: bytes) -> list[Any]:
    async def arrive() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return [event async for event in read_events(arrive(), EngineError)]


async def test_events_are_read_across_pieces_comments_and_other_fields() -> None:
    pieces = (b": hi\r\n\r\nevent: x\r\nda", b'ta: {"a":', b' 1}\r\n\r\ndata: {"b": 2}', b"\n\ndata: [DONE]\n\n")

    assert await read(*pieces) == [{"a": 1}, {"b": 2}]


async def test_an_error_in_place_of_events_is_read_though_it_has_several_lines() -> None:
    assert await read(b'{\n  "error": {\n', b'"message": "no"}\n}') == [{"error": {"message": "no"}}]


async def test_what_is_neither_is_an_error_that_shows_its_beginning() -> None:
    with pytest.raises(EngineError, match="a web page with the title 'Sign in'"):
        await read(b"<!DOCTYPE html>\n<title>Sign in</title>")
