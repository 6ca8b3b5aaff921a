"""Requests to a server that speaks OpenAI's API, from checked inputs; pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from corral.engines.chat.messages import write_conversation
from corral.engines.openai.inputs import Call, OpenAiInputs, OpenAiOptions
from corral.work import Json

PATHS: dict[Call, str] = {
    "chat": "/v1/chat/completions",
    "complete": "/v1/completions",
    "embed": "/v1/embeddings",
    "speak": "/v1/audio/speech",
    "transcribe": "/v1/audio/transcriptions",
    "translate": "/v1/audio/translations",
    "draw": "/v1/images/generations",
}
EDITS = "/v1/images/edits"
_SAMPLING = ("max_tokens", "temperature", "top_p", "presence_penalty", "frequency_penalty", "seed")
_OF_CHAT = ("tools", "tool_choice", "reasoning_effort")
SD_CPP_MODEL = "sd-cpp-local"
"""The name of whatever model the server of stable-diffusion.cpp was started with (`examples/server/routes_openai.cpp`,
0137f16)."""


def make_writing_request(inputs: OpenAiInputs, model: str, pictures: Mapping[str, str]) -> dict[str, Json]:
    """Make the request for an answer or a continued text, streamed; `pictures` has each image as a data URL."""
    request: dict[str, Json] = {
        "model": model,
        **_take(inputs, _SAMPLING),
        **({"stop": inputs.stop} if inputs.stop else {}),
        "stream": True,
        "stream_options": {"include_usage": True},
        **inputs.extra,
    }
    if inputs.call() == "complete":
        return {**request, "prompt": inputs.prompt}
    if inputs.json_schema is not None:
        # OpenAI asks for a name and `strict`; servers that do not know them leave them alone.
        form = {"name": "answer", "schema": inputs.json_schema, "strict": True}
        request["response_format"] = {"type": "json_schema", "json_schema": form}
    messages = write_conversation(
        system=inputs.system, prompt=inputs.prompt, images=inputs.images, turns=inputs.messages, pictures=pictures
    )
    return {**request, **_take(inputs, _OF_CHAT), "messages": messages}


def make_embedding_request(inputs: OpenAiInputs, model: str, texts: list[str]) -> dict[str, Json]:
    """Make the request for the vectors of some texts."""
    asked = {"model": model, "input": texts, "encoding_format": "float"}
    return {**asked, **_take(inputs, ("dimensions",)), **inputs.extra}


def make_speech_request(inputs: OpenAiInputs, model: str, options: OpenAiOptions) -> dict[str, Json]:
    """Make the request for speech; without a format where none is asked for."""
    voice = inputs.voice or options.voice
    return {
        "model": model,
        "input": inputs.prompt,
        **({} if voice is None else {"voice": voice}),
        **({} if inputs.format is None else {"response_format": inputs.format}),
        **_take(inputs, ("speed", "instructions", "seed")),
        **inputs.extra,
    }


def list_hearing_fields(inputs: OpenAiInputs, model: str) -> list[tuple[str, str]]:
    """List the fields of the form that goes with audio; a name can be there twice."""
    fields = {"model": model, "response_format": "verbose_json" if inputs.segments else "json"}
    if inputs.initial_prompt is not None:
        fields["prompt"] = inputs.initial_prompt
    given = {**fields, **_take(inputs, ("language", "temperature")), **inputs.extra}
    times = ["segment", "word"] if inputs.word_timestamps else []
    return [
        *((name, _write_field(value)) for name, value in given.items()),
        *(("timestamp_granularities[]", time) for time in times),
    ]


def make_drawing_request(inputs: OpenAiInputs, model: str) -> dict[str, Json]:
    """Make the request for images; the images to change, if any, go with it in a form.

    stable-diffusion.cpp's server takes no field for a seed, steps or what to avoid: it reads them from the prompt.
    """
    asked: dict[str, Json] = {
        "model": model,
        "n": inputs.count,
        "response_format": "b64_json",
        **_take(inputs, ("size",)),
    }
    more = {**_take(inputs, ("seed",)), **inputs.extra}
    if model == SD_CPP_MODEL and more:
        return {**asked, "prompt": f"{inputs.prompt}<sd_cpp_extra_args>{json.dumps(more)}</sd_cpp_extra_args>"}
    return {**asked, **more, "prompt": inputs.prompt}


def list_drawing_fields(inputs: OpenAiInputs, model: str) -> list[tuple[str, str]]:
    """List the fields of the form that goes with the images to change."""
    return [(name, _write_field(value)) for name, value in make_drawing_request(inputs, model).items()]


def _take(inputs: OpenAiInputs, names: tuple[str, ...]) -> dict[str, Any]:  # Any: JSON
    return {name: value for name in names if (value := getattr(inputs, name)) is not None}


def _write_field(value: Json) -> str:
    return value if isinstance(value, str) else json.dumps(value)
