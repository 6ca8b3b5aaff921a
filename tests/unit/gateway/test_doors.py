"""A request reaches the door of its path, and what belongs to no door reaches the application behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from corral.gateway.asgi import (
    CONNECTION,
    BodyTooLargeError,
    ClientGoneError,
    Exchange,
    Message,
    Scope,
    read_headers,
)
from corral.gateway.doors import Doors
from corral.gateway.leaving import Leaving


@dataclass
class NotedDoor:
    """Notes the paths that it was asked for."""

    paths: tuple[str, ...] = ()
    asked: list[str] = field(default_factory=list[str])

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        self.asked.append(scope.get("path", scope["type"]))

    async def close(self) -> None:
        raise AssertionError("nothing is open")


async def ask(doors: Doors, path: str) -> None:
    await doors({"type": "http", "path": path}, None, None)


async def test_longest_path_has_the_request_and_the_rest_goes_on() -> None:
    behind, wide, narrow = NotedDoor(), NotedDoor(("/v1/", "/")), NotedDoor(("/v1/audio/", "/v1/models"))
    doors = Doors(behind, [wide, narrow])

    for path in ("/v1/chat/completions", "/v1/audio/speech", "/v1/models", "/v1/models/a", "/", "/corral/v1/tasks"):
        await ask(doors, path)
    await doors({"type": "lifespan"}, None, None)

    assert wide.asked == ["/v1/chat/completions", "/v1/models/a", "/"]
    assert narrow.asked == ["/v1/audio/speech", "/v1/models"]
    assert behind.asked == ["/corral/v1/tasks", "lifespan"]


def make_exchange(*messages: Message, sent: list[Message] | None = None, method: str = "POST") -> Exchange:
    left = list(messages)

    async def receive() -> Message:
        return left.pop(0) if left else {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if sent is not None:
            sent.append(message)

    scope = {
        "type": "http",
        "method": method,
        "path": "/v1/models",
        "headers": [(b"x-name", b"caf\xe9")],
        "query_string": b"a=1&b=&a=2",
    }
    return Exchange(scope, receive, send)


async def test_body_in_pieces_is_read_once_and_bounded() -> None:
    first = {"type": "http.request", "body": b"he", "more_body": True}
    last = {"type": "http.request", "body": b"llo"}
    exchange = make_exchange(first, last)

    assert await exchange.read_body() == b"hello"
    assert await exchange.read_body() == b"hello"
    assert (exchange.headers["x-name"], exchange.query) == ("café", {"a": "2", "b": ""})
    with pytest.raises(BodyTooLargeError):
        await make_exchange(first, last).read_body(largest=4)
    with pytest.raises(ClientGoneError):
        await make_exchange(first).read_body()


async def test_answer_to_head_has_the_length_and_no_body() -> None:
    sent: list[Message] = []

    await make_exchange(sent=sent, method="HEAD").answer_json(200, {"a": "é"}, {"Retry-After": "5"})

    assert dict(sent[0]["headers"])[b"content-length"] == b"10"
    assert dict(sent[0]["headers"])[b"retry-after"] == b"5"
    assert sent[1]["body"] == b""


async def test_headers_are_those_of_their_own_scope_also_where_that_was_made_of_another() -> None:
    outer = make_exchange()
    assert outer.headers is read_headers(outer.scope)

    inner = Exchange({**outer.scope, "headers": [(b"host", b"a")]}, None, None)

    assert dict(inner.headers) == {"host": "a"}
    assert dict(outer.headers) == {"x-name": "café"}


class NotedConnection:
    """A connection that is lost when a test says so."""

    def __init__(self, *, is_lost: bool = False) -> None:
        self.is_lost = is_lost
        self.calls: list[Callable[[], None]] = []

    def call_when_lost(self, call: Callable[[], None]) -> bool:
        self.calls.append(call)
        return not self.is_lost

    def call_no_more(self, call: Callable[[], None]) -> None:
        self.calls.remove(call)


def make_exchange_of(connection: NotedConnection | None) -> Exchange:
    exchange = make_exchange()
    exchange.scope[CONNECTION] = connection
    return exchange


@pytest.mark.parametrize("shows_connection", [True, False])
async def test_work_for_a_client_ends_when_it_leaves(*, shows_connection: bool) -> None:
    """Whether the server shows the connection, or the next message alone says that it is lost."""
    connection = NotedConnection()

    async def work() -> None:
        async with Leaving(make_exchange_of(connection if shows_connection else None)):
            for call in connection.calls:
                call()
            await asyncio.Event().wait()

    with pytest.raises(ClientGoneError):
        await work()
    assert not connection.calls
    await asyncio.sleep(0)  # nothing of the cancellation is left


async def test_nothing_is_begun_for_a_client_that_has_left() -> None:
    leaving = Leaving(make_exchange_of(NotedConnection(is_lost=True)))

    with pytest.raises(ClientGoneError):
        await leaving.__aenter__()
