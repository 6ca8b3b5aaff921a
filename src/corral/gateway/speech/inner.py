"""Requests of a conversation to the other doors, in this process: with the rights and the limits of its client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic_core import from_json

from corral.errors import CorralError, Kind
from corral.gateway.asgi import CONNECTION, Message, Scope
from corral.gateway.doors import Door
from corral.narrowing import as_object, as_text

_HEADERS = frozenset({b"authorization", b"x-api-key", b"host", b"origin", b"forwarded", b"x-forwarded-for"})
"""Those by which a door knows a visitor."""
_MOST_WAITING = 16
"""Pieces of an answer that wait for a client that reads slowly; after those its door waits, as it does for a socket."""


class InnerRequestError(CorralError):
    """A door refused a request of a conversation, or failed it."""

    code: ClassVar[str] = "converse.failed"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


@dataclass(frozen=True, slots=True)
class InnerAnswer:
    """An answer of a door, piece by piece."""

    pieces: AsyncIterator[bytes]

    async def read(self) -> bytes:
        """Return the whole answer. Raises: InnerRequestError."""
        return b"".join([piece async for piece in self.pieces])


@asynccontextmanager
async def ask(door: Door, scope: Scope, path: str, media_type: str, body: bytes) -> AsyncGenerator[InnerAnswer]:
    """Send a request to a door; leaving the context ends it there. Raises: InnerRequestError, also while it is read."""
    messages: asyncio.Queue[Message | None] = asyncio.Queue(_MOST_WAITING)
    is_left = asyncio.Event()
    requests = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        if requests:
            return requests.pop()
        await is_left.wait()
        return {"type": "http.disconnect"}

    async def serve() -> None:
        try:
            await door(_make_scope(scope, path, media_type, body), receive, messages.put)
        finally:
            if not is_left.is_set():  # else nothing reads on
                await messages.put(None)

    serving = asyncio.create_task(serve(), name=f"converse {path}")
    try:
        start = await messages.get()
        if start is None:
            raise InnerRequestError(f"{path} gave no answer")
        pieces = _read_pieces(messages, path)
        if start["status"] >= 400:
            raise _read_error(b"".join([piece async for piece in pieces]), path)
        yield InnerAnswer(pieces)
    finally:
        is_left.set()
        serving.cancel()
        await asyncio.wait({serving})


def _make_scope(scope: Scope, path: str, media_type: str, body: bytes) -> Scope:
    headers = [pair for pair in scope["headers"] if pair[0] in _HEADERS]
    headers += [(b"content-type", media_type.encode()), (b"content-length", str(len(body)).encode())]
    return {
        **scope,
        CONNECTION: None,  # it ends with its own client, the conversation
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
    }


async def _read_pieces(messages: asyncio.Queue[Message | None], path: str) -> AsyncIterator[bytes]:
    while (message := await messages.get()) is not None:
        if piece := message.get("body", b""):
            yield piece
        if not message.get("more_body", False):
            return
    raise InnerRequestError(f"{path} broke off")


def _read_error(body: bytes, path: str) -> InnerRequestError:
    try:
        answer: Any = from_json(body)  # Any: JSON
    except ValueError:
        answer = {}
    error = as_object(as_object(answer).get("error"))
    return InnerRequestError(
        as_text(error.get("message")) or f"{path} failed", where=as_text(error.get("param")) or None
    )
