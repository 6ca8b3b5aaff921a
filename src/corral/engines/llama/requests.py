"""Requests to llama.cpp's server, from checked inputs; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from corral.engines.chat.messages import write_conversation
from corral.engines.llama.inputs import LlamaInputs
from corral.work import Json

_SAMPLING = ("top_k", "min_p", "repeat_penalty", "presence_penalty", "frequency_penalty", "grammar", "tools")
"""Handed on under the same name where they are given; llama.cpp has its own default for each."""


def make_chat_request(inputs: LlamaInputs, pictures: Mapping[str, str]) -> dict[str, Json]:
    """Make the request for an answer, streamed; `pictures` has each image of the inputs as a data URL."""
    messages = write_conversation(
        system=inputs.system, prompt=inputs.prompt, images=inputs.images, turns=inputs.messages, pictures=pictures
    )
    request: dict[str, Json] = {
        "messages": messages,
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


def _list_given(inputs: LlamaInputs) -> dict[str, Json]:
    given: dict[str, Json] = {name: value for name in _SAMPLING if (value := getattr(inputs, name)) is not None}
    if inputs.loras:
        given["lora"] = [{"id": number, "scale": lora.scale} for number, lora in enumerate(inputs.loras)]
    return given
