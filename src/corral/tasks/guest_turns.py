"""The turn of one guest: what it holds, and how it is taken away while the guest still uses it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from types import TracebackType
from typing import NamedTuple

from corral.scheduling.values import Assignment, QueuedTask
from corral.slots.energy import Energy, MeteredWork
from corral.slots.guests import Choice, GuestAsk, GuestEndedError
from corral.slots.place import PlaceState
from corral.slots.values import Hold
from corral.tasks.attempt_run import SLOT_RESTS
from corral.work import Engine, FailureScope, SlotId


class Reason(NamedTuple):
    """Why guests are not served, or no more."""

    what: str
    hint: str


@dataclass(slots=True, eq=False)
class Turn:
    """A guest's turn; see `corral.slots.guests.GuestTurn`."""

    ask: GuestAsk
    asked_at: datetime
    choice: Choice
    task: QueuedTask
    assignment: Assignment
    place: PlaceState
    hold: Hold
    slot: SlotId
    engine: Engine
    started_s: float
    """On the monotonic clock."""
    metered: MeteredWork | None = None
    """None where the energy of its device is not measured."""
    failure: str | None = None
    ended: Reason | None = None
    """Why the turn was taken from the guest."""
    is_prepared: bool = False
    """Whether there was room for its model; before, it used none."""
    _note_energy: Callable[[float], None] = field(default=lambda _: None, repr=False)
    _worker: asyncio.Task[object] | None = field(default=None, repr=False)
    """What uses the turn now."""
    _was_cancelled: bool = field(default=False, repr=False)

    @property
    def because(self) -> str:
        """Why this slot, in a few words."""
        return self.assignment.because

    def fail(self, what: str, scope: FailureScope) -> None:
        """Note that the slot failed the guest."""
        if scope in SLOT_RESTS:
            self.failure = what

    def when_measured(self, note: Callable[[float], None]) -> None:
        """Have `note` called with the joules of the turn, some seconds after its end; never where they are unknown."""
        self._note_energy = note

    def tell_energy(self, energy: Energy) -> None:
        """Hand on the energy of the turn."""
        if energy.is_whole:
            self._note_energy(energy.joules)

    def end(self, reason: Reason) -> None:
        """Cancel the context of the guest; it ends with `GuestEndedError`."""
        if self.ended is None:
            self.ended = reason
            if self._worker is not None:
                self._was_cancelled = True
                self._worker.cancel()

    def begin_work(self) -> None:
        """Note that the present task uses the turn; `end` cancels that. Raises: GuestEndedError."""
        if self.ended is not None:
            raise GuestEndedError(self.ended.what, hint=self.ended.hint)
        self._worker = asyncio.current_task()

    def end_work(self, failure: type[BaseException] | None) -> None:
        """Note that the work has ended, or failed. Raises: GuestEndedError, where `end` cancelled it."""
        worker, self._worker = self._worker, None
        if self._was_cancelled and worker is not None and self.ended is not None:
            is_own = worker.uncancel() == 0  # else others cancel it, too
            if is_own and failure is not None and issubclass(failure, asyncio.CancelledError):
                raise GuestEndedError(self.ended.what, hint=self.ended.hint) from None


class TurnContext(AbstractAsyncContextManager[Turn]):
    """Has a turn while it lasts. It is written out, since one of a generator costs a fifth of a guest's turn."""

    __slots__ = ("_enter", "_leave", "_turn")

    def __init__(self, enter: Callable[[], Awaitable[Turn]], leave: Callable[[Turn], None]) -> None:
        self._enter = enter
        self._leave = leave

    async def __aenter__(self) -> Turn:
        self._turn = await self._enter()
        return self._turn

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._turn.end_work(kind)
        finally:
            self._leave(self._turn)


def find_turn(granted: asyncio.Future[Turn]) -> Turn | None:
    """Return the turn that a guest got; None where it got none."""
    if not granted.done() or granted.cancelled() or granted.exception() is not None:
        return None
    return granted.result()
