"""Ollama's requests, as a server is asked that speaks OpenAI's protocol alone."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import pytest

from corral.gateway.ollama.asked import Asked, Call
from corral.gateway.ollama.requests import (
    OllamaRequestError,
    translate_chat,
    translate_embed,
    translate_generate,
)

PNG = b64encode(b"\x89PNG\r\n\x1a\n-an image").decode()
HELLO = {"role": "user", "content": "hello"}


def test_chat_is_a_stream_with_its_counts_unless_it_is_not_wanted() -> None:
    translated = translate_chat({"messages": [HELLO]}, "m")
    assert translated.path == "/v1/chat/completions"
    assert translated.body == {
        "model": "m",
        "messages": [HELLO],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert translate_chat({"messages": [HELLO], "stream": False}, "m").body == {"model": "m", "messages": [HELLO]}


def test_options_that_the_protocol_has_are_kept_and_those_of_a_servers_memory_left_out() -> None:
    options = {"temperature": 0.2, "stop": ["\n"], "num_predict": 5, "top_k": 3, "num_ctx": 8192, "num_gpu": 99}
    body = translate_chat({"messages": [HELLO], "options": options, "keep_alive": "5m", "stream": False}, "m").body
    assert body == {
        "model": "m",
        "messages": [HELLO],
        "temperature": 0.2,
        "stop": ["\n"],
        "top_k": 3,
        "max_tokens": 5,
    }


@pytest.mark.parametrize("unbounded", [-1, -2])
def test_answer_without_a_bound_has_none(unbounded: int) -> None:
    assert "max_tokens" not in translate_chat({"messages": [HELLO], "options": {"num_predict": unbounded}}, "m").body


@pytest.mark.parametrize(
    ("option", "kind"), [({"seed": "x"}, "integer"), ({"temperature": True}, "float32"), ({"stop": "a"}, "array")]
)
def test_option_of_a_wrong_type_is_refused_in_ollamas_words(option: dict[str, Any], kind: str) -> None:
    with pytest.raises(OllamaRequestError, match=f'option "{next(iter(option))}" must be of type {kind}'):
        Asked(Call.CHAT, json.dumps({"model": "m", "messages": [HELLO], "options": option}).encode())


def test_form_of_the_answer_is_json_or_a_schema() -> None:
    schema = {"type": "object"}
    assert translate_chat({"messages": [HELLO], "format": "json"}, "m").body["response_format"] == {
        "type": "json_object"
    }
    form = translate_chat({"messages": [HELLO], "format": schema}, "m").body["response_format"]
    assert form["json_schema"]["schema"] == schema
    with pytest.raises(OllamaRequestError, match="invalid format: 'xml'"):
        Asked(Call.CHAT, b'{"model": "m", "messages": [], "format": "xml"}')


def test_thinking_is_asked_for_as_the_servers_know_it() -> None:
    assert translate_chat({"messages": [HELLO], "think": False}, "m").body["chat_template_kwargs"] == {
        "enable_thinking": False
    }
    assert translate_chat({"messages": [HELLO], "think": "low"}, "m").body["reasoning_effort"] == "low"
    assert translate_chat({"messages": [HELLO], "think": "max"}, "m").body["reasoning_effort"] == "high"


def test_images_are_data_urls_of_their_kind() -> None:
    turn = {**HELLO, "images": [PNG]}
    (message,) = translate_chat({"messages": [turn]}, "m").body["messages"]
    assert message["content"] == [
        {"type": "text", "text": "hello"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
    with pytest.raises(OllamaRequestError, match="not PNG, JPEG, GIF or WebP"):
        translate_chat({"messages": [{**HELLO, "images": ["AAAA"]}]}, "m")


def test_results_of_tools_belong_to_the_calls_before_them() -> None:
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    other = {"function": {"name": "weather", "arguments": {}}}
    turns = [
        HELLO,
        {"role": "assistant", "content": "", "tool_calls": [call, other]},
        {"role": "tool", "content": "sunny", "tool_name": "weather"},
        {"role": "tool", "content": "2"},
    ]
    body = translate_chat({"messages": turns, "tools": [{"type": "function"}]}, "m").body
    made = body["messages"][1]["tool_calls"]
    assert [(call["type"], call["function"]) for call in made] == [
        ("function", {"name": "add", "arguments": '{"a": 1}'}),
        ("function", {"name": "weather", "arguments": "{}"}),
    ]
    assert [turn["tool_call_id"] for turn in body["messages"][2:]] == [made[1]["id"], made[0]["id"]]
    assert body["tools"] == [{"type": "function"}]


def test_prompt_is_a_chat_of_one_turn_and_raw_text_is_continued() -> None:
    chat = translate_generate({"prompt": "hello", "system": "be short", "stream": False}, "m")
    assert (chat.path, chat.body["messages"]) == (
        "/v1/chat/completions",
        [{"role": "system", "content": "be short"}, HELLO],
    )
    raw = translate_generate({"prompt": "a", "raw": True, "suffix": "c", "stream": False}, "m")
    assert (raw.path, raw.body) == ("/v1/completions", {"model": "m", "prompt": "a", "suffix": "c"})


@pytest.mark.parametrize("field", [{"template": "{{ .Prompt }}"}, {"context": [1, 2]}])
def test_field_that_changes_the_answer_and_cannot_be_kept_is_refused_by_name(field: dict[str, Any]) -> None:
    with pytest.raises(OllamaRequestError, match=f"`{next(iter(field))}` cannot be used"):
        translate_generate({"prompt": "a", **field}, "m")


def test_texts_to_embed_are_a_list_in_both_calls() -> None:
    assert translate_embed({"input": "a", "dimensions": 8}, "m").body == {
        "model": "m",
        "input": ["a"],
        "encoding_format": "float",
        "dimensions": 8,
    }
    assert translate_embed({"prompt": "a"}, "m").body["input"] == ["a"]
    with pytest.raises(OllamaRequestError, match="invalid input type"):
        translate_embed({"input": [1]}, "m")


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}"])
def test_body_that_names_no_model_is_refused(body: bytes) -> None:
    with pytest.raises(OllamaRequestError):
        Asked(Call.CHAT, body)


@pytest.mark.parametrize(
    ("call", "body", "is_empty", "unloads"),
    [
        (Call.CHAT, b'{"model": "m"}', True, False),
        (Call.CHAT, b'{"model": "m", "messages": [], "keep_alive": 0}', True, True),
        (Call.GENERATE, b'{"model": "m", "keep_alive": "0s"}', True, True),
        (Call.GENERATE, b'{"model": "m", "keep_alive": "10m"}', True, False),
        (Call.GENERATE, b'{"model": "m", "prompt": "a", "keep_alive": 0}', False, False),
        (Call.EMBED, b'{"model": "m", "input": "a"}', False, False),
    ],
)
def test_request_without_words_loads_or_unloads(call: Call, body: bytes, is_empty: bool, unloads: bool) -> None:
    asked = Asked(call, body)
    assert (asked.is_empty, asked.unloads) == (is_empty, unloads)
    assert asked.streams == (not is_empty and call is not Call.EMBED)
