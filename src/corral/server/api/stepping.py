"""Work that takes minutes, answered as a stream of events: its steps as `progress`, its end as `done` or `failed`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Annotated

from fastapi import Header

from corral.errors import CorralError
from corral.server.api.errors import answer as answer_error
from corral.server.api.streams import HEARTBEAT_S
from corral.wire import to_json
from corral.work import PullStep

Accept = Annotated[str, Header(alias="Accept", description="`text/event-stream` for progress")]
EVENT_STREAM = "text/event-stream"


async def stream_steps(
    work: Callable[[Callable[[PullStep], None]], Coroutine[None, None, object]], request_id: str
) -> AsyncGenerator[str]:
    """Yield the steps of some work as events, and its end; closing the stream cancels the work."""
    steps: asyncio.Queue[PullStep | None] = asyncio.Queue()
    working = asyncio.create_task(work(steps.put_nowait))
    working.add_done_callback(lambda _: steps.put_nowait(None))
    try:
        while (step := await _next(steps)) is not None:
            yield step
        try:
            yield _write_event("done", json.dumps(to_json(await working)))
        except CorralError as error:
            yield _write_event("failed", bytes(answer_error(error, request_id).body).decode())
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


async def _next(steps: asyncio.Queue[PullStep | None]) -> str | None:
    """Return the next message of the stream; None when there is no further step."""
    try:
        async with asyncio.timeout(HEARTBEAT_S):
            step = await steps.get()
    except TimeoutError:
        return ": heartbeat\n\n"
    return None if step is None else _write_event("progress", json.dumps(to_json(step)))


def _write_event(kind: str, data: str) -> str:
    return f"event: {kind}\ndata: {data}\n\n"
