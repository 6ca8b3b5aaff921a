"""The client of upstreams on real sockets: pieces arrive as they are, failures are known, connections are kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from corral.gateway.upstream import (
    Outgoing,
    UpstreamLostError,
    Upstreams,
    UpstreamStalledError,
    UpstreamUnreachableError,
)

WHOLE = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Listener:
    url: str
    connections: int = 0
    heads: list[bytes] = field(default_factory=list[bytes])
    bodies: list[bytes] = field(default_factory=list[bytes])
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def listening(*answers: bytes | Serve) -> AsyncIterator[Listener]:
    """Answer the requests of each connection one after the other; after the last answer it is closed."""
    left = list(answers)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listener.connections += 1
        try:
            while left:
                head = await reader.readuntil(b"\r\n\r\n")
                size = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0] or b"0")
                listener.heads.append(head)
                listener.bodies.append(await reader.readexactly(size))
                answer = left.pop(0)
                if callable(answer):
                    await answer(reader, writer)
                else:
                    writer.write(answer)
                    await writer.drain()
                    if answer is not WHOLE:
                        return
        except (asyncio.IncompleteReadError, ConnectionError):
            listener.ended.set()
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    listener = Listener(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    try:
        yield listener
    finally:
        server.close()


@asynccontextmanager
async def a_pool() -> AsyncIterator[Upstreams]:
    pool = Upstreams()
    try:
        yield pool
    finally:
        pool.close()


async def test_connection_is_kept_for_the_next_request() -> None:
    async with listening(WHOLE, WHOLE) as listener, a_pool() as pool:
        for _ in range(2):
            answer = await pool.open(Outgoing(url=f"{listener.url}/v1/models?a=b", headers={"x": "y"}, body=b"hello"))
            assert (answer.status, await answer.read_all(10)) == (200, b"ok")
            answer.close()
    assert (listener.connections, listener.bodies) == (1, [b"hello", b"hello"])
    assert listener.heads[0].startswith(b"POST /v1/models?a=b HTTP/1.1\r\nhost: 127.0.0.1:")


async def test_request_whose_kept_connection_has_ended_is_sent_once_more() -> None:
    async def close_silently(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async with listening(WHOLE, close_silently, WHOLE) as listener, a_pool() as pool:
        for _ in range(2):
            answer = await pool.open(Outgoing(url=listener.url))
            assert await answer.read_all(10) == b"ok"
            answer.close()
    assert listener.connections == 2


async def test_pieces_of_a_stream_come_as_they_are_sent() -> None:
    go_on = asyncio.Event()

    async def stream(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n")
        await go_on.wait()
        writer.write(b"6\r\nsecond\r\n0\r\n\r\n")
        await writer.drain()

    async with listening(stream) as listener, a_pool() as pool:
        answer = await pool.open(Outgoing(url=listener.url))
        assert await answer.read_piece() == b"first"
        go_on.set()
        assert [await answer.read_piece(), await answer.read_piece()] == [b"second", b""]


async def test_answer_without_a_length_ends_with_its_connection() -> None:
    async with listening(b"HTTP/1.1 200 OK\r\n\r\nall of it") as listener, a_pool() as pool:
        assert await (await pool.open(Outgoing(url=listener.url))).read_all(100) == b"all of it"


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_answer_without_a_whole_head_is_lost(broken: bytes) -> None:
    async with listening(broken) as listener, a_pool() as pool:
        with pytest.raises(UpstreamLostError):
            await pool.open(Outgoing(url=listener.url))


async def test_body_that_breaks_off_is_lost() -> None:
    async with listening(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf") as listener, a_pool() as pool:
        answer = await pool.open(Outgoing(url=listener.url))
        with pytest.raises(UpstreamLostError):
            await answer.read_all(100)


async def test_silence_is_a_failure_after_its_bound() -> None:
    async def say_half(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        await asyncio.Event().wait()

    async with listening(say_half) as listener, a_pool() as pool:
        answer = await pool.open(Outgoing(url=listener.url, stall_s=0.2))
        with pytest.raises(UpstreamStalledError):
            await answer.read_all(100)


async def test_where_nothing_listens_is_unreachable() -> None:
    async with listening() as listener:
        pass
    async with a_pool() as pool:
        with pytest.raises(UpstreamUnreachableError, match="Connection refused"):
            await pool.open(Outgoing(url=listener.url))


async def test_closing_an_answer_in_its_midst_ends_the_upstreams_work() -> None:
    async def write_forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"5\r\nagain\r\n")
            await writer.drain()
            await asyncio.sleep(0)

    async with listening(write_forever) as listener, a_pool() as pool:
        answer = await pool.open(Outgoing(url=listener.url))
        assert await answer.read_piece()
        answer.close()
        await asyncio.wait_for(listener.ended.wait(), 10)


async def test_upstream_that_is_faster_than_its_reader_is_slowed_down() -> None:
    size = 64 * 2**20

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        for _ in range(size // 2**16):
            writer.write(bytes(2**16))
            await writer.drain()
            sent.append(2**16)

    sent: list[int] = []
    async with listening(pour) as listener, a_pool() as pool:
        answer = await pool.open(Outgoing(url=listener.url, stall_s=0.3))
        for _ in range(5):  # longer than the bound of its silence, and longer than all of it would take
            await asyncio.sleep(0.1)
        assert sum(sent) < size / 2
        assert len(await answer.read_all(size)) == size


async def test_header_with_a_line_break_is_not_sent() -> None:
    async with listening(WHOLE) as listener, a_pool() as pool:
        with pytest.raises(ValueError, match="line break"):
            await pool.open(Outgoing(url=listener.url, headers={"x": "y\r\nz: w"}))


async def test_answer_that_nothing_asked_for_is_given_to_no_one() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for text in (b"first", b"secret"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(text) + text)
        await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    upstreams = Upstreams()
    for _ in range(2):
        given = await upstreams.open(Outgoing(method="GET", url=url))
        assert await given.read_all(1000) == b"first"
        given.close()
        await asyncio.sleep(0.05)
    upstreams.close()
    server.close()
