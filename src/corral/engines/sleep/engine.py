"""An engine that waits, in this process: for rehearsals of a batch and for benchmarks of the queue.

It computes nothing, so it has no worker. It is off unless the cluster file turns it on, so that no task uses it by
accident.
"""

from __future__ import annotations

import asyncio

from corral.engine_kinds import SLEEP
from corral.engines.inputs import read_task_inputs
from corral.engines.sleep.inputs import SleepInputs
from corral.work import EngineError, EngineUnavailableError, Produced, Reporter, Resident, Work

_STEP_S = 1.0
"""Time between two reports of progress; shorter sleeps make one report only."""


class SleepingEngine:
    """Sleeps for `inputs.seconds`."""

    def __init__(self) -> None:
        self._sleep: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def name(self) -> str:
        return SLEEP.name

    async def run(self, work: Work, report: Reporter) -> Produced:
        if self._closed:
            raise EngineUnavailableError("the sleep engine is closed", hint="start the server again")
        seconds = read_task_inputs(SleepInputs, work.inputs).seconds
        await self._sleep_until_killed(seconds, report)
        return Produced(values={"slept_s": seconds})

    async def resident(self) -> tuple[Resident, ...]:
        return ()

    async def check(self) -> None:
        return

    async def release(self) -> None:
        return

    async def kill(self) -> None:
        if self._sleep is not None:
            self._sleep.cancel()

    async def close(self) -> None:
        self._closed = True
        await self.kill()

    async def _sleep_until_killed(self, seconds: float, report: Reporter) -> None:
        self._sleep = asyncio.create_task(_sleep(seconds, report))
        try:
            await asyncio.wait((self._sleep,))
            if self._sleep.cancelled():
                raise EngineError("the sleep engine was killed")
        finally:
            self._sleep.cancel()
            self._sleep = None


async def _sleep(seconds: float, report: Reporter) -> None:
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    while (left := begun_at + seconds - loop.time()) > 0:
        report.progress(1 - left / seconds)
        await asyncio.sleep(min(left, _STEP_S))
    report.progress(1.0)
