"""Watches a submitted batch to its end: follows it, shows it, writes its outputs, and asks when interrupted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from corral.cli.running.interrupting import Choice, Interrupts
from corral.cli.running.view import View
from corral.client.collecting import Collector
from corral.client.following import Follower
from corral.client.progress import Standing


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Everything that takes part in watching one batch."""

    follower: Follower
    collector: Collector
    standing: Standing
    view: View
    interrupts: Interrupts
    ask: Callable[[], Awaitable[Choice]]
    cancel_batch: Callable[[], Awaitable[None]]

    async def run(self) -> Choice | None:
        """Watch until every task has ended and its outputs are written, or until somebody chooses otherwise.

        Returns: None at the end of the batch, CANCEL at the end of one that was cancelled here, else LEAVE or STOP.
        Raises: ServerLostError, RemoteError, OutputsIncompleteError, OutputUnwritableError.
        """
        following = asyncio.create_task(self.follower.run())
        collecting = asyncio.create_task(self.collector.run())
        cancelled: Choice | None = None
        try:
            while not await self._shown_until_end_or_press(following, collecting):
                choice = await self.ask()
                if choice is Choice.CANCEL:
                    cancelled = choice
                    await self.cancel_batch()
                elif choice is not Choice.CONTINUE:
                    return choice
            return cancelled if await self._drained(collecting) else Choice.LEAVE
        finally:
            await _end(following, collecting)

    async def _shown_until_end_or_press(self, following: asyncio.Task[None], collecting: asyncio.Task[None]) -> bool:
        """Show the standing until the batch has ended (True) or Ctrl-C was pressed (False)."""
        showing = asyncio.create_task(self.view.show(self.standing))
        press = asyncio.create_task(self.interrupts.pressed())
        try:
            await asyncio.wait({following, collecting, showing, press}, return_when=asyncio.FIRST_COMPLETED)
            _raise_failure(following, collecting, showing)
            return following.done()
        finally:
            await _end(showing, press)

    async def _drained(self, collecting: asyncio.Task[None]) -> bool:
        """Wait for the last outputs; False when Ctrl-C was pressed meanwhile."""
        draining = asyncio.create_task(self.collector.drain())
        press = asyncio.create_task(self.interrupts.pressed())
        try:
            await asyncio.wait({draining, collecting, press}, return_when=asyncio.FIRST_COMPLETED)
            _raise_failure(collecting, draining)
            return draining.done()
        finally:
            await _end(draining, press)


def _raise_failure(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        if task.done():
            task.result()


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
