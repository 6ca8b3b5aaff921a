"""What the client of llama.cpp's server makes of answers, over a real connection to a server that sends them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from corral.engines.llama.client import LlamaClient

VECTORS = [[0.125 * index for index in range(4096)] for _ in range(32)]


@pytest.fixture
async def url() -> AsyncIterator[str]:
    """A server that answers with 32 embeddings of 4,096 numbers: about a megabyte, in many pieces."""

    async def embed(_: web.Request) -> web.Response:
        return web.json_response({"data": [{"embedding": vector} for vector in VECTORS]})

    app = web.Application()
    app.router.add_post("/v1/embeddings", embed)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_an_answer_of_many_pieces_is_read_whole(url: str) -> None:
    client = LlamaClient(url, key="k")
    try:
        answer = await client.ask("/v1/embeddings", {"input": ["text"] * 32})
    finally:
        await client.close()
    assert answer == {"data": [{"embedding": vector} for vector in VECTORS]}


async def test_a_request_does_not_meet_the_end_of_an_idle_connection() -> None:
    """The server keeps each connection, and closes it the moment that it is used again, as an idle one's end can."""
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n{}")
        writer.write(answer)
        await reader.read(1)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        client = LlamaClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", key="k")
        try:
            answers = [await client.ask("/v1/embeddings", {}) for _ in range(2)]
        finally:
            await client.close()
    assert answers == [{}, {}]
