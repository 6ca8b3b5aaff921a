"""What is asked of llama.cpp's server, and how its stream is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from corral.engines.chat.messages import make_data_url
from corral.engines.chat.reply import Reply
from corral.engines.inputs import check_inputs, read_task_inputs
from corral.engines.llama.client import make_refusal
from corral.engines.llama.inputs import LlamaInputs
from corral.engines.llama.requests import make_chat_request
from corral.work import EngineError, TaskInvalidError
from doubles.local_engines import Remembering


def request(pictures: dict[str, str] | None = None, **inputs: Any) -> dict[str, Any]:
    return make_chat_request(read_task_inputs(LlamaInputs, inputs), pictures or {})


def a_reply(report: Remembering | None = None) -> Reply:
    return Reply(
        report or Remembering(),
        program="llama.cpp",
        max_tokens=4,
        refuse=lambda chunk: make_refusal(chunk["error"]),
        clock=lambda: 1.0,
    )


def piece(text: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def test_system_words_go_before_the_prompt() -> None:
    assert request(prompt="Hi", system="Be brief.")["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
    ]


def test_seeded_request_uses_no_cache_that_would_change_the_text() -> None:
    assert request(prompt="Hi", seed=0) | {"seed": 0, "cache_prompt": False} == request(prompt="Hi", seed=0)
    assert "seed" not in request(prompt="Hi")


def test_schema_is_handed_on() -> None:
    schema = {"type": "object"}

    assert request(prompt="Hi", json_schema=schema)["response_format"]["json_schema"] == {"schema": schema}


def test_sampling_that_is_not_given_is_left_to_llama_cpp() -> None:
    given = {"top_k": 0, "min_p": 0.1, "repeat_penalty": 1.2, "grammar": 'root ::= "a"'}

    assert request(prompt="Hi", **given).items() >= given.items()
    assert not request(prompt="Hi").keys() & given.keys()


def test_images_go_with_their_turn_as_data() -> None:
    pictures = {"cat.png": make_data_url(Path("cat.png"), b"abc")}

    (turn,) = request(pictures, prompt="What is this?", images=["cat.png"], mmproj="eyes.gguf")["messages"]

    assert turn["content"] == [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,YWJj"}},
    ]


def test_answer_of_a_tool_names_its_call() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    turns = [
        {"role": "user", "content": "What time is it?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "content": "noon", "tool_call_id": "c1"},
    ]

    asked = request(messages=turns)["messages"]

    assert asked[1]["tool_calls"] == [call]
    assert asked[2] == {"role": "tool", "content": "noon", "tool_call_id": "c1"}


def test_adapters_are_numbered_as_they_are_loaded() -> None:
    loras = [{"name": "a.gguf"}, {"name": "b.gguf", "scale": 0.5}]

    assert request(prompt="Hi", loras=loras)["lora"] == [{"id": 0, "scale": 1.0}, {"id": 1, "scale": 0.5}]


@pytest.mark.parametrize(
    ("inputs", "problem"),
    [
        ({}, "none of 'prompt', 'messages', 'embed' is given"),
        ({"prompt": "a", "embed": ["b"]}, "'prompt' and 'embed' are given, and only one can be used"),
        ({"embed": ["a"], "system": "b"}, "'system' has no meaning for 'embed'"),
        ({"prompt": "a", "pooling": "mean"}, "'pooling' has a meaning for 'embed' alone"),
        ({"prompt": "a", "images": ["b.png"]}, "images are given and 'mmproj' is not"),
        ({"messages": [{"role": "user", "content": "a", "images": ["b.png"]}]}, "images are given and 'mmproj' is not"),
        ({"prompt": "a", "grammar": "b", "json_schema": {"c": 1}}, "'json_schema' and 'grammar' are given"),
    ],
)
def test_inputs_that_do_not_go_together_are_named(inputs: dict[str, Any], problem: str) -> None:
    assert any(problem in reported.what for reported in check_inputs("llama", inputs))


def test_pieces_become_text_counts_and_speed() -> None:
    report = Remembering()
    reply = a_reply(report)

    for chunk in (
        {"choices": [], "prompt_progress": {"processed": 3, "total": 7}},
        piece(None),
        piece("Pa"),
        piece("ris"),
        piece(None, "stop"),
        {
            "choices": [],
            "usage": {"prompt_tokens": 7, "completion_tokens": 2},
            "timings": {"predicted_per_second": 9.876},
        },
    ):
        reply.take(chunk)

    assert reply.list_values() == {
        "text": "Paris",
        "finish_reason": "stop",
        "prompt_tokens": 7,
        "completion_tokens": 2,
        "tokens_per_second": 9.88,
    }
    assert report.notes == [
        (0.0, "read 3 of 7 tokens"),
        (0.25, "1 of at most 4 tokens"),
        (0.5, "2 of at most 4 tokens"),
    ]
    assert report.shown == [("text/plain; charset=utf-8", b"Pa")], "a preview at a bounded rate"


def test_pieces_of_a_tool_call_become_one_call() -> None:
    reply = a_reply()

    for function in ({"name": "add", "arguments": ""}, {"arguments": '{"a": 1'}, {"arguments": "}"}):
        delta = {"tool_calls": [{"index": 0, "id": "c1", "function": function}]}
        reply.take({"choices": [{"delta": delta, "finish_reason": None}]})
    reply.take(piece(None, "tool_calls"))

    assert reply.list_values()["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    ]


def test_thoughts_are_kept_apart_from_the_answer() -> None:
    reply = a_reply()

    reply.take({"choices": [{"delta": {"reasoning_content": "Hm."}, "finish_reason": None}]})
    reply.take(piece("Yes", "stop"))

    assert (reply.thinking, reply.text) == ("Hm.", "Yes")


@pytest.mark.parametrize(("code", "error"), [(400, TaskInvalidError), (500, EngineError)])
def test_error_of_the_server_says_whose_fault_it_is(code: int, error: type[EngineError]) -> None:
    with pytest.raises(EngineError, match="exceeds the available context size") as raised:
        a_reply().take({"error": {"code": code, "message": "request (4031 tokens) exceeds the available context size"}})

    assert type(raised.value) is error


def test_stream_that_stops_early_is_an_error() -> None:
    reply = a_reply()

    reply.take(piece("Par"))

    with pytest.raises(EngineError, match="without a reason"):
        reply.list_values()


@pytest.mark.parametrize("letter", ["ж", "\N{GRINNING FACE}"])
def test_answer_too_long_to_keep_with_the_task_is_in_its_file_only(letter: str) -> None:
    reply = a_reply()

    reply.take(piece(letter * 180_000, "stop"))

    assert reply.list_values()["text"] is None
    assert reply.text == letter * 180_000


def test_long_answer_in_plain_letters_is_kept_with_the_task() -> None:
    reply = a_reply()

    reply.take(piece("a" * 180_000, "stop"))

    assert reply.list_values()["text"] == "a" * 180_000
