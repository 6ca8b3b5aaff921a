"""HTTP/1.1 towards upstreams, for requests that are passed on: connections are kept, bodies come in unparsed pieces.

aiohttp's client parses, copies and awaits what is not used here, on the way of every token. Redirects are not followed,
nothing is decompressed, cookies are not kept.

A kept connection can end just as a request leaves: servers close them at times of their own. A request whose kept
connection ends before any byte of an answer is sent once more, over a new connection.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar, NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from corral.errors import CorralError, Kind

CONNECT_S = 5.0
"""Seconds for a connection; on a home network it takes milliseconds."""
KEPT_S = 4.0
"""Seconds that an unused connection is kept; llama-server closes those of 5 seconds."""
STALL_S = 300.0
"""Seconds without a byte after which an answer is given up where the cluster file does not say."""
BUFFER = 256 * 2**10
"""Bytes of an answer that wait for their reader before the upstream is slowed down."""
LARGEST_HEAD = 64 * 2**10
"""Bytes of an answer's headers."""
PROBE_S = 15
"""Seconds without a packet until TCP asks the other side, which finds hosts that are gone."""

_SAYS_LENGTH = frozenset({b"content-length", b"transfer-encoding"})
"""Of an answer without these, the end of the connection is the end."""

Headers = tuple[tuple[bytes, bytes], ...]


class UpstreamError(CorralError):
    """An upstream gave no answer, or not all of it."""

    code: ClassVar[str] = "upstream.failed"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class UpstreamUnreachableError(UpstreamError):
    """Nothing accepts connections there."""

    code = "upstream.unreachable"


class UpstreamLostError(UpstreamError):
    """The connection ended before the answer was whole, or what came is not HTTP."""

    code = "upstream.lost"


class UpstreamStalledError(UpstreamError):
    """No byte of the answer came for too long."""

    code = "upstream.stalled"


class Origin(NamedTuple):
    """Where connections go."""

    host: str
    port: int
    tls: bool

    @property
    def host_header(self) -> str:
        """The value of `Host`."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host_header}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """A request to an upstream."""

    method: str = "POST"
    url: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    """Credentials and content type; host, length and connection are added."""
    body: bytes = field(default=b"", repr=False)
    stall_s: float = STALL_S
    """Seconds without a byte after which the answer is given up."""


class Answer:
    """An upstream's answer: its head, and its body piece by piece."""

    __slots__ = ("_connection", "headers", "status")

    def __init__(self, status: int, headers: Headers, connection: _Connection) -> None:
        self.status = status
        self.headers = headers
        """With lower-case names."""
        self._connection = connection

    def find_header(self, name: bytes) -> bytes | None:
        """Return a header's first value; `name` is in lower case."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def is_read(self) -> bool:
        """Whether the last piece was returned."""
        return self._connection.is_read

    async def read_piece(self) -> bytes:
        """Return the next piece of the body as it arrived; empty at its end. Raises: UpstreamError."""
        return await self._connection.read_piece()

    async def read_all(self, bound: int) -> bytes:
        """Return the rest of the body. Raises: UpstreamError, also where it is longer than `bound` bytes."""
        pieces: list[bytes] = []
        size = 0
        while piece := await self.read_piece():
            pieces.append(piece)
            size += len(piece)
            if size > bound:
                raise UpstreamLostError(f"the answer is longer than {bound} bytes")
        return b"".join(pieces)

    def close(self) -> None:
        """Give the connection back; one whose answer is not whole is closed, which ends the upstream's work."""
        self._connection.finish()


class Upstreams:
    """Kept connections to any number of upstreams, on the running loop."""

    def __init__(self) -> None:
        self._kept: dict[Origin, list[_Connection]] = {}
        self._tls: ssl.SSLContext | None = None
        self._is_closed = False

    async def open(self, request: Outgoing) -> Answer:
        """Send a request and return its answer once its head is there; it must be closed. Raises: UpstreamError."""
        origin, path = split_url(request.url)
        message = _write_request(request, origin, path)
        kept = self._kept.get(origin)
        while kept:
            connection = kept.pop()
            try:
                return await connection.exchange(message, request.stall_s)
            except UpstreamLostError:
                if connection.was_answered:
                    raise
        return await (await self._connect(origin)).exchange(message, request.stall_s)

    def close(self) -> None:
        """Close every kept connection; those in use close at the end of their answer."""
        self._is_closed = True
        for kept in self._kept.values():
            for connection in list(kept):
                connection.abort()

    async def _connect(self, origin: Origin) -> _Connection:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_S):
                _, connection = await loop.create_connection(
                    lambda: _Connection(self, origin, loop),
                    origin.host,
                    origin.port,
                    ssl=self._find_tls() if origin.tls else None,
                )
        except (OSError, TimeoutError) as error:
            number = error.errno or 0  # negative where the name is unknown
            reason = os.strerror(number) if number > 0 else str(error) or "no answer in time"
            raise UpstreamUnreachableError(f"{origin} cannot be reached: {reason}", where=str(origin)) from error
        return connection

    def _find_tls(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    def keep(self, connection: _Connection) -> None:
        """Keep a connection whose answer is whole."""
        if self._is_closed:
            connection.abort()
            return
        self._kept.setdefault(connection.origin, []).append(connection)

    def forget(self, connection: _Connection) -> None:
        """Forget a connection that ended."""
        kept = self._kept.get(connection.origin)
        if kept and connection in kept:
            kept.remove(connection)


class _Connection(asyncio.Protocol):
    """One connection; carries one request at a time."""

    def __init__(self, pool: Upstreams, origin: Origin, loop: asyncio.AbstractEventLoop) -> None:
        self.origin = origin
        self.was_answered = False
        """Whether any byte of the present answer has come."""
        self._pool = pool
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._head_size = 0
        self._head: asyncio.Future[None] | None = None
        self._status = 0
        self._ends_with_connection = False
        self._keeps = False
        self._pieces: deque[bytes] = deque()
        self._buffered = 0
        self._is_paused = False
        self._is_whole = True
        self._failure: UpstreamError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._stall_s = STALL_S
        self._heard_at = 0.0
        """When anything last happened, in seconds of the loop's clock."""
        self._is_kept = False
        self._timer: asyncio.TimerHandle | None = None
        self._looks_at = 0.0
        """When the timer ends, on the same clock."""

    # --- what the client does -----------------------------------------------------------------------------------------

    async def exchange(self, message: bytes, stall_s: float) -> Answer:
        """Send a request and wait for the head of its answer. Raises: UpstreamError."""
        self._is_kept = False
        if self._failure is not None or self._transport is None:
            raise self._failure or UpstreamLostError(f"{self.origin} closed the connection", where=str(self.origin))
        self._headers, self._head_size, self._status = [], 0, 0
        self._pieces.clear()
        self.was_answered = self._is_whole = False
        self._ends_with_connection = True
        self._stall_s = stall_s
        self._heard_at = self._loop.time()
        self._look_within(stall_s)
        self._head = self._loop.create_future()
        self._transport.write(message)
        try:
            await self._head
        except BaseException:
            self.abort()
            raise
        return Answer(self._status, tuple(self._headers), self)

    @property
    def is_read(self) -> bool:
        """Whether the last piece was returned."""
        return self._is_whole and not self._pieces

    async def read_piece(self) -> bytes:
        """Return the next piece. Raises: UpstreamError."""
        while not self._pieces:
            if self._is_whole:
                return b""
            if self._failure is not None:
                raise self._failure
            self._resume()
            self._reader = self._loop.create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        piece = self._pieces.popleft() if len(self._pieces) == 1 else b"".join(self._take_all())
        self._buffered = 0
        return piece

    def finish(self) -> None:
        """Give the connection back to the pool, or close it."""
        self._pieces.clear()
        self._buffered = 0
        if not self._is_whole or not self._keeps or self._failure is not None:
            self.abort()
            return
        self._resume()
        self._is_kept = True
        self._heard_at = self._loop.time()
        self._look_within(KEPT_S)
        self._pool.keep(self)

    def abort(self) -> None:
        """Close at once."""
        self._stop_timer()
        if self._transport is not None:
            self._transport.abort()
        self._pool.forget(self)

    def _take_all(self) -> list[bytes]:
        pieces = list(self._pieces)
        self._pieces.clear()
        return pieces

    def _resume(self) -> None:
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._heard_at = self._loop.time()
            self._transport.resume_reading()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_within(self, seconds: float) -> None:
        """Look at the connection after so many seconds, or `KEPT_S`: mostly a timer that runs already ends before."""
        looks_at = self._loop.time() + min(seconds, KEPT_S)
        if self._timer is not None:
            if self._looks_at <= looks_at:
                return
            self._timer.cancel()
        self._looks_at = looks_at
        self._timer = self._loop.call_at(looks_at, self._look)

    def _look(self) -> None:
        """Close a connection that was kept for long enough, and fail where the upstream is silent.

        While its reader is behind, the silence is not the upstream's.
        """
        self._timer = None
        if self._failure is not None or (self._is_whole and not self._is_kept):
            return
        now = self._loop.time()
        if self._pieces or self._is_paused:
            self._heard_at = now
        silent_s = now - self._heard_at
        left_s = (KEPT_S if self._is_kept else self._stall_s) - silent_s
        if left_s > 0.001:
            self._look_within(left_s)
            return
        if not self._is_kept:
            self._fail(UpstreamStalledError(f"no byte came from {self.origin} for {silent_s:.0f} s"))
        self.abort()

    def _fail(self, failure: UpstreamError) -> None:
        self._failure = self._failure or failure
        if self._head is not None and not self._head.done():
            self._head.set_exception(self._failure)
        self._wake()

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)

    # --- what the connection brings -----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # of a stream, as `create_connection` makes it
        connected = transport.get_extra_info("socket")
        if connected is not None:
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):  # Linux's words; elsewhere the system's own pace stays
                if hasattr(socket, name):
                    connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), PROBE_S)

    def data_received(self, data: bytes) -> None:
        self.was_answered = True
        self._heard_at = self._loop.time()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(UpstreamLostError(f"{self.origin} answers what is not HTTP: {error}"))
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._stop_timer()
        self._pool.forget(self)
        if self._status and self._ends_with_connection and exc is None and not self._is_whole:
            self._is_whole = True
            self._keeps = False
            self._wake()
        elif self._failure is None:
            self._fail(UpstreamLostError(f"{self.origin} closed the connection", where=str(self.origin)))

    def on_message_begin(self) -> None:
        if self._is_whole:  # nothing was asked: it would be taken for the answer to the next request
            raise httptools.HttpParserError("an answer came that nothing asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        self._head_size += len(name) + len(value)
        if self._head_size > LARGEST_HEAD:
            raise httptools.HttpParserError(f"its headers are longer than {LARGEST_HEAD} bytes")
        name = name.lower()
        if name in _SAYS_LENGTH:
            self._ends_with_connection = False
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:  # what comes before an answer
            self._headers.clear()
            return
        self._status = status
        self._keeps = self._parser.should_keep_alive()
        if self._head is not None and not self._head.done():
            self._head.set_result(None)

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)
        self._buffered += len(body)
        if self._buffered > BUFFER and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        if self._status:
            self._is_whole = True
            self._wake()


@lru_cache(maxsize=1024)
def split_url(url: str) -> tuple[Origin, str]:
    """Return where a URL's connections go, and what is asked for there."""
    parts = urlsplit(url)
    tls = parts.scheme == "https"
    path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    return Origin(parts.hostname or "", parts.port or (443 if tls else 80), tls), path


def _write_request(request: Outgoing, origin: Origin, path: str) -> bytes:
    lines = [f"{request.method} {path} HTTP/1.1", f"host: {origin.host_header}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    if request.body or request.method != "GET":
        lines.append(f"content-length: {len(request.body)}")
    head = "\r\n".join(lines)
    if not head.count("\r") == head.count("\n") == len(lines) - 1:
        raise ValueError("a header has a line break")
    return f"{head}\r\n\r\n".encode("latin-1") + request.body
