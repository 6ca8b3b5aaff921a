"""An engine that computes nothing: while its task runs, a program of a user has the devices of its slots.

What makes it an engine is that a hold is a task like any other: it waits, is charged, explained and found again after a
restart by the queue's own means. When it begins and when it ends is in the queue's book (`corral.work.HoldBook`).
"""

from __future__ import annotations

from corral.engine_kinds import HOLD
from corral.engines.hold.inputs import HoldInputs
from corral.engines.in_process import InProcessEngine
from corral.engines.inputs import read_task_inputs
from corral.work import HoldBook, HoldEnd, HoldTerms, Produced, Reporter, Work


class HoldEngine(InProcessEngine):
    """Hands the devices of an attempt over, and keeps them until the hold has ended."""

    def __init__(self, book: HoldBook) -> None:
        super().__init__(HOLD.name)
        self.book = book

    async def run(self, work: Work, report: Reporter) -> Produced:
        self._check_open()
        inputs = read_task_inputs(HoldInputs, work.inputs)
        ended = await self._run_killable(self._lend(work, HoldTerms(ttl_s=inputs.ttl_s, for_s=inputs.for_s), report))
        return Produced(values={"ended": ended.value})

    async def _lend(self, work: Work, terms: HoldTerms, report: Reporter) -> HoldEnd:
        await self.book.hand_over(work, terms, report)
        return await self.book.wait_for_end(work.task)
