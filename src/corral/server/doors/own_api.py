"""The server's own HTTP API, used by a request that came through a door: with the rights of its caller, and no socket.

Each request has the headers and the address of the one that it is made for. So the API finds the same caller, trusts or
distrusts the same browser, and writes the same address into the audit log.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlencode

from corral.client.remote_errors import make_remote_error
from corral.client.requests import ANSWER_S, Content, Query, ServerApi
from corral.gateway.asgi import CONNECTION, Message, Scope, read_headers
from corral.work import Json

_OF_ITS_BODY = ("accept", "content-", "expect", "idempotency-key", "if-", "mcp-", "range", "transfer-encoding")
"""Beginnings of headers that describe a request and not who sent it."""
_NOT_TAKEN_OVER = (CONNECTION, "extensions", "route")
"""Of a scope: its connection is counted already, and its route is the door's."""


@dataclass(slots=True)
class _Answer:
    """The answer to one request, as it arrives."""

    status: int = 0
    chunks: list[bytes] = field(default_factory=list[bytes])

    async def take(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif message["type"] == "http.response.body":
            self.chunks.append(bytes(message.get("body", b"")))


class OwnApi(ServerApi):
    """The API for the caller of one request."""

    def __init__(self, app: Any, scope: Scope) -> None:  # an ASGI application, of any framework
        """`app` serves the API; `scope` is that of the request."""
        self._app = app
        self._scope = scope

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
        sent = b"" if content is None else content if isinstance(content, bytes) else content.read()
        own = dict(headers or {})
        if body is not None:
            sent, own["content-type"] = json.dumps(body).encode(), "application/json"
        async with asyncio.timeout(within_s):
            answer = await self._ask(method, path, query, sent, own)
        return _parse(answer)

    async def read(self, path: str) -> AsyncIterator[bytes]:
        for chunk in (await self._ask("GET", path, {}, b"", {})).chunks:
            yield chunk

    async def _ask(self, method: str, path: str, query: Query, sent: bytes, own: Mapping[str, str]) -> _Answer:
        scope = self._make_scope(method, path, query, {**own, "content-length": str(len(sent))})
        answer = _Answer()
        messages = iter([{"type": "http.request", "body": sent, "more_body": False}])

        async def receive() -> Message:
            for message in messages:
                return message
            return await asyncio.get_running_loop().create_future()  # the client is there until this is cancelled

        await self._app(scope, receive, answer.take)
        if answer.status >= 400:
            raise make_remote_error(answer.status, _parse(answer), url=path)
        return answer

    def _make_scope(self, method: str, path: str, query: Query, own: Mapping[str, str]) -> Scope:
        scope = {name: value for name, value in self._scope.items() if name not in _NOT_TAKEN_OVER}
        kept = [(name, value) for name, value in scope["headers"] if not _is_of_its_body(name)]
        pairs = query.items() if isinstance(query, Mapping) else query
        return {
            **scope,
            "method": method,
            "path": unquote(path),
            "raw_path": path.encode(),
            "query_string": urlencode(list(pairs)).encode(),
            "headers": [*kept, *_encode(own.items())],
            "state": {"request_id": scope.get("state", {}).get("request_id", "")},
        }

    def make_link(self, path: str) -> str:
        """Return the URL of a path of the server, as the caller reaches it."""
        return f"{self._scope['scheme']}://{read_headers(self._scope).get('host', '')}{path}"


def _is_of_its_body(name: bytes) -> bool:
    return name.decode("latin-1").lower().startswith(_OF_ITS_BODY)


def _encode(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def _parse(answer: _Answer) -> Json:
    text = b"".join(answer.chunks)
    try:
        return json.loads(text) if text else None
    except ValueError:
        return None
