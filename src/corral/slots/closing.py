"""Ends engines: for good, or so that the next run starts them anew; one that hangs keeps no other from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from corral.work import Engine

log = structlog.get_logger()

CLOSE_DEADLINE_S = 30.0
"""How long an engine can take to stop; checks of the others wait for it. A worker that hangs is killed after 2 s."""


async def close_engines(engines: Sequence[Engine], *, deadline_s: float = CLOSE_DEADLINE_S) -> None:
    """Stop engines for good."""
    await _end(engines, lambda engine: engine.close(), deadline_s)


async def end_engines(engines: Sequence[Engine], *, deadline_s: float = CLOSE_DEADLINE_S) -> None:
    """End engines at once; the next run starts each anew."""
    await _end(engines, lambda engine: engine.kill(), deadline_s)


async def _end(engines: Sequence[Engine], end: Callable[[Engine], Awaitable[None]], deadline_s: float) -> None:
    async def end_in_time(engine: Engine) -> None:
        async with asyncio.timeout(deadline_s):
            await end(engine)

    endings = await asyncio.gather(*map(end_in_time, engines), return_exceptions=True)
    for engine, ending in zip(engines, endings, strict=True):
        if isinstance(ending, Exception):
            log.error("engine_not_closed", engine=engine.name, exc_info=ending)
