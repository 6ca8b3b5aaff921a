"""Many clients that each send one request after another, as cheaply as Python can: bytes made once, one socket each.

What the clients take is taken from the server that shares the processors with them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

Request = Callable[[int], bytes]
"""Makes the bytes of the request with this number."""


@dataclass(frozen=True, slots=True)
class Answers:
    """How long each answer took, and all of them together."""

    waits_s: tuple[float, ...]
    took_s: float


class _Client(asyncio.Protocol):
    def __init__(self, next_request: Callable[[], bytes | None], done: asyncio.Future[None], status: bytes) -> None:
        self._next = next_request
        self._done = done
        self._status = status
        self._seen = bytearray()
        self._begun = 0.0
        self._transport: asyncio.Transport | None = None
        self.waits_s: list[float] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # of TCP; uvloop's is no subclass
        self._send()

    def _send(self) -> None:
        assert self._transport is not None, "called after the connection was made"
        request = self._next()
        if request is None:
            self._done.set_result(None)
            self._transport.close()
            return
        self._begun = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._seen += data
        head, gap, body = self._seen.partition(b"\r\n\r\n")
        length = next(
            (int(line[15:]) for line in bytes(head).lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        if not gap or len(body) < length:
            return
        if head.split(b" ", 2)[1] != self._status:
            self._done.set_exception(RuntimeError(f"answered {bytes(self._seen)[:500]!r}"))
            return
        self.waits_s.append(time.perf_counter() - self._begun)
        self._seen.clear()
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._done.done():
            self._done.set_exception(exc or RuntimeError("the server closed the connection"))


async def ask(host: str, port: int, request: Request, *, clients: int, count: int, status: int) -> Answers:
    """Send `count` requests from so many clients at once. Raises: RuntimeError at the first other status."""
    loop = asyncio.get_running_loop()
    numbers = iter(range(count))

    def following() -> bytes | None:
        number = next(numbers, None)
        return None if number is None else request(number)

    connected: list[_Client] = []
    finished = [loop.create_future() for _ in range(clients)]
    begun = time.perf_counter()
    for done in finished:
        client = _Client(following, done, str(status).encode())
        connected.append(client)
        await loop.create_connection(lambda client=client: client, host, port)
    await asyncio.gather(*finished)
    took = time.perf_counter() - begun
    return Answers(tuple(wait for client in connected for wait in client.waits_s), took)


def post(path: str, host: str, token: str, body: bytes) -> bytes:
    """Return the bytes of a request that sends JSON."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body
