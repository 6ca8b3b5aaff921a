"""A request reaches the door of its path, and what belongs to no door reaches the application behind."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest

from corral.gateway.asgi import BodyTooLargeError, ClientGoneError, Exchange, Message, Scope
from corral.gateway.doors import Doors


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
