"""A web server that gives files, on loopback, with the ways in which real ones fail."""

from __future__ import annotations

import asyncio
import hashlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from aiohttp.test_utils import TestServer

_PIECE = 64 * 1024


@dataclass
class FileServer:
    """Stands for a web server with files, and for Hugging Face's (`resolve` answers with a redirect to a store).

    Ranges, `If-Range` with a strong ETag, 206, 416 with `Content-Range: bytes */N` and 200 for a version that changed
    follow RFC 9110, sections 13.1.5 and 14. The redirect with `X-Linked-ETag` follows Hugging Face's answer for files
    in Git LFS. Written from the specifications; not compared with a live server.
    """

    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """By path, with the leading slash."""
    redirects: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict[str, "tuple[str, dict[str, str]]"])
    """By path: where to, and with which headers."""
    break_after: list[int] = field(default_factory=list[int])
    """Each of the next answers with a file ends, unfinished, after so many bytes and once `may_break` is set."""
    may_break: asyncio.Event = field(default_factory=asyncio.Event)
    """For the client to say that it has some bytes: what it has not read when a connection breaks is lost to it."""
    refuse_with: list[int] = field(default_factory=list[int])
    """Each of the next requests gets this status."""
    hold_after: int | None = None
    """Stop sending after so many bytes until `go_on` is set."""
    gives_etags: bool = True
    knows_ranges: bool = True
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    seen: list[web.Request] = field(default_factory=list[web.Request])
    base: str = ""

    def url(self, path: str) -> str:
        """The URL of a path here."""
        return f"{self.base}{path}"

    def ranges(self) -> list[str | None]:
        """The `Range` header of each request, in order."""
        return [request.headers.get("Range") for request in self.seen]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Handle one request."""
        self.seen.append(request)
        if self.refuse_with:
            return web.Response(status=self.refuse_with.pop(0))
        if request.path in self.redirects:
            target, headers = self.redirects[request.path]
            return web.Response(status=302, headers={"Location": target, **headers})
        if request.path not in self.files:
            return web.Response(status=404)
        return await self._send(request, self.files[request.path])

    async def _send(self, request: web.Request, content: bytes) -> web.StreamResponse:
        etag = f'"{hashlib.md5(content).hexdigest()}"'
        start, end = self._range(request, etag)
        if start >= len(content) and start:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(content)}"})
        end = min(end, len(content))
        is_part = bool(start) or end < len(content)
        response = web.StreamResponse(status=206 if is_part else 200)
        if self.gives_etags:
            response.headers["ETag"] = etag
        if is_part:
            response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(content)}"
        response.content_length = end - start
        await response.prepare(request)
        stop = self.break_after.pop(0) if self.break_after else None
        await self._stream(request, response, content[start:end], stop)
        return response

    def _range(self, request: web.Request, etag: str) -> tuple[int, int]:
        """The first byte that is wanted, and the one after the last."""
        wanted = request.headers.get("Range", "")
        if not self.knows_ranges or not wanted or request.headers.get("If-Range", etag) != etag:
            return 0, sys.maxsize
        start, _, last = wanted.removeprefix("bytes=").partition("-")
        return int(start), int(last) + 1 if last else sys.maxsize

    async def _stream(
        self, request: web.Request, response: web.StreamResponse, content: bytes, stop: int | None
    ) -> None:
        for at in range(0, len(content), _PIECE):
            if stop is not None and at >= stop:
                await self.may_break.wait()
                assert request.transport is not None
                request.transport.close()
                return
            if self.hold_after is not None and at >= self.hold_after:
                await self.go_on.wait()
            await response.write(content[at : at + _PIECE])


@asynccontextmanager
async def serving(server: FileServer) -> AsyncIterator[FileServer]:
    """Listen on a free port of 127.0.0.1 while the block runs."""
    application = web.Application()
    application.router.add_get("/{path:.*}", server.answer)
    listening = TestServer(application, host="127.0.0.1")
    await listening.start_server()
    server.base = str(listening.make_url("")).rstrip("/")
    try:
        yield server
    finally:
        server.go_on.set()
        server.may_break.set()
        await listening.close()
