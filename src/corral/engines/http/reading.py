"""What arrives from a server, read within bounds: one JSON value, lines of JSON, events, the message of a refusal.

Each takes `fail`, which makes the error of what cannot be read, since what that means differs between engines.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from pydantic_core import from_json

from corral.engines.http.errors import describe_page, is_page, shorten
from corral.narrowing import as_list, as_object, as_text
from corral.work import EngineError, Json

LARGEST_ANSWER = 64 * 2**20
"""Bytes of one answer; the embeddings of `embedding.PIECE_TEXTS` texts of 8,192 numbers each are 12 MiB."""
SMALL_ANSWER = 2**20
"""Bytes that are parsed at once; more of them take longer than the event loop should wait."""
LARGEST_LINE = 16 * 2**20
"""Bytes of one streamed line; Ollama's last one carries the context's tokens."""
LONGEST_REFUSAL = 4096
"""Bytes of a refusal that are read."""
_DATA, _DONE = b"data:", b"[DONE]"
_FIELDS = (b"event:", b"id:", b"retry:", b":")
"""The other lines of a stream of events (WHATWG HTML, server-sent events): nothing here needs them."""

Fail = Callable[[str], EngineError]


async def read_json(pieces: AsyncIterator[bytes], fail: Fail, *, bound: int = LARGEST_ANSWER) -> Json:
    """Read a whole answer. Raises: EngineError."""
    gathered = bytearray()
    async for piece in pieces:
        gathered += piece
        if len(gathered) > bound:
            raise fail(f"the answer is larger than {bound} bytes")
    # A large answer takes long to read: not on the loop that every slot shares.
    whole = bytes(gathered)
    return _parse(whole, fail) if len(whole) < SMALL_ANSWER else await asyncio.to_thread(_parse, whole, fail)


async def read_lines(pieces: AsyncIterator[bytes], fail: Fail) -> AsyncIterator[dict[str, Json]]:
    """Read an answer that has one JSON object per line. Raises: EngineError."""
    async for line in _split_lines(pieces, fail):
        yield as_object(_parse(line, fail))


async def read_events(pieces: AsyncIterator[bytes], fail: Fail) -> AsyncIterator[dict[str, Json]]:
    """Read a stream of events, or the one JSON object in its place, mostly an error. Raises: EngineError."""
    other = bytearray()
    async for line in _split_lines(pieces, fail):
        if line.startswith(_DATA):
            other.clear()
            if (data := line[len(_DATA) :].strip()) != _DONE:
                yield as_object(_parse(data, fail))
        elif not line.startswith(_FIELDS):
            other += line + b"\n"
            if len(other) > LARGEST_LINE:
                raise fail(f"something that is not an event is longer than {LARGEST_LINE} bytes")
    if other:
        yield as_object(_parse(bytes(other), fail))


async def _split_lines(pieces: AsyncIterator[bytes], fail: Fail) -> AsyncIterator[bytes]:
    """Yield each line that is not empty."""
    rest = bytearray()
    async for piece in pieces:
        rest += piece
        *lines, last = rest.split(b"\n")
        rest = bytearray(last)
        for line in lines:
            if line.strip():
                yield bytes(line)
        if len(rest) > LARGEST_LINE:
            raise fail(f"a line is longer than {LARGEST_LINE} bytes")
    if rest.strip():
        yield bytes(rest)


def read_message(refusal: bytes) -> str:
    """Read the message of a refusal: that of its JSON, the title of a proxy's page, or the text as it is."""
    text = refusal.decode(errors="replace")
    try:
        body: Json = from_json(text)
    except ValueError:
        return describe_page(text)
    return find_message(body) or text


def find_message(body: Json) -> str:
    """Find the words of an error in the shapes that servers give it; empty where there are none.

    OpenAI's `{error: {message}}`; Ollama's `{error}`; stable-diffusion.cpp's `{error, message}`; FastAPI's `{detail}`
    with a text, an object, or a list of fields that are wrong.
    """
    answer = as_object(body)
    detail = answer.get("detail")
    if fields := [as_object(field) for field in as_list(detail)]:
        return "; ".join(f"{_join(field.get('loc'))}: {as_text(field.get('msg'))}" for field in fields)
    for part in (as_object(answer.get("error")), as_object(detail)):
        if message := as_text(part.get("message")) or as_text(part.get("error")):
            return message
    words = [as_text(answer.get(name)) for name in ("error", "message", "detail")]
    return ": ".join(word for word in words if word)


def _join(location: Json) -> str:
    return ".".join(str(step) for step in as_list(location) if step != "body")


def _parse(text: bytes, fail: Fail) -> Json:
    try:
        return from_json(text)
    except ValueError as error:
        start = text[:LONGEST_REFUSAL].decode(errors="replace")
        seen = describe_page(start) if is_page(start) else repr(shorten(start[:80]))
        raise fail(f"the server sent something that is not JSON: {seen}") from error
