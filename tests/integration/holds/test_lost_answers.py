"""A program asks for GPUs, and the answer does not arrive: the hold that was made must not be lost."""

from __future__ import annotations

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port

from corral.client.connection import Server
from corral.client.holding import HOLDS, Holder
from corral.client.remote_errors import RemoteUnavailableError


async def test_hold_whose_answer_was_lost_is_asked_for_again_and_not_made_twice() -> None:
    keys: list[str] = []

    async def take(request: web.Request) -> web.Response:
        await request.read()
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) == 1 and request.transport is not None:
            request.transport.close()  # as by a server that was killed after it had stored the hold
        return web.json_response({"id": 7, "state": "waiting"}, status=201)

    app = web.Application()
    app.router.add_post(HOLDS, take)
    async with TestServer(app) as server:
        holder = Holder(lambda: Server(url=str(server.make_url("")), token=None))
        try:
            hold = await holder.ask({"gpus": 1})
        finally:
            await holder.close()

    assert hold["id"] == 7
    assert len(keys) == 2
    assert len(set(keys)) == 1


async def test_server_that_cannot_be_reached_is_reported_at_once() -> None:
    looks: list[None] = []

    def find() -> Server:
        looks.append(None)
        return Server(url=f"http://127.0.0.1:{unused_port()}", token=None)

    holder = Holder(find)
    try:
        with pytest.raises(RemoteUnavailableError):
            await holder.ask({"gpus": 1})
    finally:
        await holder.close()

    assert len(looks) == 1


async def test_program_keeps_its_gpus_when_one_renewal_fails_in_the_server() -> None:
    states = iter(["failed", "ending"])

    async def renew(_: web.Request) -> web.Response:
        state = next(states)
        if state == "failed":
            return web.json_response({"error": {"code": "server.failed", "kind": "bug", "what": "a bug"}}, status=500)
        return web.json_response({"id": 7, "state": state, "because": "over"})

    app = web.Application()
    app.router.add_post(f"{HOLDS}/7/renew", renew)
    async with TestServer(app) as server:
        holder = Holder(lambda: Server(url=str(server.make_url("")), token=None), renew_s=0.01)
        holder.hold = {"id": 7, "state": "granted"}
        try:
            hold = await holder.keep()
        finally:
            await holder.close()

    assert hold["because"] == "over"
