"""The turn of one guest: what it holds, and how it is taken away while the guest still uses it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from corral.scheduling.values import Assignment, QueuedTask
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
    failure: str | None = None
    ended: Reason | None = None
    """Why the turn was taken from the guest."""
    is_prepared: bool = False
    """Whether there was room for its model; before, it used none."""
    _limit: asyncio.Timeout | None = field(default=None, repr=False)

    @property
    def because(self) -> str:
        """Why this slot, in a few words."""
        return self.assignment.because

    def fail(self, what: str, scope: FailureScope) -> None:
        """Note that the slot failed the guest."""
        if scope in SLOT_RESTS:
            self.failure = what

    def end(self, reason: Reason) -> None:
        """Cancel the context of the guest; it ends with `GuestEndedError`."""
        if self.ended is None:
            self.ended = reason
            if self._limit is not None:
                self._limit.reschedule(0.0)

    @asynccontextmanager
    async def guard(self) -> AsyncGenerator[None]:
        """Run the turn's work in the context; `end` cancels it. Raises: GuestEndedError."""
        if self.ended is not None:
            raise _make_ended(self.ended)
        limit = self._limit = asyncio.timeout(None)
        try:
            async with limit:
                yield
        except TimeoutError:
            if self.ended is None or not limit.expired():
                raise  # the guest's own
            raise _make_ended(self.ended) from None
        finally:
            self._limit = None


def _make_ended(reason: Reason) -> GuestEndedError:
    return GuestEndedError(reason.what, hint=reason.hint)
