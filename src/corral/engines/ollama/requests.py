"""What a task's inputs become on the wire; pure but for reading the task's images.

A server loads a model anew whenever `num_ctx` changes between two requests. So where the cluster file gives an instance
its context size, every request carries that one, and a task that needs more is told instead of obeyed.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from corral.engines.ollama.errors import RequestRefusedError
from corral.engines.ollama.inputs import Call, OllamaInputs, OllamaMessage, OllamaOptions
from corral.errors import did_you_mean
from corral.work import Json

PATHS: dict[Call, str] = {"chat": "/api/chat", "generate": "/api/generate", "embed": "/api/embed"}

LARGEST_IMAGE = 64 * 2**20
"""Bytes of one image; Ollama scales everything down to about a megapixel."""

_ONLY_GENERATE = ("prompt", "system", "suffix")
_ONLY_EMBED = ("input", "dimensions", "truncate")


async def request_body(
    inputs: OllamaInputs, *, model: str, options: OllamaOptions, files: Mapping[str, Path]
) -> dict[str, Json]:
    """Write the body of the task's request. Raises: RequestRefusedError."""
    call = inputs.call()
    body: dict[str, Json] = {"model": model, "options": _model_options(inputs.options, options)}
    if call == "embed":
        body |= {name: getattr(inputs, name) for name in _ONLY_EMBED}
    else:
        body |= {"stream": True, "think": inputs.think, "format": inputs.format}
    if call == "generate":
        body |= {name: getattr(inputs, name) for name in _ONLY_GENERATE}
        body |= {"raw": inputs.raw or None, "images": await _images(inputs.images, files)}
    if call == "chat":
        body |= {"tools": inputs.tools, "messages": [await _message(m, files) for m in inputs.messages or ()]}
    body["keep_alive"] = inputs.keep_alive if inputs.keep_alive is not None else options.keep_alive
    return {name: value for name, value in body.items() if value is not None}


def _model_options(asked: Mapping[str, Json], options: OllamaOptions) -> dict[str, Json]:
    kept = options.context_size
    if kept is None:
        return dict(asked)
    wanted = asked.get("num_ctx")
    if isinstance(wanted, int) and wanted > kept:
        raise RequestRefusedError(
            f"the task asks for a context of {wanted} tokens, and this server's models are kept at {kept}",
            where="inputs.options.num_ctx",
            hint="ask for less, or raise contextSize of the engine in the cluster file",
        )
    return {**asked, "num_ctx": kept}


async def _message(message: OllamaMessage, files: Mapping[str, Path]) -> dict[str, Json]:
    body = message.model_dump(exclude_none=True, exclude={"images"})
    images = await _images(message.images, files)
    return {**body, "images": images} if images else body


async def _images(names: Sequence[str], files: Mapping[str, Path]) -> list[str] | None:
    return [await asyncio.to_thread(_encoded, name, files) for name in names] or None


def _encoded(name: str, files: Mapping[str, Path]) -> str:
    path = files.get(name)
    if path is None:
        hint = did_you_mean(name, files, otherwise=f"its files are: {', '.join(sorted(files)) or 'none'}")
        raise RequestRefusedError(f"the task has no file {name!r}", where="inputs.images", hint=hint)
    if path.stat().st_size > LARGEST_IMAGE:
        what = f"the image {name!r} is {path.stat().st_size} bytes, and at most {LARGEST_IMAGE} are sent"
        raise RequestRefusedError(what, where="inputs.images")
    return base64.b64encode(path.read_bytes()).decode()
