"""Files over HTTP: whole or one range, named by their SHA-256.

Several ranges in one request are answered with the whole file, which HTTP allows and no client of ours asks for. A file
is always an attachment: what a task made is never shown by a browser as a page of this server.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse

from corral.errors import CorralError, Kind
from corral.tasks.artifacts import ArtifactMissingError, ArtifactStore
from corral.tasks.values import StoredFile

_CHUNK = 256 * 1024
_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.ASCII)


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


def download(store: ArtifactStore, file: StoredFile, asked: Headers) -> Response:
    """Answer with a file or a range of it. Raises: ArtifactMissingError, RangeError."""
    path = store.locate(file.sha256)
    etag = f'"{file.sha256}"'
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "private, immutable, max-age=31536000",
        "Content-Disposition": f"attachment; filename*=utf-8''{quote(file.name, safe='')}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    if etag in asked.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    size = path.stat().st_size
    fresh = asked.get("if-range", etag) == etag
    span = read_span(asked.get("range"), size) if fresh else None
    if span is None:
        return _stream(path, Span(0, size), headers, file.media_type, 200)
    headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{size}"
    return _stream(path, span, headers, file.media_type, 206)


def _stream(path: Path, span: Span, headers: dict[str, str], media_type: str, status: int) -> Response:
    headers["Content-Length"] = str(span.end - span.start)
    answer = StreamingResponse(_read_chunks(path, span), status, headers)
    answer.headers["Content-Type"] = media_type  # not as an argument, which would add a charset to text
    return answer


async def _read_chunks(path: Path, span: Span) -> AsyncIterator[bytes]:
    left = span.end - span.start
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except FileNotFoundError as error:
        raise ArtifactMissingError(f"artifact {path.name} was collected just now") from error
    with file:
        file.seek(span.start)
        while left > 0 and (chunk := await asyncio.to_thread(file.read, min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk
