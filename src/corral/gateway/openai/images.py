"""Images through a workflow of ComfyUI that the cluster file names for a model, or on a server that draws by itself.

An image of a workflow is a durable task: it is in the queue as any other, and goes on elsewhere when its instance dies.
Each of `n` images is a task with a seed of its own. `size`, and files of an edit, go to the places of these names in
the workflow (`image`, `mask`; `docs/concepts/engines.md`).
"""

from __future__ import annotations

import re
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from corral.gateway.asgi import Exchange
from corral.gateway.doors import Visitor
from corral.gateway.forms import read_parts
from corral.gateway.leaving import Leaving
from corral.gateway.openai.requests import RequestBodyError
from corral.gateway.parsing import explain_unkept
from corral.narrowing import as_text
from corral.work import Json

MOST_IMAGES = 10
"""OpenAI's own bound of `n`."""
LARGEST_FORM = 64 * 2**20
"""Bytes of the form of an edit: some pictures."""
_SIZE = re.compile(r"[0-9]{1,5}x[0-9]{1,5}")
_IGNORED_SIZE = "auto"
_FILES = {"image": "image", "image[]": "image", "mask": "mask"}
"""Names of files in the form of an edit, with the place of the workflow that takes each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawing:
    """Images that are asked for."""

    workflow: str
    """The file of the workflow, as the cluster file has it."""
    prompt: str
    count: int = 1
    size: str | None = None
    """Width and height: `832x1216`; None for the workflow's own."""
    files: Mapping[str, bytes] = field(default_factory=dict[str, bytes], repr=False)
    """Pictures to change, by the place of the workflow that takes each."""
    comes_from_corral: bool = False
    """Whether another Corral asks for them: no third one makes them."""


class Studio(Protocol):
    """Where images are made."""

    async def draw(self, visitor: Visitor, drawing: Drawing) -> Sequence[bytes]:
        """Make images, and return them once all are there; a cancelled call cancels them. Raises: CorralError."""
        ...


def make_drawing(workflow: str, fields: Mapping[str, Json], files: Mapping[str, bytes]) -> Drawing:
    """Check the fields of a request. Raises: RequestBodyError."""
    prompt, count, size = as_text(fields.get("prompt")), fields.get("n", 1), fields.get("size") or _IGNORED_SIZE
    if not prompt:
        raise RequestBodyError("`prompt` is missing", where="prompt", hint="say what to draw")
    if isinstance(count, str) and count.isdecimal() and len(count) < 4:  # of a form
        count = int(count)
    if (reason := explain_unkept(prompt)) is not None:
        raise RequestBodyError(f"`prompt` cannot be used: {reason}", where="prompt")
    if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= MOST_IMAGES:
        raise RequestBodyError(f"`n` is 1 to {MOST_IMAGES}, not {count!r:.20}", where="n")
    if size != _IGNORED_SIZE and (not isinstance(size, str) or not _SIZE.fullmatch(size)):
        raise RequestBodyError(f"`size` is {size!r}", where="size", hint="write one such as 1024x1024")
    if fields.get("response_format") == "url" or fields.get("stream") is True:
        name = "stream" if fields.get("stream") is True else "response_format"
        raise RequestBodyError("images are answered as base64 alone", where=name, hint="ask for `b64_json`")
    drawn = None if size == _IGNORED_SIZE else as_text(size)
    return Drawing(workflow=workflow, prompt=prompt, count=count, size=drawn, files=files)


async def read_edit(exchange: Exchange) -> tuple[dict[str, Json], dict[str, bytes]]:
    """Return the fields of an edit's form, and its pictures by place. Raises: CorralError, ClientGoneError."""
    body = await exchange.read_body(LARGEST_FORM)

    async def give() -> AsyncIterator[bytes]:
        yield body

    fields: dict[str, Json] = {}
    files: dict[str, bytes] = {}
    async for part in read_parts(exchange.headers.get("content-type", ""), give()):
        place = _FILES.get(part.name)
        if place is None:
            fields[part.name] = await part.read_text()
        elif place in files:
            raise RequestBodyError("one image is changed at a time", where="image", hint="send one")
        else:
            files[place] = b"".join([piece async for piece in part.content])
    if "image" not in files:
        raise RequestBodyError("`image` is missing", where="image", hint="send the picture to change")
    return fields, files


async def answer_images(exchange: Exchange, visitor: Visitor, studio: Studio, drawing: Drawing) -> None:
    """Make images and answer with them. Raises: CorralError, ClientGoneError."""
    async with Leaving(exchange):
        pictures = await studio.draw(visitor, drawing)
    data = [{"b64_json": b64encode(picture).decode()} for picture in pictures]
    await exchange.answer_json(200, {"created": int(time.time()), "data": data})
