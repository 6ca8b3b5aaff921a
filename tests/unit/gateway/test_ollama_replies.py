"""Answers in OpenAI's protocol, as Ollama's clients read them.

The streams are as llama.cpp's server wrote them (xllamacpp 2026.10, SmolLM2 135M), cut to what is read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from corral.gateway.ollama.replies import (
    ReplyClock,
    StreamTranslator,
    UpstreamLineError,
    Words,
    translate_vectors,
    translate_whole,
)

Json = Any
USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
ROLE = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}, "finish_reason": None}]}


def make_clock(*moments: int) -> ReplyClock:
    return ReplyClock(clock=iter([*moments, *[moments[-1]] * 99]).__next__)


def delta(finish: str | None = None, **parts: Json) -> Json:
    return {"choices": [{"index": 0, "delta": parts, "finish_reason": finish}]}


def write_events(events: Iterable[Json]) -> bytes:
    return b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"


def translate(events: Iterable[Json], words: Words | None = None, *, size: int = 10_000) -> list[Json]:
    """Translate a stream that arrives in pieces of this size."""
    translator = StreamTranslator(words or Words(model="m", is_chat=True), make_clock(0, 10, 30, 60))
    stream = write_events(events)
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    written = b"".join(translator.edit(piece) for piece in pieces) + translator.finish()
    return [json.loads(line) for line in written.splitlines()]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_stream_is_lines_with_counts_at_the_end_however_it_arrives(size: int) -> None:
    lines = translate(
        [ROLE, delta(content="Hel"), delta(content="lo"), delta("stop"), {"choices": [], "usage": USAGE}], size=size
    )
    assert [(line["message"]["content"], line["done"]) for line in lines] == [("Hel", False), ("lo", False), ("", True)]
    assert all(line["model"] == "m" and line["created_at"].endswith("Z") for line in lines)
    last = lines[-1]
    assert (last["done_reason"], last["prompt_eval_count"], last["eval_count"]) == ("stop", 7, 2)
    assert last["total_duration"] >= last["eval_duration"]


def test_durations_are_the_servers_own_where_it_measures_them() -> None:
    timings = {"prompt_ms": 12.5, "predicted_ms": 40}
    *_, last = translate([delta(content="a"), {**delta("length"), "timings": timings}])
    assert (last["prompt_eval_duration"], last["eval_duration"]) == (12_500_000, 40_000_000)
    assert last["done_reason"] == "length"
    assert "eval_count" not in last  # it is unknown


def test_thinking_has_a_field_of_its_own_and_is_left_out_where_it_is_not_wanted() -> None:
    events = [delta(reasoning_content="hm"), delta(reasoning="so"), delta(content="4"), delta("stop")]
    thoughts = [line["message"].get("thinking") for line in translate(events)]
    assert thoughts == ["hm", "so", None, None]
    quiet = translate(events, Words(model="m", is_chat=True, hides_thinking=True))
    assert [line["message"]["content"] for line in quiet] == ["4", ""]
    assert all("thinking" not in line["message"] for line in quiet)


def test_calls_of_tools_arrive_whole_with_objects_for_arguments() -> None:
    first = {"index": 0, "id": "abc", "type": "function", "function": {"name": "add", "arguments": '{"a":'}}
    rest = {"index": 0, "function": {"arguments": " 1}"}}
    other = {"index": 1, "id": "def", "function": {"name": "now", "arguments": ""}}
    lines = translate([delta(tool_calls=[first]), delta(tool_calls=[rest, other]), delta("tool_calls")])
    assert lines[0]["message"]["tool_calls"] == [
        {"id": "abc", "function": {"index": 0, "name": "add", "arguments": {"a": 1}}},
        {"id": "def", "function": {"index": 1, "name": "now", "arguments": {}}},
    ]
    assert (lines[-1]["done"], lines[-1]["done_reason"]) == (True, "stop")


def test_call_with_broken_arguments_ends_the_stream_with_an_error() -> None:
    broken = {"index": 0, "id": "abc", "function": {"name": "add", "arguments": '{"a":'}}
    lines = translate([delta(tool_calls=[broken]), delta("tool_calls")])
    assert lines == [{"error": "the model calls 'add' with arguments that are not JSON"}]


@pytest.mark.parametrize(
    ("events", "error"),
    [
        ([delta(content="a"), {"error": {"message": "out of memory"}}, delta(content="b")], "out of memory"),
        ([delta(content="a")], "the server's answer ended in its midst"),
    ],
)
def test_failure_in_the_midst_is_one_last_line(events: list[Json], error: str) -> None:
    lines = translate(events)
    assert lines[0]["message"]["content"] == "a"
    assert lines[1:] == [{"error": error}]


def test_continued_text_is_a_response() -> None:
    event = {"choices": [{"index": 0, "text": "four", "finish_reason": None}]}
    end = {"choices": [{"index": 0, "text": "", "finish_reason": "length"}], "usage": USAGE}
    first, last = translate([event, end], Words(model="m", is_chat=False))
    assert (first["response"], last["response"], last["done_reason"]) == ("four", "", "length")


def test_whole_answer_has_words_calls_and_counts() -> None:
    call = {"id": "abc", "function": {"name": "add", "arguments": '{"a": 1}'}}
    message = {"role": "assistant", "content": "see", "reasoning_content": "hm", "tool_calls": [call]}
    body = {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": USAGE}
    answer = translate_whole(json.dumps(body).encode(), Words(model="m", is_chat=True), make_clock(0))
    assert answer["message"] == {
        "role": "assistant",
        "content": "see",
        "thinking": "hm",
        "tool_calls": [{"id": "abc", "function": {"index": 0, "name": "add", "arguments": {"a": 1}}}],
    }
    assert (answer["done"], answer["prompt_eval_count"], answer["eval_count"]) == (True, 7, 2)
    assert "eval_duration" not in answer  # when its first words came is unknown


def test_vectors_are_in_the_order_of_their_texts() -> None:
    data = [{"index": 1, "embedding": [0.5]}, {"index": 0, "embedding": [0.25]}]
    body = json.dumps({"data": data, "usage": {"prompt_tokens": 3}}).encode()
    answer = translate_vectors(body, "m", make_clock(0), is_old=False)
    assert (answer["embeddings"], answer["prompt_eval_count"]) == ([[0.25], [0.5]], 3)
    assert translate_vectors(body, "m", make_clock(0), is_old=True) == {"embedding": [0.25]}


@pytest.mark.parametrize("body", [b"<html>", b"{}", b'{"choices": []}'])
def test_answer_that_is_none_is_an_error(body: bytes) -> None:
    with pytest.raises(UpstreamLineError):
        translate_whole(body, Words(model="m", is_chat=True), make_clock(0))
    with pytest.raises(UpstreamLineError):
        translate_vectors(body, "m", make_clock(0), is_old=False)
