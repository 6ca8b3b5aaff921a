"""An engine that computes nothing: while its task runs, a program of a user has the devices of its slots.

What makes it an engine is that a hold is a task like any other: it waits, is charged, explained and found again after a
restart by the queue's own means. When it begins and when it ends is in the queue's book (`corral.work.HoldBook`).
"""

from __future__ import annotations

import asyncio

from corral.engine_kinds import HOLD
from corral.engines.hold.inputs import HoldInputs
from corral.engines.inputs import read_task_inputs
from corral.work import (
    EngineError,
    EngineUnavailableError,
    HoldBook,
    HoldEnd,
    HoldTerms,
    Produced,
    Reporter,
    Resident,
    Work,
)


class HoldEngine:
    """Hands the devices of an attempt over, and keeps them until the hold has ended."""

    def __init__(self, book: HoldBook) -> None:
        self.book = book
        self._lending: asyncio.Task[HoldEnd] | None = None
        self._closed = False

    @property
    def name(self) -> str:
        return HOLD.name

    async def run(self, work: Work, report: Reporter) -> Produced:
        if self._closed:
            raise EngineUnavailableError("the engine of holds is closed", hint="start the server again")
        inputs = read_task_inputs(HoldInputs, work.inputs)
        lending = self._lending = asyncio.create_task(
            self._lend(work, HoldTerms(ttl_s=inputs.ttl_s, for_s=inputs.for_s), report)
        )
        try:
            await asyncio.wait((lending,))
            if lending.cancelled():
                raise EngineError("the engine of holds was killed")
            return Produced(values={"ended": lending.result().value})
        finally:
            lending.cancel()
            self._lending = None

    async def resident(self) -> tuple[Resident, ...]:
        return ()

    async def check(self) -> None:
        return

    async def release(self) -> None:
        return

    async def kill(self) -> None:
        if self._lending is not None:
            self._lending.cancel()

    async def close(self) -> None:
        self._closed = True
        await self.kill()

    async def _lend(self, work: Work, terms: HoldTerms, report: Reporter) -> HoldEnd:
        await self.book.hand_over(work, terms, report)
        return await self.book.wait_for_end(work.task)
