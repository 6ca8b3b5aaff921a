"""Keeps background tasks running: one that fails is logged, raises an alarm, and is started again after a pause.

Without it a task that met an error it does not know ended for good, and nothing showed that until its work was missed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from corral.tasks.alarms import Alarms

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pauses:
    """Waits before a background task is started again: doubled with each failure, from the first to the longest."""

    first_s: float = 0.5
    longest_s: float = 60.0
    steady_s: float = 10.0
    """A task that has run for so long works: its alarm ends, and its next pause is the first one."""


async def supervise(
    name: str, run: Callable[[], Awaitable[None]], alarms: Alarms, *, pauses: Pauses = Pauses()
) -> None:
    """Run a background task that should not end, for ever; `name` is that of its alarm."""
    pause = pauses.first_s
    loop = asyncio.get_running_loop()
    while True:
        begun = loop.time()
        steady = loop.call_later(pauses.steady_s, alarms.clear, name)
        try:
            await run()
            what = f"the background task {name} ended by itself"
        except Exception as error:  # the supervisor: whatever a task meets, it is started again
            log.exception("background_task_failed", task=name)
            what = f"the background task {name} failed: {type(error).__name__}: {error}"
        finally:
            steady.cancel()
        if loop.time() - begun >= pauses.steady_s:
            pause = pauses.first_s
        alarms.ring(name, what, hint="it is started again by itself; the server's log has the details")
        await asyncio.sleep(pause)
        pause = min(pause * 2, pauses.longest_s)
