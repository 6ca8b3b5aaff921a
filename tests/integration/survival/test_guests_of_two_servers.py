"""Two servers on one database: only the leader serves guests, and when it stands still the other does soon."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from chaos.client import PatientClient
from chaos.kept import Kept, corral_up, keeping
from corral.data_dir import find_server
from doubles.openai_server import OpenAiDouble

pytestmark = pytest.mark.alone

Json = Any
CARDS, LANES = 4, 8
CHATS = CARDS * LANES
NEW = 4
"""Chats that come to the other server."""
CLUSTER = """\
apiVersion: corral/v1
name: two
nodes: [{name: here, gpus: [], cpu: {slots: 1}}]
engines:
  openai:
    instances:
"""


class Card(OpenAiDouble):
    """A server with lanes whose answers to `stay` do not end by themselves, however many others come and go."""

    def __init__(self) -> None:
        super().__init__(model_names={"tiny": {}})
        self.staying = 0

    @web.middleware
    async def _guard(self, request: web.Request, handler: Any) -> web.StreamResponse:  # Any: aiohttp's handler
        if request.path == "/props":
            return web.json_response({"total_slots": LANES})
        return await super()._guard(request, handler)

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body["messages"][-1]["content"] != "stay":
            return await super()._chat(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        chunk = {"choices": [{"index": 0, "delta": {"content": "here "}, "finish_reason": None}]}
        await response.write(f"data: {json.dumps(chunk)}\n\n".encode())
        self.staying += 1
        await self._notify()
        try:
            await asyncio.Event().wait()
        finally:
            self.staying -= 1
        return response


class Server:
    """One server, as its clients see it."""

    def __init__(self, kept: Kept, folder: Path, session: aiohttp.ClientSession) -> None:
        self.kept = kept
        self.client = PatientClient(folder)
        self._folder = folder
        self._session = session

    @property
    def url(self) -> str:
        presence = find_server(self._folder)
        assert presence is not None
        return presence.url

    async def chat(self, words: str) -> tuple[int, str]:
        """Have a streamed chat to its end, and return the status and all of the answer."""
        body = {"model": "tiny", "stream": True, "messages": [{"role": "user", "content": words}]}
        async with self._session.post(f"{self.url}/v1/chat/completions", json=body) as response:
            return response.status, (await response.read()).decode()

    async def read_doors(self) -> int:
        """Return how it answers whether it serves doors."""
        async with self._session.get(f"{self.url}/health/doors") as response:
            return response.status

    def send(self, number: signal.Signals) -> None:
        assert self.kept.pid is not None
        os.kill(self.kept.pid, number)


@pytest.fixture
async def cards() -> AsyncIterator[list[Card]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Card()) for _ in range(CARDS)]


@pytest.fixture
async def servers(cards: list[Card], short_folder: Path, database_url: str) -> AsyncIterator[tuple[Server, Server]]:
    """Two servers on one database, with the same slots; the first leads."""
    path = short_folder / "cluster.yaml"
    path.write_text(
        CLUSTER + "".join(f'      - {{name: card{number}, url: "{card.url}"}}\n' for number, card in enumerate(cards))
    )
    env = {"CORRAL_DATABASE_URL": database_url}
    async with AsyncExitStack() as stack:
        timeout = aiohttp.ClientTimeout(total=90)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(limit=0))
        )
        made: list[Server] = []
        for name in ("first", "second"):
            kept = corral_up(short_folder / name, path, short_folder / f"{name}.log", env=env)
            await stack.enter_async_context(keeping(kept))
            stack.push_async_callback(kept.stop)
            server = Server(kept, short_folder / name, session)
            await stack.enter_async_context(server.client)
            if not made:
                await server.client.leading()
            made.append(server)
        await made[1].client.get("/health/ready")
        yield made[0], made[1]


async def list_guests(server: Server) -> list[Json]:
    """List the guests that have a slot; of each slot no more than it has lanes."""
    slots = await server.client.get("/corral/v1/slots")
    held = [guest for guest in slots["guests"] if guest["slot"] is not None]
    names = [guest["slot"] for guest in held]
    assert all(names.count(name) <= LANES for name in names)
    return held


async def test_streams_of_a_leader_that_stands_still_end_and_the_other_server_answers_new_ones_soon(
    servers: tuple[Server, Server], cards: list[Card]
) -> None:
    first, second = servers
    assert (await first.read_doors(), await second.read_doors()) == (200, 503)
    staying = [asyncio.create_task(first.chat("stay")) for _ in range(CHATS)]
    for card in cards:
        await card.until(lambda card=card: card.staying == LANES)
    assert len(await list_guests(first)) == CHATS
    first.send(signal.SIGSTOP)
    stopped_at = time.monotonic()
    try:
        answers = await asyncio.gather(*(chat_when_served(second, number) for number in range(NEW)))
        waited_s = time.monotonic() - stopped_at
        assert answers == [f"number {number} " for number in range(NEW)]
        assert waited_s < 30, "another server leads within 30 s"
        assert await second.read_doors() == 200
        assert await list_guests(second) == []
    finally:
        first.send(signal.SIGCONT)
    ended = await asyncio.gather(*staying)
    assert {status for status, _ in ended} == {200}
    assert all('"error"' in answer and "does not lead" in answer for _, answer in ended)
    for card in cards:
        await card.until(lambda card=card: card.writing == 0)
    assert await first.read_doors() == 503
    assert await list_guests(first) == []
    status, refusal = await first.chat("hello")
    assert (status, "does not lead" in refusal) == (503, True)
    assert (await second.chat("hello again"))[0] == 200


async def chat_when_served(server: Server, number: int) -> str:
    """Ask until the server answers, as a client behind a balancer would, and return what it says."""
    while True:
        status, answer = await server.chat(f"number {number}")
        if status == 200:
            lines = [json.loads(line[6:]) for line in answer.splitlines() if line.startswith("data: {")]
            return "".join(choice["delta"].get("content", "") for line in lines for choice in line["choices"])
        assert status == 503, answer
        await asyncio.sleep(0.2)
