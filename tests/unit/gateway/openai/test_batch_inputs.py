"""Requests of OpenAI's batches become inputs that engines take, or are refused by the name of what is in the way."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from corral.engines.inputs import check_inputs
from corral.gateway.openai.batches.answers import Result, make_answer
from corral.gateway.openai.batches.inputs import CHAT, EMBEDDINGS, TEXT, make_inputs
from corral.gateway.openai.batches.lines import LineError

TOOL = {"type": "function", "function": {"name": "find", "parameters": {"type": "object", "properties": {}}}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"what": "fox"}'}}
CONVERSATION = [
    {"role": "developer", "content": "Be short."},
    {"role": "user", "content": [{"type": "text", "text": "Where is "}, {"type": "text", "text": "the fox?"}]},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "tool", "tool_call_id": "call_1", "content": "in the wood"},
]
SAMPLED = {
    "temperature": 0.5,
    "top_p": 0.9,
    "seed": 7,
    "presence_penalty": 0.1,
    "frequency_penalty": 0.2,
    "stop": "END",
}


@pytest.mark.parametrize(
    ("endpoint", "engine", "body"),
    [
        (CHAT, "llama", {"messages": CONVERSATION, "max_completion_tokens": 50, "tools": [TOOL], **SAMPLED}),
        (CHAT, "ollama", {"messages": CONVERSATION, "max_tokens": 50, "tools": [TOOL], **SAMPLED}),
        (CHAT, "openai", {"messages": CONVERSATION, "tools": [TOOL], "tool_choice": "required", "top_k": 4, **SAMPLED}),
        (CHAT, "llama", {"messages": CONVERSATION[:2], "response_format": {"type": "json_object"}, "user": "ada"}),
        (CHAT, "ollama", {"messages": CONVERSATION[:2], "response_format": {"type": "json_object"}, "n": 1}),
        (CHAT, "openai", {"messages": CONVERSATION[:2], "reasoning_effort": "low", "store": False, "stream": False}),
        (TEXT, "ollama", {"prompt": ["Once upon"], "max_tokens": 5}),
        (TEXT, "openai", {"prompt": "Once upon", "max_tokens": 5, "stop": ["."]}),
        (EMBEDDINGS, "llama", {"input": "a fox", "encoding_format": "base64"}),
        (EMBEDDINGS, "ollama", {"input": ["a fox", "a dog"], "dimensions": 64}),
        (EMBEDDINGS, "openai", {"input": ["a fox"], "dimensions": 64}),
    ],
)
def test_request_becomes_inputs_that_its_engine_takes(endpoint: str, engine: str, body: dict[str, Any]) -> None:
    inputs = make_inputs(endpoint, engine, {"model": "m", **body})
    assert list(check_inputs(engine, inputs)) == []


def test_conversation_is_the_same_in_the_words_of_each_engine() -> None:
    body = {"messages": CONVERSATION, "max_tokens": 50, **SAMPLED}
    llama, ollama = (make_inputs(CHAT, engine, body) for engine in ("llama", "ollama"))
    assert [turn["content"] for turn in llama["messages"]] == ["Be short.", "Where is the fox?", "", "in the wood"]
    assert llama["messages"][2]["tool_calls"] == [CALL]
    assert llama["messages"][3]["tool_call_id"] == "call_1"
    assert ollama["messages"][0]["role"] == "system"
    assert ollama["messages"][2]["tool_calls"] == [{"function": {"name": "find", "arguments": {"what": "fox"}}}]
    assert ollama["messages"][3] == {"role": "tool", "content": "in the wood", "tool_name": "find"}
    assert ollama["options"]["num_predict"] == llama["max_tokens"] == 50
    assert ollama["options"]["stop"] == llama["stop"] == ["END"]


def test_schema_of_an_answer_is_kept() -> None:
    schema = {"type": "object", "properties": {"place": {"type": "string"}}}
    form = {"type": "json_schema", "json_schema": {"name": "place", "schema": schema, "strict": True}}
    body = {"messages": CONVERSATION[:2], "response_format": form}
    assert make_inputs(CHAT, "llama", body)["json_schema"] == schema
    assert make_inputs(CHAT, "ollama", body)["format"] == schema
    assert make_inputs(CHAT, "openai", body)["json_schema"] == schema


@pytest.mark.parametrize(
    ("endpoint", "engine", "body", "param"),
    [
        (CHAT, "llama", {"messages": CONVERSATION[:2], "logit_bias": {"5": 1}}, "logit_bias"),
        (CHAT, "llama", {"messages": CONVERSATION[:2], "logprobs": True}, "logprobs"),
        (CHAT, "llama", {"messages": CONVERSATION[:2], "reasoning_effort": "high"}, "reasoning_effort"),
        (CHAT, "ollama", {"messages": CONVERSATION[:2], "mirostat": 1}, "mirostat"),
        (CHAT, "llama", {"messages": CONVERSATION[:2], "tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
        (CHAT, "openai", {"messages": CONVERSATION[:2], "response_format": {"type": "poem"}}, "response_format"),
        (CHAT, "openai", {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content"),
        (CHAT, "openai", {}, "messages"),
        (TEXT, "llama", {"prompt": "x"}, "model"),
        (TEXT, "openai", {"prompt": ["a", "b"]}, "prompt"),
        (EMBEDDINGS, "llama", {"input": [[1, 2]]}, "input"),
        (EMBEDDINGS, "llama", {"input": "x", "dimensions": 5}, "dimensions"),
        (EMBEDDINGS, "whisper", {"input": "x"}, "model"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_name(endpoint: str, engine: str, body: dict[str, Any], param: str) -> None:
    with pytest.raises(LineError) as refused:
        make_inputs(endpoint, engine, body)
    assert refused.value.where == param


def test_calls_of_ollama_are_answered_as_openai_writes_them() -> None:
    values = {
        "finish_reason": "stop",
        "tool_calls": [{"function": {"name": "find", "arguments": {"what": "füchse"}}}],
        "prompt_tokens": 5,
        "completion_tokens": 2,
    }
    answer = make_answer(CHAT, {"model": "qwen"}, Result(id="9", created=1, values=values))
    choice = answer["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", None)
    (call,) = choice["message"]["tool_calls"]
    assert call["id"]
    assert json.loads(call["function"]["arguments"]) == {"what": "füchse"}
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def test_tokens_that_are_unknown_are_not_made_up() -> None:
    answer = make_answer(TEXT, {"model": "m"}, Result(id="9", created=1, values={"text": "x"}, text="x"))
    assert answer["usage"] is None
    assert answer["choices"][0]["text"] == "x"


def test_vectors_are_packed_as_asked() -> None:
    result = Result(id="9", created=1, values={"prompt_tokens": 3}, vectors=[[0.5, -1.0], [2.0, 0.25]])
    plain = make_answer(EMBEDDINGS, {"model": "m"}, result)
    packed = make_answer(EMBEDDINGS, {"model": "m", "encoding_format": "base64"}, result)
    assert [entry["embedding"] for entry in plain["data"]] == [[0.5, -1.0], [2.0, 0.25]]
    assert struct.unpack("<2f", base64.b64decode(packed["data"][1]["embedding"])) == (2.0, 0.25)
    assert plain["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
