"""Requests to llama.cpp's server, from checked inputs; pure."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path

from corral.engines.llama.inputs import LlamaInputs, Message
from corral.work import Json

_SAMPLING = ("top_k", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty", "grammar", "tools")
"""Handed on under the same name where they are given; llama.cpp has its own default for each."""
MEDIA_TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".webp": "image/webp"}


def make_chat_request(inputs: LlamaInputs, pictures: Mapping[str, str]) -> dict[str, Json]:
    """Make the request for an answer, streamed; `pictures` has each image of the inputs as a data URL."""
    system: list[Json] = [{"role": "system", "content": inputs.system}] if inputs.system is not None else []
    request: dict[str, Json] = {
        "messages": [*system, *_list_turns(inputs, pictures)],
        "max_tokens": inputs.max_tokens,
        "temperature": inputs.temperature,
        "top_p": inputs.top_p,
        "stop": inputs.stop,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # so that a closed connection is noticed while a long prompt is read
        **_list_given(inputs),
    }
    if inputs.seed is not None:
        # A cached prefix is computed in other batches, which changes the last bits, and so in the end the text.
        request |= {"seed": inputs.seed, "cache_prompt": False}
    if inputs.json_schema is not None:
        request["response_format"] = {"type": "json_schema", "json_schema": {"schema": inputs.json_schema}}
    return request


def make_embedding_request(texts: Sequence[str]) -> dict[str, Json]:
    """Make the request for the vectors of some texts."""
    return {"input": list(texts), "encoding_format": "float"}


def list_images(inputs: LlamaInputs) -> list[str]:
    """Return the names of the files to look at, each once."""
    turns = inputs.messages or []
    return list(dict.fromkeys([*inputs.images, *(name for turn in turns for name in turn.images)]))


def make_data_url(path: Path, content: bytes) -> str:
    """Return an image as it goes into a request; its type is that of the file's ending, else PNG."""
    media_type = MEDIA_TYPES.get(path.suffix.lower(), "image/png")
    return f"data:{media_type};base64,{b64encode(content).decode('ascii')}"


def _list_turns(inputs: LlamaInputs, pictures: Mapping[str, str]) -> list[Json]:
    if inputs.messages is not None:
        return [_make_message(turn, pictures) for turn in inputs.messages]
    return [{"role": "user", "content": _make_content(inputs.prompt or "", inputs.images, pictures)}]


def _make_content(text: str, images: Sequence[str], pictures: Mapping[str, str]) -> Json:
    if not images:
        return text
    parts = [{"type": "image_url", "image_url": {"url": pictures[name]}} for name in images]
    return [{"type": "text", "text": text}, *parts]


def _make_message(turn: Message, pictures: Mapping[str, str]) -> Json:
    message: dict[str, Json] = {"role": turn.role, "content": _make_content(turn.content, turn.images, pictures)}
    if turn.tool_calls:
        message["tool_calls"] = turn.tool_calls
    if turn.tool_call_id is not None:
        message["tool_call_id"] = turn.tool_call_id
    return message


def _list_given(inputs: LlamaInputs) -> dict[str, Json]:
    given: dict[str, Json] = {name: value for name in _SAMPLING if (value := getattr(inputs, name)) is not None}
    if inputs.loras:
        given["lora"] = [{"id": number, "scale": lora.scale} for number, lora in enumerate(inputs.loras)]
    return given
