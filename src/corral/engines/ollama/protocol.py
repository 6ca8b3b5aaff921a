"""Ollama's API: a task's inputs as a request, and an answer while it is streamed.

Pure but for reading the task's images.

Ollama cuts what is longer than the context, without a word, unless `truncate` is false; so that is sent. Servers before
0.12.6 do not know it for chats and prompts, and cut all the same.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from corral.engines.http.errors import GenerationFailedError, RequestRefusedError
from corral.engines.narrowing import keep_short
from corral.engines.ollama.contexts import choose_context
from corral.engines.ollama.errors import translate_error
from corral.engines.ollama.inputs import Call, OllamaInputs, OllamaMessage, OllamaOptions
from corral.engines.ollama.options import write_keep_alive
from corral.errors import did_you_mean
from corral.narrowing import as_list, as_number, as_object, as_text
from corral.work import Json

PATHS: dict[Call, str] = {"chat": "/api/chat", "generate": "/api/generate", "embed": "/api/embed"}

LARGEST_IMAGE = 64 * 2**20
"""Bytes of one image; Ollama scales everything down to about a megapixel."""

_ONLY_GENERATE = ("prompt", "system", "suffix")
_ONLY_EMBED = ("input", "dimensions")


async def make_request_body(
    inputs: OllamaInputs,
    *,
    model: str,
    options: OllamaOptions,
    files: Mapping[str, Path],
    loaded: int | None = None,
) -> dict[str, Json]:
    """Write the body of the task's request; `loaded` is the context of the model in memory, in tokens.

    Raises: RequestRefusedError.
    """
    call = inputs.call()
    asked = inputs.options.model_dump(exclude_none=True)
    body: dict[str, Json] = {
        "model": model,
        "options": _merge_options(asked, options, loaded),
        "truncate": inputs.truncate,
    }
    if call == "embed":
        body |= {name: getattr(inputs, name) for name in _ONLY_EMBED}
    else:
        body |= {"stream": True, "think": inputs.think, "format": inputs.format}
    if call == "generate":
        body |= {name: getattr(inputs, name) for name in _ONLY_GENERATE}
        body |= {"raw": inputs.raw or None, "images": await _encode_images(inputs.images, files)}
    if call == "chat":
        body |= {"tools": inputs.tools, "messages": await _make_messages(inputs, files)}
    body["keep_alive"] = write_keep_alive(inputs.keep_alive if inputs.keep_alive is not None else options.keep_alive)
    return {name: value for name, value in body.items() if value is not None}


def _merge_options(asked: Mapping[str, Json], options: OllamaOptions, loaded: int | None) -> dict[str, Json]:
    wanted = asked.get("num_ctx")
    context = choose_context(wanted if isinstance(wanted, int) else None, kept=options.context_size, loaded=loaded)
    return {**asked, **({} if context is None else {"num_ctx": context})}


async def _make_messages(inputs: OllamaInputs, files: Mapping[str, Path]) -> list[Json]:
    system = [{"role": "system", "content": inputs.system}] if inputs.system else []
    return [*system, *[await _make_message(message, files) for message in inputs.messages or ()]]


async def _make_message(message: OllamaMessage, files: Mapping[str, Path]) -> dict[str, Json]:
    body = message.model_dump(exclude_none=True, exclude={"images"})
    images = await _encode_images(message.images, files)
    return {**body, "images": images} if images else body


async def _encode_images(names: Sequence[str], files: Mapping[str, Path]) -> list[str] | None:
    return [await asyncio.to_thread(_encode_image, name, files) for name in names] or None


def _encode_image(name: str, files: Mapping[str, Path]) -> str:
    path = files.get(name)
    if path is None:
        hint = did_you_mean(name, files, otherwise=f"its files are: {', '.join(sorted(files)) or 'none'}")
        raise RequestRefusedError(f"the task has no file {name!r}", where="inputs.images", hint=hint)
    if path.stat().st_size > LARGEST_IMAGE:
        what = f"the image {name!r} is {path.stat().st_size} bytes, and at most {LARGEST_IMAGE} are sent"
        raise RequestRefusedError(what, where="inputs.images")
    return base64.b64encode(path.read_bytes()).decode()


@dataclass(slots=True)
class Answer:
    """The parts that have arrived so far."""

    where: str
    limit: int | None
    """Tokens that the task allows, or None where it sets no bound."""
    text: list[str] = field(default_factory=list[str])
    thinking: list[str] = field(default_factory=list[str])
    tool_calls: list[Json] = field(default_factory=list[Json])
    pieces: int = 0
    last: Mapping[str, Json] | None = None

    def take(self, line: dict[str, Json]) -> str:
        """Take one line of the stream; return the text it adds. Raises: EngineError when the line is an error."""
        if "error" in line:
            raise translate_error(as_text(line["error"]) or "an error without a message", where=self.where)
        message = as_object(line.get("message"))
        piece = as_text(message.get("content")) or as_text(line.get("response"))
        thought = as_text(message.get("thinking")) or as_text(line.get("thinking"))
        self.text.append(piece)
        self.thinking.append(thought)
        self.tool_calls += as_list(message.get("tool_calls"))
        self.pieces += bool(piece or thought)
        if line.get("done") is True:
            self.last = line
        return piece

    @property
    def fraction(self) -> float | None:
        """Pieces (a token each) over those allowed; None where there is no bound."""
        return None if not self.limit else min(self.pieces / self.limit, 1.0)

    def list_values(self) -> dict[str, Json]:
        """Summarize a finished answer. Raises: GenerationFailedError when the stream broke off before its end."""
        if self.last is None:
            what = f"the answer broke off after {self.pieces} tokens"
            raise GenerationFailedError(
                what, where=self.where, hint="look at the server's log: its runner might have died"
            )
        values: dict[str, Json] = {
            "text": keep_short("".join(self.text)),
            "finish_reason": as_text(self.last.get("done_reason")) or "stop",
            "prompt_tokens": self.last.get("prompt_eval_count"),
            "completion_tokens": self.last.get("eval_count"),
            "tokens_per_second": _compute_speed(self.last),
            "load_s": _read_seconds(self.last, "load_duration"),
        }
        return {**values, "tool_calls": self.tool_calls} if self.tool_calls else values


def read_token_limit(options: Mapping[str, Json]) -> int | None:
    """Return `num_predict` where it bounds the answer; -1 and -2 do not."""
    limit = options.get("num_predict")
    return limit if isinstance(limit, int) and limit > 0 else None


def _compute_speed(last: Mapping[str, Json]) -> float | None:
    count, seconds = as_number(last.get("eval_count")), _read_seconds(last, "eval_duration")
    return round(count / seconds, 2) if count and seconds else None


def _read_seconds(last: Mapping[str, Json], name: str) -> float | None:
    nanoseconds = as_number(last.get(name))
    return None if nanoseconds is None else nanoseconds / 1e9
