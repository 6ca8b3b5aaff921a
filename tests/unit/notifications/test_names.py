"""Names of receivers are looked up where nothing else waits."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

from corral.notifications.webhooks import WebhookError, send

MOST_SHARED_THREADS = 32
"""Of asyncio's own (`concurrent.futures.ThreadPoolExecutor`), on any machine."""


async def test_name_server_that_hangs_keeps_no_thread_of_the_rest_of_the_server() -> None:
    go_on = threading.Event()

    def hang(*_asked: Any, **_options: Any) -> list[Any]:  # as `socket.getaddrinfo`
        go_on.wait()
        raise socket.gaierror(socket.EAI_AGAIN, "no answer")

    async def try_once() -> str:
        try:
            await send("http://slow.example/", "msg_1", b"{}", (b"secret",), allowed=(), try_s=0.2, look_up=hang)
        except WebhookError as error:
            return error.what
        return ""

    try:
        outcomes = await asyncio.gather(*(try_once() for _ in range(MOST_SHARED_THREADS + 1)))
        async with asyncio.timeout(5):
            answer = await asyncio.to_thread(int, "7")
    finally:
        go_on.set()

    assert answer == 7
    assert set(outcomes) == {"no answer within 0.2 s"}
