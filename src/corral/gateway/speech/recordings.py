"""The form of a request to hear: what hears it is found before its recording goes to the disk."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from uuid import uuid4

from corral.gateway.asgi import BodyTooLargeError, Exchange
from corral.gateway.forms import LARGEST_FIELD, FormError, Part, read_parts
from corral.narrowing import as_list
from corral.work import Json

LARGEST_RECORDING = 2 * 2**30
"""Bytes of a recording: three hours as WAV of 48 kHz in stereo. It is on the disk while it is heard."""
LARGEST_PASSED = 64 * 2**20
"""Bytes of audio that is passed on to a server, which is held in memory for as long; as much can come before the form
has said what hears it: `curl -F file=@a.mp3 -F model=whisper-1` sends the file first."""
LOOK_EVERY = 16 * 2**20
"""Bytes after which the room on the disk is looked at again."""
_ENDING = re.compile(r"\.[A-Za-z0-9]{1,8}$")
_GRANULARITIES = frozenset({"timestamp_granularities[]", "timestamp_granularities"})
_IN_HEADER = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})
"""How forms write what would end a name (WHATWG, multipart/form-data encoding algorithm)."""

Fields = dict[str, Json]
Admit = Callable[[Fields], Awaitable[int]]
"""Takes the fields that came before the file, and returns how many bytes it can have. Raises: CorralError."""
Reserve = Callable[[int], None]
"""Returns when the disk has room for so many bytes more. Raises: CorralError."""


async def read_form(exchange: Exchange, folder: Path, admit: Admit, reserve: Reserve) -> tuple[Fields, Path]:
    """Read a form; its file goes to the folder once it is admitted.

    Raises: FormError, BodyTooLargeError, what `admit` and `reserve` raise; ClientGoneError.
    """
    coming = _read_length(exchange)
    _refuse_above(coming, LARGEST_RECORDING)
    fields: Fields = {"granularities": []}
    audio: Path | None = None
    async for part in read_parts(exchange.headers.get("content-type", ""), exchange.read_chunks()):
        if part.filename is None:
            _add(fields, part.name, await part.read_text())
            continue
        if audio is not None:
            raise FormError("the form has two files", where="file", hint="send one recording at a time")
        largest = await admit(fields)
        _refuse_above(coming, largest)
        reserve(coming)
        audio = folder / _name_file(part.filename)
        await _store(part, audio, largest, reserve)
    if audio is None:
        raise FormError("the form has no file", where="file", hint="send the audio as the form's `file`")
    return fields, audio


def write_form(fields: Mapping[str, Json], name: str, content: bytes) -> tuple[str, bytes]:
    """Return the content type and the body of a form with one file; fields that are lists are repeated."""
    boundary = uuid4().hex
    lines = [
        f'--{boundary}\r\ncontent-disposition: form-data; name="{_escape(key)}"\r\n\r\n{value}\r\n'.encode()
        for key, value in _list_pairs(fields)
    ]
    head = f'--{boundary}\r\ncontent-disposition: form-data; name="file"; filename="{_escape(name)}"\r\n\r\n'.encode()
    return f"multipart/form-data; boundary={boundary}", b"".join(
        (*lines, head, content, f"\r\n--{boundary}--\r\n".encode())
    )


def _list_pairs(fields: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    for name, value in fields.items():
        written = "timestamp_granularities[]" if name == "granularities" else name
        yield from ((written, entry) for entry in (as_list(value) if isinstance(value, list) else [value]))


async def _store(part: Part, target: Path, largest: int, reserve: Reserve) -> None:
    size, looked_at = 0, 0
    with target.open("wb") as file:
        async for piece in _join(part.content):
            size += len(piece)
            if size > largest:
                hint = "send parts of it" if largest == LARGEST_RECORDING else "send `model` before it, or parts of it"
                raise BodyTooLargeError(f"the audio has more than {largest} bytes", where="file", hint=hint)
            if size - looked_at >= LOOK_EVERY:
                reserve(0)
                looked_at = size
            await asyncio.to_thread(file.write, piece)


async def _join(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Join pieces to some of 1 MiB: each is written by a thread."""
    joined = bytearray()
    async for piece in pieces:
        joined += piece
        if len(joined) >= 2**20:
            yield bytes(joined)
            joined.clear()
    if joined:
        yield bytes(joined)


def _add(fields: Fields, name: str, value: str) -> None:
    if name in _GRANULARITIES:
        fields["granularities"] = [*as_list(fields["granularities"]), value]
    elif name.endswith("[]"):
        fields[name] = [*as_list(fields.get(name)), value]
    elif name == "model" and fields.get(name, value) != value:
        raise FormError("the form names two models", where="model", hint="name one")
    elif name != "granularities":  # the name that all of them have here
        fields[name] = value


def _name_file(given: str) -> str:
    """Return a name of our own with the ending of the given one, by which some servers know the format."""
    ending = _ENDING.search(given)
    return f"audio{ending[0] if ending else ''}"


def _read_length(exchange: Exchange) -> int:
    """Return how many bytes the request says that it has; 0 where it does not say."""
    text = exchange.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdecimal() else 0


def _refuse_above(coming: int, largest: int) -> None:
    """Refuse a request before its body is read. Raises: BodyTooLargeError."""
    if coming > largest + LARGEST_FIELD:  # of all its other fields
        what = f"the request has {coming} bytes, and audio can have {largest} here"
        raise BodyTooLargeError(what, where="file", hint="send parts of it")


def _escape(name: str) -> str:
    return name.translate(_IN_HEADER)
