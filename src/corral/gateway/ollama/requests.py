"""Ollama's requests as a server asks for them that speaks OpenAI's protocol alone; pure.

What has no counterpart there is refused by name where the answer would be another one without it (`template`,
`context`), and left out where it steers a server's own memory (`keep_alive`, `num_ctx`, `num_gpu`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.narrowing import as_list, as_object, as_text
from corral.work import Json

CHAT = "/v1/chat/completions"
TEXT = "/v1/completions"
VECTORS = "/v1/embeddings"

_SAMPLING = ("temperature", "top_p", "seed", "stop", "frequency_penalty", "presence_penalty")
_OF_LLAMA_CPP = ("top_k", "min_p", "typical_p", "repeat_penalty", "repeat_last_n")
"""Options that OpenAI's protocol does not have; llama.cpp's server takes them by the same names, vLLM the first two."""
_INTEGERS = frozenset({"seed", "num_predict", "top_k", "repeat_last_n"})
_NUMBERS = frozenset(
    {"temperature", "top_p", "frequency_penalty", "presence_penalty", "min_p", "typical_p", "repeat_penalty"}
)
_IMAGE_TYPES = (("iVBORw0KGgo", "png"), ("/9j/", "jpeg"), ("R0lGOD", "gif"), ("UklGR", "webp"))
"""The first characters of each format in base64, which are those of its first bytes."""


class OllamaRequestError(CorralError):
    """A request that cannot be used, or not by the servers that have its model."""

    code: ClassVar[str] = "request.invalid"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True)
class Translated:
    """A request in OpenAI's protocol."""

    path: str
    body: dict[str, Json]


def translate_chat(fields: Mapping[str, Json], model: str) -> Translated:
    """Translate `/api/chat`. Raises: OllamaRequestError."""
    messages = list(_translate_messages(as_list(fields.get("messages"))))
    tools = as_list(fields.get("tools"))
    body = {**_translate_common(fields, model), "messages": messages, **({"tools": tools} if tools else {})}
    return Translated(CHAT, body)


def translate_generate(fields: Mapping[str, Json], model: str) -> Translated:
    """Translate `/api/generate`: a chat of one turn, or plain text where it is `raw` or has a `suffix`.

    Raises: OllamaRequestError.
    """
    for name, why in (
        ("template", "a server that speaks OpenAI's protocol has its own template"),
        ("context", "it holds tokens of another server"),
    ):
        if fields.get(name):
            raise OllamaRequestError(f"`{name}` cannot be used with this model: {why}", where=name, hint="leave it out")
    common = _translate_common(fields, model)
    prompt, suffix = as_text(fields.get("prompt")), as_text(fields.get("suffix"))
    if fields.get("raw") or suffix:
        return Translated(TEXT, {**common, "prompt": prompt, **({"suffix": suffix} if suffix else {})})
    system = as_text(fields.get("system"))
    asked: dict[str, Json] = {"role": "user", "content": prompt, "images": fields.get("images")}
    turns: list[Json] = [*([{"role": "system", "content": system}] if system else []), asked]
    return Translated(CHAT, {**common, "messages": list(_translate_messages(turns))})


def translate_embed(fields: Mapping[str, Json], model: str) -> Translated:
    """Translate `/api/embed` and `/api/embeddings`. Raises: OllamaRequestError."""
    dimensions = fields.get("dimensions")
    body: dict[str, Json] = {"model": model, "input": read_embed_input(fields), "encoding_format": "float"}
    return Translated(VECTORS, body if dimensions is None else {**body, "dimensions": dimensions})


def read_embed_input(fields: Mapping[str, Json]) -> list[str]:
    """Return the texts to embed: of `input`, or of the older `prompt`. Raises: OllamaRequestError."""
    given = fields.get("input", fields.get("prompt"))
    texts = [given] if isinstance(given, str) else as_list(given)
    if not all(isinstance(text, str) for text in texts):
        raise OllamaRequestError("invalid input type", where="input", hint="send a text or a list of texts")
    return [as_text(text) for text in texts if text]


def _translate_common(fields: Mapping[str, Json], model: str) -> dict[str, Json]:
    options = as_object(fields.get("options"))
    body: dict[str, Json] = {"model": model}
    body |= {name: options[name] for name in (*_SAMPLING, *_OF_LLAMA_CPP) if options.get(name) is not None}
    limit = options.get("num_predict")
    if isinstance(limit, int | float) and limit >= 0:  # below 0 there is no bound
        body["max_tokens"] = int(limit)
    if (form := _translate_format(fields.get("format"))) is not None:
        body["response_format"] = form
    body |= _translate_thinking(fields.get("think"))
    if fields.get("logprobs"):
        body["logprobs"] = True
        if fields.get("top_logprobs"):
            body["top_logprobs"] = fields["top_logprobs"]
    if fields.get("stream") is not False:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def check_options(options: Mapping[str, Json]) -> None:
    """Check the types of options, in Ollama's words; unknown names are ignored there. Raises: OllamaRequestError."""
    for name, value in options.items():
        is_number = isinstance(value, int | float) and not isinstance(value, bool) and value - value == 0
        if value is None or not (name in _INTEGERS or name in _NUMBERS or name == "stop"):
            continue
        wanted = "array" if name == "stop" else "integer" if name in _INTEGERS else "float32"
        if not (isinstance(value, list) if name == "stop" else is_number):
            raise OllamaRequestError(f'option "{name}" must be of type {wanted}', where=f"options.{name}")


def check_format(form: Json) -> None:
    """Check the form of an answer, which servers refuse after they have loaded a model. Raises: OllamaRequestError."""
    if form not in (None, "", "json") and not isinstance(form, dict):
        raise OllamaRequestError(f'invalid format: {form!r}; expected "json" or a JSON Schema object', where="format")


def _translate_format(form: Json) -> dict[str, Json] | None:
    if form in (None, ""):
        return None
    if form == "json":
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": form, "strict": True}}


def _translate_thinking(think: Json) -> dict[str, Json]:
    """Translate `think`: whether, in the words of llama.cpp, vLLM and SGLang; how much, in those of OpenAI."""
    if isinstance(think, bool):
        return {"chat_template_kwargs": {"enable_thinking": think}}
    return {"reasoning_effort": "high" if think == "max" else think} if isinstance(think, str) and think else {}


def _translate_messages(messages: list[Json]) -> Iterator[dict[str, Json]]:
    """Translate turns; results of tools are matched to the calls before them where they carry no id, as in Ollama."""
    open_calls: list[tuple[str, str]] = []
    for number, given in enumerate(messages):
        turn = as_object(given)
        role = as_text(turn.get("role"))
        if not role:
            raise OllamaRequestError("a message has no role", where=f"messages[{number}].role")
        content = as_text(turn.get("content"))
        translated: dict[str, Json] = {"role": role, "content": content}
        if images := as_list(turn.get("images")):
            pictures = [_translate_image(image, f"messages[{number}].images") for image in images]
            translated["content"] = [*([{"type": "text", "text": content}] if content else []), *pictures]
        if thinking := as_text(turn.get("thinking")):
            translated["reasoning_content"] = thinking
        if calls := as_list(turn.get("tool_calls")):
            translated["tool_calls"] = [_translate_call(call, f"call_{number}_{n}") for n, call in enumerate(calls)]
            made = [as_object(call) for call in as_list(translated["tool_calls"])]
            open_calls = [(as_text(call["id"]), as_text(as_object(call["function"])["name"])) for call in made]
        if role == "tool":
            translated["tool_call_id"] = _find_call(turn, open_calls)
        yield translated


def _find_call(turn: Mapping[str, Json], open_calls: list[tuple[str, str]]) -> str:
    """Return the id of the call that a result belongs to: its own, that of the same name, or the next one."""
    if given := as_text(turn.get("tool_call_id")):
        return given
    name = as_text(turn.get("tool_name")) or as_text(turn.get("name"))
    match = next((call for call in open_calls if call[1] == name), open_calls[0] if open_calls else None)
    if match is None:
        return "call_0"
    open_calls.remove(match)
    return match[0]


def _translate_call(given: Json, otherwise: str) -> dict[str, Json]:
    call = as_object(given)
    function = as_object(call.get("function"))
    arguments = json.dumps(as_object(function.get("arguments")), ensure_ascii=False)
    named: dict[str, Json] = {"name": as_text(function.get("name")), "arguments": arguments}
    return {"id": as_text(call.get("id")) or otherwise, "type": "function", "function": named}


def _translate_image(image: Json, where: str) -> dict[str, Json]:
    text = as_text(image)
    if text.startswith("data:image/"):
        return {"type": "image_url", "image_url": {"url": text}}
    kind = next((kind for prefix, kind in _IMAGE_TYPES if text.startswith(prefix)), None)
    if kind is None:
        raise OllamaRequestError("an image is not PNG, JPEG, GIF or WebP in base64", where=where)
    return {"type": "image_url", "image_url": {"url": f"data:image/{kind};base64,{text}"}}
