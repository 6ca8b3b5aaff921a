"""Images of a server that speaks OpenAI's API: drawn from a text, or changed by it."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from corral.engines.http.client import ServerClient
from corral.engines.openai.asking import ask, make_form
from corral.engines.openai.inputs import OpenAiInputs
from corral.engines.openai.requests import EDITS, PATHS, list_drawing_fields, make_drawing_request
from corral.engines.outputs import write_bytes
from corral.narrowing import as_list, as_object, as_text
from corral.work import Json, OutputFile, Produced, Reporter, Work

LARGEST_DRAWING = 256 * 2**20
"""Bytes of one answer: ten images of 4 megapixels as PNG, in base64, are at most 160 MiB."""
_BEGINNINGS = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"RIFF", "webp"))
"""The first bytes of a format (PNG, third edition, 5.2; JPEG's SOI marker; WebP's container)."""


async def draw(client: ServerClient, inputs: OpenAiInputs, work: Work, report: Reporter) -> Produced:
    """Let the server draw, or change the images that the task names. Raises: EngineError."""
    report.progress(None, "drawing")
    note, model = partial(report.progress, None), work.model or ""
    if inputs.images:
        form = make_form(list_drawing_fields(inputs, model), _list_files(inputs, work.files))
        answer = await ask(client, EDITS, form, note, bound=LARGEST_DRAWING)
    else:
        answer = await ask(client, PATHS["draw"], make_drawing_request(inputs, model), note, bound=LARGEST_DRAWING)
    images = [as_object(image) for image in as_list(answer.get("data"))]
    if not images:
        raise client.make_answer_error("the server answered without an image")
    files = [
        await _keep(client, image, number, len(images), work.scratch) for number, image in enumerate(images, start=1)
    ]
    revised = as_text(images[0].get("revised_prompt"))
    values: dict[str, Json] = {"images": len(files), **({"revised_prompt": revised} if revised else {})}
    return Produced(files=tuple(files), values=values)


def _list_files(inputs: OpenAiInputs, files: Mapping[str, Path]) -> list[tuple[str, str, Path]]:
    """List the files of the form: `image`, or `image[]` for several, as OpenAI's own client sends them."""
    field = "image" if len(inputs.images) == 1 else "image[]"
    images = [(field, name, files[name]) for name in inputs.images]
    return [*images, ("mask", inputs.mask, files[inputs.mask])] if inputs.mask else images


async def _keep(client: ServerClient, image: Mapping[str, Json], number: int, count: int, scratch: Path) -> OutputFile:
    encoded = as_text(image.get("b64_json"))
    if not encoded:
        # An address can lead anywhere, and with a key of the server's in it.
        what = "the server answered with an address in place of the image"
        raise client.make_answer_error(what if image.get("url") else "the server answered with an empty image")
    try:
        content = await asyncio.to_thread(b64decode, encoded, validate=True)
    except ValueError as error:
        raise client.make_answer_error(f"the image is not base64: {error}") from error
    kind = next((kind for beginning, kind in _BEGINNINGS if content.startswith(beginning)), None)
    if kind is None:
        raise client.make_answer_error(f"the image is neither PNG, JPEG nor WebP: it begins with {content[:8]!r}")
    name = f"image.{kind}" if count == 1 else f"image_{number:02d}.{kind}"
    return await write_bytes(scratch, name, content, f"image/{kind}")
