"""Passes requests and websockets on to another server as they are, and their answers as they come.

Belongs here: what a proxy does that knows nothing of what it passes.
Does not belong here: requests for models (`passing`), whose server is chosen and whose answers have a protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable
from typing import Any, ClassVar

import aiohttp
from yarl import URL

from corral.errors import CorralError, Kind
from corral.gateway.asgi import ClientGoneError, Exchange, Scope

CONNECT_S = 5.0
"""Seconds for a connection; on a home network it takes milliseconds."""
_OF_ONE_CONNECTION = frozenset(
    {
        *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te"),
        *(b"trailer", b"transfer-encoding", b"upgrade"),
    }
)
"""RFC 9110, 7.6.1; a message names more of them in `Connection`."""
_OF_A_HANDSHAKE = frozenset(
    {
        *("sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol"),
        "sec-websocket-accept",
    }
)
_WRITTEN_BY_AIOHTTP = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_LARGEST_MESSAGE = 64 * 2**20
"""Bytes of one message of a websocket."""
_NORMAL, _UNAVAILABLE = 1000, 1013
_NO_CLOSE_CODES = frozenset({None, 1005, 1006, 1015})
"""Codes that stand for the lack of one, and cannot be sent (RFC 6455, 7.4.1)."""


class RelayError(CorralError):
    """The server that requests are passed to does not answer."""

    code: ClassVar[str] = "relay.no_answer"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class Relay:
    """Passes requests on; its connections are kept."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def pass_on(self, url: str, scope: Scope, receive: Any, send: Any) -> None:  # ASGI's callables
        """Pass an HTTP request or a websocket on to a server. Raises: RelayError while no answer has begun."""
        serve = self._pass_websocket if scope["type"] == "websocket" else self._pass_request
        await serve(_join(url, scope), scope, receive, send)

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=_WRITTEN_BY_AIOHTTP,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
                connector=aiohttp.TCPConnector(limit=0),
            )
        return self._session

    async def _pass_request(self, url: URL, scope: Scope, receive: Any, send: Any) -> None:
        exchange = Exchange(scope, receive, send)
        body = _Body(receive)
        passing = asyncio.create_task(self._pass_answer(url, exchange, body))
        leaving = asyncio.create_task(body.until_gone())
        try:
            await asyncio.wait({passing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            if not passing.done():
                passing.cancel()
            await asyncio.gather(leaving, passing, return_exceptions=True)
        if passing.cancelled():
            raise ClientGoneError
        await passing

    async def _pass_answer(self, url: URL, exchange: Exchange, body: _Body) -> None:
        headers = _list_headers(exchange.scope, frozenset())
        has_body = "content-length" in exchange.headers or "transfer-encoding" in exchange.headers
        try:
            async with self._open_session().request(
                exchange.method, url, headers=headers, data=body.read() if has_body else None, allow_redirects=False
            ) as response:
                await exchange.start(response.status, list_passed_headers(response.raw_headers))
                async for chunk in response.content.iter_any():
                    await exchange.write(chunk)
                await exchange.end()
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            if exchange.started:
                raise ClientGoneError from error  # the answer cannot be taken back: the connection ends
            raise _make_error(url, error) from error

    async def _pass_websocket(self, url: URL, scope: Scope, receive: Any, send: Any) -> None:
        await receive()  # websocket.connect
        headers = _list_headers(scope, _OF_A_HANDSHAKE)
        opening = self._open_session().ws_connect(
            url,
            protocols=scope.get("subprotocols", ()),
            headers=headers,
            max_msg_size=_LARGEST_MESSAGE,
            autoclose=False,
        )
        try:
            async with opening as socket:
                await send({"type": "websocket.accept", "subprotocol": socket.protocol})
                await _join_sockets(socket, receive, send)
        except (aiohttp.ClientError, OSError, TimeoutError):
            await send({"type": "websocket.close", "code": _UNAVAILABLE, "reason": "the server does not answer"})


class _Body:
    """The body of a request while it comes, and the end of its client after it."""

    def __init__(self, receive: Any) -> None:  # ASGI's
        self._receive = receive
        self._is_read = asyncio.Event()

    async def read(self) -> AsyncGenerator[bytes]:
        """Yield its pieces. Raises: ClientGoneError."""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            if chunk := message.get("body", b""):
                yield chunk
            if not message.get("more_body", False):
                self._is_read.set()
                return

    async def until_gone(self) -> None:
        """Return when the client has left, once the body was read."""
        await self._is_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


async def _join_sockets(socket: aiohttp.ClientWebSocketResponse, receive: Any, send: Any) -> None:
    """Pass messages in both directions until a side closes."""
    ways = (asyncio.create_task(_pass_to_server(socket, receive)), asyncio.create_task(_pass_to_client(socket, send)))
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pass_to_server(socket: aiohttp.ClientWebSocketResponse, receive: Any) -> None:
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            code = message.get("code")
            await socket.close(code=_NORMAL if code in _NO_CLOSE_CODES else code)
            return
        text = message.get("text")
        await (socket.send_bytes(message["bytes"]) if text is None else socket.send_str(text))


async def _pass_to_client(socket: aiohttp.ClientWebSocketResponse, send: Any) -> None:
    async for message in socket:
        key = "text" if message.type is aiohttp.WSMsgType.TEXT else "bytes"
        await send({"type": "websocket.send", key: message.data})
    code = socket.close_code
    await send({"type": "websocket.close", "code": _NORMAL if code in _NO_CLOSE_CODES else code})


def _join(url: str, scope: Scope) -> URL:
    """Return the address of a request at another server, spelled as it came."""
    path = (scope.get("raw_path") or scope["path"].encode()).decode("latin-1")
    query = scope["query_string"].decode("latin-1")
    return URL(f"{url.rstrip('/')}{path}{'?' if query else ''}{query}", encoded=True)


def list_passed_headers(pairs: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return headers, in lower case, without those of one connection: by their name, or by `Connection`."""
    lowered = [(name.lower(), value) for name, value in pairs]
    named = {word.strip().lower() for name, value in lowered if name == b"connection" for word in value.split(b",")}
    return [(name, value) for name, value in lowered if name not in _OF_ONE_CONNECTION and name not in named]


def _list_headers(scope: Scope, left_out: frozenset[str]) -> list[tuple[str, str]]:
    passed = list_passed_headers(scope["headers"])
    pairs = ((name.decode("latin-1"), value.decode("latin-1")) for name, value in passed)
    return [(name, value) for name, value in pairs if name not in left_out]


def _make_error(url: URL, error: Exception) -> RelayError:
    why = str(error) or type(error).__name__
    return RelayError(f"{url.origin()} does not answer: {why}", hint="start it, or change its address")
