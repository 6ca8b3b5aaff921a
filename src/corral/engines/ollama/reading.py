"""What arrives from an Ollama server, read within bounds: one JSON value, lines of JSON, the message of a refusal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from corral.engines.narrowing import as_object, as_text
from corral.engines.ollama.errors import ServerAnswerError, describe_page, is_page, shorten
from corral.work import Json

LARGEST_ANSWER = 64 * 2**20
"""Bytes of one answer; the embeddings of `embedding.PIECE_TEXTS` texts of 8,192 numbers each are 12 MiB."""
SMALL_ANSWER = 2**20
"""Bytes that are parsed at once; more of them take longer than the event loop should wait."""
LARGEST_LINE = 16 * 2**20
"""Bytes of one streamed line; the last one carries the context's tokens."""
LONGEST_REFUSAL = 4096
"""Bytes of a refusal that are read."""


async def read_json(pieces: AsyncIterator[bytes], *, where: str) -> Json:
    """Read a whole answer. Raises: ServerAnswerError."""
    gathered = bytearray()
    async for piece in pieces:
        gathered += piece
        if len(gathered) > LARGEST_ANSWER:
            raise ServerAnswerError(f"the answer is larger than {LARGEST_ANSWER} bytes", where=where)
    # A large answer takes long to read: not on the loop that every slot shares.
    whole = bytes(gathered)
    return _parse(whole, where) if len(whole) < SMALL_ANSWER else await asyncio.to_thread(_parse, whole, where)


async def read_lines(pieces: AsyncIterator[bytes], *, where: str) -> AsyncIterator[dict[str, Json]]:
    """Read an answer line by line. Raises: ServerAnswerError."""
    rest = bytearray()
    async for piece in pieces:
        rest += piece
        *lines, last = rest.split(b"\n")
        rest = bytearray(last)
        for line in lines:
            if line.strip():
                yield as_object(_parse(bytes(line), where))
        if len(rest) > LARGEST_LINE:
            raise ServerAnswerError(f"a line is longer than {LARGEST_LINE} bytes", where=where)
    if rest.strip():
        yield as_object(_parse(bytes(rest), where))


def read_message(refusal: bytes) -> str:
    """Read the message of a refusal: Ollama's `error`, the title of a proxy's page, or the text as it is."""
    text = refusal.decode(errors="replace")
    try:
        return as_text(as_object(json.loads(text)).get("error")) or text
    except ValueError:
        return describe_page(text)


def _parse(text: bytes, where: str) -> Json:
    try:
        return json.loads(text)
    except ValueError as error:
        start = text[:LONGEST_REFUSAL].decode(errors="replace")
        seen = describe_page(start) if is_page(start) else repr(shorten(start[:80]))
        hint = "check that the engine's url is that of an Ollama server"
        what = f"the server sent something that is not JSON: {seen}"
        raise ServerAnswerError(what, where=where, hint=hint) from error
