"""An engine that waits, in this process: for rehearsals of a batch and for benchmarks of the queue.

It computes nothing, so it has no worker. It is off unless the cluster file turns it on, so that no task uses it by
accident.
"""

from __future__ import annotations

import asyncio

from corral.engine_kinds import SLEEP
from corral.engines.in_process import InProcessEngine
from corral.engines.inputs import read_task_inputs
from corral.engines.sleep.inputs import SleepInputs
from corral.work import Produced, Reporter, Work

_STEP_S = 1.0
"""Time between two reports of progress; shorter sleeps make one report only."""


class SleepingEngine(InProcessEngine):
    """Sleeps for `inputs.seconds`."""

    def __init__(self) -> None:
        super().__init__(SLEEP.name)

    async def run(self, work: Work, report: Reporter) -> Produced:
        self._check_open()
        seconds = read_task_inputs(SleepInputs, work.inputs).seconds
        await self._run_killable(_sleep(seconds, report))
        return Produced(values={"slept_s": seconds})


async def _sleep(seconds: float, report: Reporter) -> None:
    loop = asyncio.get_running_loop()
    begun_at = loop.time()
    while (left := begun_at + seconds - loop.time()) > 0:
        report.progress(1 - left / seconds)
        await asyncio.sleep(min(left, _STEP_S))
    report.progress(1.0)
