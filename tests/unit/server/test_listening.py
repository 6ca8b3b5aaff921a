"""A server is announced once it accepts requests, and never when it ended before."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
import uvicorn
from uvicorn._types import ASGIReceiveCallable, ASGISendCallable, Scope

from corral.server.listening import HttpServer


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield taken


async def an_app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    """Stands for any application: no request is sent to it."""
    raise NotImplementedError


async def test_a_server_that_accepts_requests_has_started(listener: socket.socket) -> None:
    http = HttpServer(uvicorn.Config(an_app, lifespan="off", log_config=None))
    serving = asyncio.create_task(http.serve([listener]))

    assert await http.wait_for_start(serving)

    http.should_exit = True
    await serving


async def test_a_server_that_fails_before_it_listens_has_not_started(listener: socket.socket) -> None:
    http = HttpServer(uvicorn.Config(an_app, lifespan="off", log_config=None))
    listener.close()
    serving = asyncio.create_task(http.serve([listener]))

    assert not await http.wait_for_start(serving)
    with pytest.raises(OSError, match="Bad file descriptor"):
        await serving
