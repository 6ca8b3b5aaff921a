"""Time in which an engine waits for what another program gives out is not an attempt's own."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import UUID

from corral.tasks.artifacts import ArtifactStore
from corral.tasks.attempt_run import Ended, Order, StopSignal, run_attempt
from corral.work import Produced, Reporter, Work
from doubles.engines import ScriptedEngine
from doubles.local_engines import a_work
from doubles.remote_reports import KeptReports

TIMEOUT_S = 0.3


class QueuedEngine(ScriptedEngine):
    """An engine that is kept waiting for a while by another program before it works."""

    def __init__(self, waits_s: float, works_s: float) -> None:
        super().__init__(self._wait_and_work)
        self._waits_s = waits_s
        self._works_s = works_s
        self._began_at = 0.0

    def count_waited(self, attempt: UUID) -> float:
        """Return the seconds of the wait so far."""
        del attempt
        return min(self._waits_s, asyncio.get_running_loop().time() - self._began_at)

    async def _wait_and_work(self, work: Work, report: Reporter) -> Produced:
        self._began_at = asyncio.get_running_loop().time()
        await asyncio.sleep(self._waits_s + self._works_s)
        return Produced(values={"done": True})


async def run(folder: Path, engine: ScriptedEngine) -> Ended:
    store = ArtifactStore(folder / "artifacts")
    store.prepare()
    work = a_work("job", folder, timeout_s=TIMEOUT_S)
    return await run_attempt(engine, Order(work, KeptReports(), StopSignal(), stop_grace_s=0.2), store)


async def test_an_attempt_that_waits_longer_than_its_time_has_all_of_it_after(tmp_path: Path) -> None:
    assert (await run(tmp_path, QueuedEngine(waits_s=1.0, works_s=0.1))).values == {"done": True}


async def test_its_time_runs_out_once_it_works(tmp_path: Path) -> None:
    ended = await run(tmp_path, QueuedEngine(waits_s=0.3, works_s=30))
    assert ended.failure is not None
    assert ended.failure.problem.code == "attempt.timeout"
