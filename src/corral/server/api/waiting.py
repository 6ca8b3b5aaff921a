"""Answers once something has ended, or with what it is when the time runs out; costs no query while it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, TypeVar

from fastapi import Query

from corral.server.api.changes import Subject
from corral.server.api.state import ApiState
from corral.tasks.store import story

Timeout = Annotated[float, Query(ge=0, le=60, allow_inf_nan=False, description="seconds")]

T = TypeVar("T")


async def wait_until_ended(
    api: ApiState,
    read: Callable[[], Awaitable[T]],
    *,
    still_open: Callable[[T], int],
    subject: Subject,
    timeout_s: float,
) -> T:
    """Read something, and read it again when as many of its tasks have ended as were open; return what was read last.

    Raises: what `read` raises.
    """
    try:
        async with asyncio.timeout(timeout_s):
            while not api.changes.stopping:
                # Before the read: an end in between is seen after it.
                last = await story.read_horizon(api.services.pool)
                seen = await read()
                count = still_open(seen)
                if count == 0:
                    return seen
                await api.changes.ends(last, count, subject)
    except TimeoutError:
        pass
    return await read()
