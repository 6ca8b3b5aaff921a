"""What the client of llama.cpp's server makes of answers, over a real connection to a server that sends them."""

from __future__ import annotations

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
