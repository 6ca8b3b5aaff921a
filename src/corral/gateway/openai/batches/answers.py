"""Results of tasks as the bodies of OpenAI's answers."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic_core import from_json, to_json

from corral.gateway.openai.batches.inputs import EMBEDDINGS, RESPONSES, TEXT
from corral.gateway.openai.translated_responses import TranslatedResponse
from corral.narrowing import as_list, as_number, as_object, as_text
from corral.work import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The result of a task."""

    id: str
    """Names the task."""
    created: int
    """When it ended, in seconds of Unix."""
    values: Mapping[str, Json]
    text: str = ""
    thinking: str = ""
    vectors: Sequence[Json] = ()


def make_answer(endpoint: str, body: Mapping[str, Json], result: Result) -> dict[str, Json]:
    """Return the body that answers a request."""
    if endpoint == EMBEDDINGS:
        return _make_vectors(body, result)
    if endpoint == TEXT:
        return {
            "id": f"cmpl-{result.id}",
            "object": "text_completion",
            "created": result.created,
            "model": body.get("model"),
            "choices": [{"index": 0, "text": result.text, "logprobs": None, "finish_reason": _find_reason(result, [])}],
            "usage": _count(result),
        }
    chat = _make_chat(body, result)
    if endpoint == RESPONSES:
        return as_object(from_json(TranslatedResponse(body).take_whole(to_json(chat))))
    return chat


def _make_chat(body: Mapping[str, Json], result: Result) -> dict[str, Json]:
    calls = [_make_call(call, place, result) for place, call in enumerate(as_list(result.values.get("tool_calls")))]
    message: dict[str, Json] = {
        "role": "assistant",
        "content": result.text if result.text or not calls else None,
        "refusal": None,
    }
    if result.thinking:
        message["reasoning_content"] = result.thinking
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _find_reason(result, calls)}
    return {
        "id": f"chatcmpl-{result.id}",
        "object": "chat.completion",
        "created": result.created,
        "model": body.get("model"),
        "choices": [choice],
        "usage": _count(result),
    }


def _make_call(call: Json, place: int, result: Result) -> Json:
    facts = as_object(call)
    function = as_object(facts.get("function"))
    arguments = function.get("arguments")
    return {
        "id": as_text(facts.get("id")) or f"call_{result.id}_{place}",
        "type": "function",
        "function": {
            "name": function.get("name"),
            "arguments": arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False),
        },
    }


def _find_reason(result: Result, calls: Sequence[Json]) -> str:
    return "tool_calls" if calls else as_text(result.values.get("finish_reason")) or "stop"


def _make_vectors(body: Mapping[str, Json], result: Result) -> dict[str, Json]:
    packed = body.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": index, "embedding": _pack(vector) if packed else vector}
        for index, vector in enumerate(result.vectors)
    ]
    tokens = as_number(result.values.get("prompt_tokens"))
    usage = None if tokens is None else {"prompt_tokens": int(tokens), "total_tokens": int(tokens)}
    return {"object": "list", "data": data, "model": body.get("model"), "usage": usage}


def _pack(vector: Json) -> str:
    numbers = as_list(vector)
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode("ascii")


def _count(result: Result) -> Json:
    """Return the tokens; None where the engine does not report them."""
    read, written = (as_number(result.values.get(name)) for name in ("prompt_tokens", "completion_tokens"))
    if read is None or written is None:
        return None
    return {"prompt_tokens": int(read), "completion_tokens": int(written), "total_tokens": int(read + written)}
