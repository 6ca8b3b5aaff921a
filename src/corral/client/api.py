"""The HTTP API of a server; one instance for one command.

Answers are JSON values as the API documents them. Every error is a CorralError: an error of the server keeps its kind
and problems, and a server that does not answer is `server.unreachable`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar

import aiohttp

from corral import __version__
from corral.client.remote_errors import make_remote_error, make_unreachable_error
from corral.client.requests import ANSWER_S, Content, Query, ServerApi
from corral.errors import CorralError, Kind
from corral.work import Json

VERSION_HEADER = "X-Corral-Version"
IDLE_S = 2.0
"""How long a connection is kept for the next request: less than the server keeps it, so that none meets its end."""
_CONNECT_S = 5.0
_MAKING_S = 3600.0  # a dump of a database of many GiB
_HEARTBEATS_S = 45.0  # three heartbeats of the event stream; after that the connection is dead
_CHUNK = 256 * 1024
_PARTIAL = 206


class DamagedDownloadError(CorralError):
    """A file arrived with another checksum than the server promised."""

    code: ClassVar[str] = "client.damaged_download"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One message of the event stream; `id` is None for what is live only (progress, previews)."""

    id: int | None
    kind: str
    data: Json


class Api(ServerApi):
    """The HTTP API of one server."""

    def __init__(self, url: str, token: str | None, *, warn: Callable[[str], None] | None = None) -> None:
        """`warn` is called once when the server's version differs from this program's by more than its patch."""
        self.url = url.rstrip("/")
        self._warn = warn
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=ANSWER_S)
        connector = aiohttp.TCPConnector(keepalive_timeout=IDLE_S)
        self._session = aiohttp.ClientSession(headers=headers, timeout=timeout, connector=connector)

    async def __aenter__(self) -> Api:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: Query = (),  # pyright: ignore[reportArgumentType]  nothing, of either kind
        body: Json = None,
        content: Content | None = None,
        headers: Mapping[str, str] | None = None,
        within_s: float = ANSWER_S,
    ) -> Json:
        """Send a request and read its answer, as `ServerApi.send`."""
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=within_s)
        options = {"params": query, "json": body, "data": content, "headers": headers, "timeout": timeout}
        async with self._answer(method, path, **options) as answer:
            return await _read_body(answer)

    async def download(self, path: str, target: Path, *, sha256: str) -> None:
        """Write a file to `target`; what is there already is the start of it, and is not sent again.

        On return its content has that checksum.

        Raises: RemoteError, DamagedDownloadError, OSError when the disk refuses.
        """
        digest = hashlib.sha256()
        size = await asyncio.to_thread(_feed, target, digest.update)
        headers = {"Range": f"bytes={size}-", "If-Range": f'"{sha256}"'} if size else {}
        if size == 0 or digest.hexdigest() != sha256:
            async with self._answer("GET", path, headers=headers) as answer:
                goes_on = answer.status == _PARTIAL
                digest = digest if goes_on else hashlib.sha256()
                with target.open("ab" if goes_on else "wb") as file:
                    async for chunk in answer.content.iter_chunked(_CHUNK):
                        digest.update(chunk)
                        file.write(chunk)
        if digest.hexdigest() != sha256:
            raise DamagedDownloadError(
                f"the file has SHA-256 {digest.hexdigest()} instead of {sha256}", where=path, hint="run it again"
            )

    @asynccontextmanager
    async def open_file(self, path: str) -> AsyncGenerator[tuple[int | None, AsyncIterator[bytes]]]:
        """Open a file that the server makes first; give its size in bytes, if that is known, and its content.

        Raises: RemoteError.
        """
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=_MAKING_S)
        async with self._answer("GET", path, timeout=timeout) as answer:
            yield answer.content_length, answer.content.iter_chunked(_CHUNK)

    async def read(self, path: str) -> AsyncIterator[bytes]:
        """Read a file piece by piece. Raises: RemoteError."""
        async with self._answer("GET", path) as answer:
            async for chunk in answer.content.iter_chunked(_CHUNK):
                yield chunk

    @asynccontextmanager
    async def open_events(self, query: Mapping[str, str | int]) -> AsyncGenerator[AsyncIterator[Event]]:
        """Open the event stream; once open, nothing that happens is missed until it breaks. Raises: RemoteError."""
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=_HEARTBEATS_S)
        async with self._answer(
            "GET", "/corral/v1/events", params=query, headers={"Accept": "text/event-stream"}, timeout=timeout
        ) as answer:
            yield _read_messages(answer.content)

    @asynccontextmanager
    async def open_steps(self, path: str, body: Json) -> AsyncGenerator[AsyncIterator[Event]]:
        """Ask for a change whose steps are events; leaving the block stops it. Raises: RemoteError."""
        timeout = aiohttp.ClientTimeout(total=None, connect=_CONNECT_S, sock_read=_HEARTBEATS_S)
        headers = {"Accept": "text/event-stream"}
        async with self._answer("POST", path, json=body, headers=headers, timeout=timeout) as answer:
            yield _read_messages(answer.content)

    @asynccontextmanager
    async def _answer(
        self, method: str, path: str, **options: Json
    ) -> AsyncGenerator[aiohttp.ClientResponse]:  # as above
        """Send a request and give its answer if it is a success; errors while it is read are translated too."""
        try:
            async with self._session.request(method, self.url + path, **options) as answer:
                self._compare_version(answer.headers.get(VERSION_HEADER))
                if answer.status >= 400:
                    raise make_remote_error(answer.status, await _read_body(answer), url=self.url + path)
                yield answer
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise make_unreachable_error(self.url, reason) from error

    def _compare_version(self, version: str | None) -> None:
        if self._warn is None or version is None:
            return
        difference = describe_difference(__version__, version)
        if difference is not None:
            self._warn(difference)
            self._warn = None


def describe_difference(own: str, server: str) -> str | None:
    """Describe how a server's version differs from this program's; None where major and minor are the same."""
    if own.split(".")[:2] == server.split(".")[:2]:
        return None
    return f"the server is Corral {server[:40]} and this command is {own}: what they understand can differ"


def _feed(path: Path, take: Callable[[bytes], None]) -> int:
    """Hand on the content of a file, and return its bytes; 0 when there is no file."""
    size = 0
    if path.exists():
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                take(chunk)
                size += len(chunk)
    return size


async def _read_body(answer: aiohttp.ClientResponse) -> Json:
    """Read an answer's JSON; None when it has none."""
    text = await answer.text()
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None


async def _read_messages(lines: aiohttp.StreamReader) -> AsyncIterator[Event]:
    """Read messages of an event stream (WHATWG HTML, section 9.2); comments are heartbeats."""
    fields: dict[str, str] = {}
    async for raw in _split_lines(lines):
        line = raw.decode(errors="replace").rstrip("\r\n")
        if not line:
            if "data" in fields:
                id = fields.get("id")
                yield Event(
                    id=int(id) if id else None, kind=fields.get("event", "message"), data=_parse_data(fields["data"])
                )
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" and name in fields else value


async def _split_lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Split by lines without aiohttp's bound on their length: a preview is one long line."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line


def _parse_data(text: str) -> Json:
    try:
        return json.loads(text)
    except ValueError:
        return {}
