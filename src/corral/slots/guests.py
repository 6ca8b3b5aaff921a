"""The seam between doors and the queue: a guest asks for a turn on a slot, and has it while its connection lasts.

A guest is never stored. It waits in the policy as an interactive task of its owner; while it has its turn it holds its
slot, as a task does. `corral.gateway` asks, `corral.tasks` decides; they meet here.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Protocol

from corral.errors import CorralError, Kind
from corral.work import Engine, FailureScope, SlotId


@dataclass(frozen=True, slots=True)
class Choice:
    """One way to serve a guest: an engine, and its word for the model."""

    engine: str
    model: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestAsk:
    """The request of a guest."""

    owner: str
    choices: tuple[Choice, ...]
    """Any of them will do; where several could have their turn now, the earlier goes first."""
    label: str
    """For people: `chat llama3.2:latest`."""
    within_s: float | None = None
    """How long it waits at most; None for the cluster file's `scheduling.guestWait`."""
    avoid: frozenset[SlotId] = frozenset()
    """Slots that failed it before."""
    only: frozenset[SlotId] | None = None
    """The only slots that will do; None for any."""
    prefix: str = ""
    """The beginning of its prompt: a server that read the same lately has it in its cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestWait:
    """The state of a wait; a guest gets it whenever it changes."""

    ahead: int | None
    """How many go first; None when unknown."""
    expected_s: float | None
    """Seconds until its turn, from the measured durations; None when unknown."""
    because: str
    """One sentence, lower case."""

    def differs_from(self, before: GuestWait, *, by_s: float) -> bool:
        """Whether it is another wait for a person: fewer seconds than `by_s` do not count."""
        if (before.ahead, before.expected_s is None) != (self.ahead, self.expected_s is None):
            return True
        if self.expected_s is None:
            return before.because != self.because
        return abs((before.expected_s or 0.0) - (self.expected_s or 0.0)) >= by_s


class GuestTurn(Protocol):
    """A guest's turn on a slot."""

    @property
    def slot(self) -> SlotId:
        """The slot that it holds."""
        ...

    @property
    def choice(self) -> Choice:
        """The choice that was taken."""
        ...

    @property
    def engine(self) -> Engine:
        """The engine of the slot."""
        ...

    @property
    def because(self) -> str:
        """Why this slot, in a few words: `model resident`."""
        ...

    def when_measured(self, note: Callable[[float], None]) -> None:
        """Have `note` called with the joules of the turn, some seconds after its end; never where they are unknown."""
        ...

    def fail(self, what: str, scope: FailureScope) -> None:
        """Note that the slot failed the guest; one that is unable to work is checked before anything else uses it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestView:
    """A guest as others see it."""

    owner: str
    label: str
    asked_at: datetime
    slot: SlotId | None = None
    """The slot that it holds; None while it waits."""
    started_at: datetime | None = None
    wait: GuestWait | None = field(default=None)
    """Why it waits; None while it has its turn."""


class GuestDesk(Protocol):
    """Where guests get their turns."""

    def take_turn(
        self, ask: GuestAsk, note: Callable[[GuestWait], None] = lambda _: None
    ) -> AbstractAsyncContextManager[GuestTurn]:
        """Wait for a turn, and hold its slot while the context lasts.

        The context is cancelled when the slot is taken from the guest. Raises: GuestLateError, GuestRefusedError,
        GuestEndedError.
        """
        ...

    def list_guests(self) -> tuple[GuestView, ...]:
        """List the guests that wait and those that have their turn."""
        ...


class GuestLateError(CorralError):
    """The guest would wait longer than it can, or did."""

    code: ClassVar[str] = "guest.late"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY

    def __init__(self, what: str, *, retry_after_s: float, where: str | None = None, hint: str | None = None) -> None:
        """`retry_after_s` is when it is worth to ask again."""
        super().__init__(what, where=where, hint=hint)
        self.retry_after_s = retry_after_s


class GuestRefusedError(CorralError):
    """No slot can serve the guest, now or soon: none has the engine, the model or the memory, or all are closed."""

    code: ClassVar[str] = "guest.refused"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class GuestEndedError(CorralError):
    """The guest's turn ended before its work: its server leads no more, or stops."""

    code: ClassVar[str] = "guest.ended"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE
