"""One HTTP request of a door, on bare ASGI: a framework costs twice the time of the whole way through the gateway."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, MutableMapping
from functools import cached_property
from typing import Any, ClassVar, Protocol
from urllib.parse import parse_qsl

from corral.errors import CorralError, Kind
from corral.work import Json

Scope = MutableMapping[str, Any]  # ASGI's own type, of whatever the server and the layers around it put there
Message = dict[str, Any]

LARGEST_BODY = 64 * 2**20
"""Bytes of a body that is read whole: some pictures to look at, as base64."""

HeaderPairs = Iterable[tuple[bytes, bytes]]
_HEADERS = "corral.headers"
"""The key of a request's scope under which its headers are once they were read, with what they were read from."""
CONNECTION = "corral.connection"
"""The key of a request's scope under which its `ClientConnection` is, where its server shows it."""


class ClientConnection(Protocol):
    """The connection that a request came through."""

    def call_when_lost(self, call: Callable[[], None]) -> bool:
        """Have this called when the connection is lost; False where it is lost already."""
        ...

    def call_no_more(self, call: Callable[[], None]) -> None:
        """Forget what would be called."""
        ...


class BodyTooLargeError(CorralError):
    """A body has more bytes than the door reads."""

    code: ClassVar[str] = "request.too_large"
    kind: ClassVar[Kind] = Kind.INVALID


class TargetError(CorralError):
    """A path or a query has a character that no name has."""

    code: ClassVar[str] = "request.target"
    kind: ClassVar[Kind] = Kind.INVALID


class ClientGoneError(Exception):
    """The client has closed its connection; nothing that is sent arrives."""


class Exchange:
    """A request and its answer."""

    def __init__(self, scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables, of any server
        self.scope = scope
        self._receive = receive
        self._send = send
        self._body: bytes | None = None
        self.started = False
        """Whether the answer has begun: its status cannot change any more."""

    @property
    def method(self) -> str:
        """`GET`, `POST`, ..."""
        return self.scope["method"]

    @property
    def path(self) -> str:
        """The path, percent-decoded. Raises: TargetError."""
        return _require_names(self.scope["path"])

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers by lower-case name; of those that are repeated, the last."""
        return read_headers(self.scope)

    @cached_property
    def query(self) -> Mapping[str, str]:
        """Parameters of the query; of those that are repeated, the last. Raises: TargetError."""
        pairs = parse_qsl(self.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        return {_require_names(name): _require_names(value) for name, value in pairs}

    async def read_body(self, largest: int = LARGEST_BODY) -> bytes:
        """Return the whole body. Raises: BodyTooLargeError, ClientGoneError."""
        if self._body is None:
            chunks: list[bytes] = []
            size = 0
            while True:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > largest:
                    raise BodyTooLargeError(f"the body has more than {largest} bytes", hint="send less at once")
                chunks.append(chunk)
                if not message.get("more_body", False):
                    break
            self._body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return self._body

    async def read_chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, once; for what is larger than memory. Raises: ClientGoneError."""
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            if chunk := message.get("body", b""):
                yield chunk
            more = message.get("more_body", False)

    async def until_gone(self) -> None:
        """Return once the client has closed its connection; to be called after the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, headers: HeaderPairs) -> None:
        """Begin the answer."""
        self.started = True
        await self._send({"type": "http.response.start", "status": status, "headers": list(headers)})

    async def write(self, chunk: bytes) -> None:
        """Send a piece of the answer."""
        await self._send({"type": "http.response.body", "body": chunk, "more_body": True})

    async def end(self, chunk: bytes = b"") -> None:
        """Send the last piece."""
        await self._send({"type": "http.response.body", "body": chunk})

    async def answer(self, status: int, body: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole answer."""
        pairs = [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
        pairs += [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
        await self.start(status, pairs)
        await self.end(b"" if self.method == "HEAD" else body)

    async def answer_json(self, status: int, value: Json, headers: Mapping[str, str] | None = None) -> None:
        """Send a whole answer in JSON."""
        body = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")
        await self.answer(status, body, "application/json", headers)


def read_headers(scope: Scope) -> Mapping[str, str]:
    """Return a request's headers by lower-case name; of those that are repeated, the last. They are read once."""
    pairs, known = scope["headers"], scope.get(_HEADERS)
    if known is not None and known[0] is pairs:  # a scope that was made of another one can have other headers
        return known[1]
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
    scope[_HEADERS] = pairs, headers
    return headers


def _require_names(text: str) -> str:
    """Return text of a request's target. Raises: TargetError, where it has a NUL character, which no database holds."""
    if "\x00" in text:
        raise TargetError(f"{text[:80]!r} has a NUL character", hint="remove `%00`")
    return text
