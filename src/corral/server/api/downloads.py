"""Files over HTTP: whole or one range, named by their SHA-256.

Several ranges in one request are answered with the whole file, which HTTP allows and no client of ours asks for. A file
is always an attachment: what a task made is never shown by a browser as a page of this server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import Response, StreamingResponse

from corral.gateway.sending import Span, read_span
from corral.tasks.artifacts import ArtifactMissingError, ArtifactStore
from corral.tasks.values import StoredFile

_CHUNK = 256 * 1024


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
