"""Sends files: whole, or the one range that was asked for.

Several ranges in one request are answered with the whole file, which HTTP allows and no client of ours asks for. What a
person or a task made is never shown by a browser as a page of this server.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from corral.errors import CorralError, Kind
from corral.gateway.asgi import Exchange

_CHUNK = 256 * 1024
_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII)
_RUNS_IN_BROWSERS = re.compile(r"(text|application)/(html|xml|xhtml\+xml|javascript|ecmascript|css)|image/svg\+xml")


_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(;[\x20-\x7e]*)?", re.ASCII)
_UNKNOWN_TYPE = "application/octet-stream"


class RangeError(CorralError):
    """The file has no such range."""

    code: ClassVar[str] = "artifact.range_unsatisfiable"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes from `start` up to and without `end`."""

    start: int
    end: int


def read_span(header: str | None, size: int) -> Span | None:
    """Return the one range that is asked for; None for the whole file, also where the header cannot be read.

    Raises: RangeError when the range is outside the file.
    """
    match = _ONE_RANGE.fullmatch(header or "")
    if match is None or match.group(1) == match.group(2) == "":
        return None
    first, last = match.groups()
    if first == "":
        span = Span(max(0, size - int(last)), size)
    else:
        span = Span(int(first), min(size, int(last) + 1) if last else size)
        if last and int(last) < int(first):
            return None
    if span.start >= span.end:
        raise RangeError(f"the file has {size} bytes, and {(header or '')[:60]!r} is outside of it")
    return span


def choose_media_type(given: str) -> str:
    """Return the type under which a file is sent: its own, where that is one, and no browser runs it."""
    is_safe = _MEDIA_TYPE.fullmatch(given) and not _RUNS_IN_BROWSERS.match(given.lower())
    return given if is_safe else _UNKNOWN_TYPE


async def send_file(exchange: Exchange, path: Path, *, name: str, media_type: str, sha256: str, size: int) -> None:
    """Answer with a stored file, or a range of it. Raises: FileNotFoundError, RangeError, before the answer begins."""
    etag = f'"{sha256}"'
    headers: Mapping[str, str] = {
        "etag": etag,
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",
        "content-disposition": f"filename*=utf-8''{quote(name, safe='')}",
        "content-security-policy": "sandbox; default-src 'none'",
    }
    kind = choose_media_type(media_type)
    if etag in exchange.headers.get("if-none-match", ""):
        await exchange.answer(304, b"", kind, headers)
        return
    span = read_span(exchange.headers.get("range"), size) or Span(0, size)
    pairs = [(b"content-type", kind.encode()), (b"content-length", str(span.end - span.start).encode())]
    pairs += [(key.encode(), value.encode("latin-1")) for key, value in headers.items()]
    is_part = "range" in exchange.headers and span != Span(0, size)
    if is_part:
        pairs.append((b"content-range", f"bytes {span.start}-{span.end - 1}/{size}".encode()))
    content = await asyncio.to_thread(path.open, "rb")
    with content:
        await exchange.start(206 if is_part else 200, pairs)
        content.seek(span.start)
        left = span.end - span.start if exchange.method != "HEAD" else 0
        while left > 0 and (chunk := await asyncio.to_thread(content.read, min(_CHUNK, left))):
            left -= len(chunk)
            await exchange.write(chunk)
    await exchange.end()
