"""The holds of one place: one that has it alone, or several of one engine and model, each with a lane."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.scheduling.values import RunningTask
from corral.slots.values import Hold
from corral.work import SlotId


class SlotHeldError(CorralError):
    """A slot is held, and was asked for by another."""

    code: ClassVar[str] = "slot.held"
    kind: ClassVar[Kind] = Kind.CONFLICT


class Holds:
    """What holds a place on this server, in the order in which it began."""

    def __init__(self, place: SlotId, count_lanes: Callable[[str], int]) -> None:
        """`count_lanes` says how many tasks of one model an engine does at a time here."""
        self._place = place
        self._count_lanes = count_lanes
        self._holds: list[Hold] = []
        self._running: tuple[RunningTask, ...] = ()
        self._emptying: Hold | None = None
        self._emptied = asyncio.Event()
        self._emptied.set()

    def __bool__(self) -> bool:
        return bool(self._holds)

    def __iter__(self) -> Iterator[Hold]:
        return iter(self._holds)

    @property
    def running(self) -> tuple[RunningTask, ...]:
        """The tasks that hold lanes of the place."""
        return self._running

    def add(self, hold: Hold) -> None:
        """Take the place, or a lane of it next to tasks of the same engine and model. Raises: SlotHeldError."""
        if self._holds and not self._can_join(hold):
            raise SlotHeldError(
                f"{self._place} is held by {self._holds[0]}", where=self._place, hint="wait until that has ended"
            )
        self._holds.append(hold)
        self._running = _list_running(self._holds)

    def remove(self, hold: Hold) -> bool:
        """End a hold; return whether it was there."""
        kept = [other for other in self._holds if other is not hold]
        if len(kept) == len(self._holds):
            return False
        self._holds, self._running = kept, _list_running(kept)
        self.end_emptying(hold)
        return True

    @property
    def leave_a_lane(self) -> bool:
        """Whether they leave a lane to tasks of their engine and model."""
        running = self.running
        return (
            bool(running)
            and len(running) == len(self._holds)
            and all(task.shares_lanes for task in running)
            and len(running) < self._count_lanes(running[0].engine)
        )

    def find_free_lane(self) -> int:
        """Return the first lane that nothing has."""
        taken = {running.lane for running in self.running}
        return next(lane for lane in count() if lane not in taken)

    def _can_join(self, hold: Hold) -> bool:
        task = hold.task
        return self.leave_a_lane and task is not None and task.shares_lanes and task.work == self.running[0].work

    # --- what is given up first --------------------------------------------------------------------------------------

    def begin_emptying(self, hold: Hold) -> None:
        """Note that a hold gives up models of the place first: what joins it waits for that."""
        self._emptying = hold
        self._emptied.clear()

    def end_emptying(self, hold: Hold) -> None:
        """Let those go on that joined a hold, which has given up what it had to."""
        if self._emptying is hold:
            self._emptying = None
            self._emptied.set()

    async def wait_until_emptied(self, hold: Hold) -> None:
        """Return once no hold gives up models of the place any more; this one has."""
        self.end_emptying(hold)
        if self._emptying is not None:
            await self._emptied.wait()


def _list_running(holds: Iterable[Hold]) -> tuple[RunningTask, ...]:
    return tuple([hold.task for hold in holds if hold.task is not None])
