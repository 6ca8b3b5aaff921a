"""A task's life as a pure function: `advance(life, event, now=...) -> (life, effects)`.

The table `TRANSITIONS` is the single source of what can follow what: the diagram in the documentation is generated from
it, the SQL enum is compared with `TaskState`, and a state machine test walks it. An event that speaks for an attempt
carries that attempt's token; once the token is not the task's lease any more, the event is refused, so an outcome is
taken once, whatever died in between.

Terminal states have no exits. A retry by hand makes a new task.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, assert_never
from uuid import UUID

from corral.errors import CorralError, Kind
from corral.scheduling.retrying import MAX_LOSSES, backoff
from corral.work import FailureScope, SlotId


class TaskState(StrEnum):
    """Where a task is in its life; the SQL enum `task_state` has the same words."""

    WAITING = "waiting"
    QUEUED = "queued"
    LEASED = "leased"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({TaskState.SUCCEEDED, TaskState.FAILED, TaskState.CANCELLED})
ACTIVE = frozenset({TaskState.LEASED, TaskState.RUNNING})

WAIT_BEFORE_RETURN = timedelta(seconds=30)
"""Before a task is placed again that its engine could not take: as long as a slot that works is not checked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """The part of a task that its lifecycle reads and writes."""

    id: int
    state: TaskState
    open_needs: int = 0
    """How many tasks that it needs have not succeeded yet."""
    not_before: datetime | None = None
    """The start time that the user gave."""
    ready_at: datetime | None = None
    """While queued: when its backoff ends; None when it can start at once."""
    attempts: int = 0
    """Attempts that were spent: they failed by themselves."""
    max_attempts: int = 3
    losses: int = 0
    """Attempts that were lost with their server or slot; they are not spent."""
    lease: UUID | None = None
    """The token of the attempt that owns the task now."""
    slots: tuple[SlotId, ...] = ()
    lost: tuple[UUID, ...] = ()
    """Tokens of attempts that were lost or cut off, whose jobs can still run elsewhere, oldest first."""
    cancel_requested: bool = False

    @property
    def can_start_in_time(self) -> bool:
        """Whether only a point in time, if anything, keeps the task from being assigned."""
        return self.state is TaskState.QUEUED or (self.state is TaskState.WAITING and self.open_needs == 0)


# --- events: what happened -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NeedMet:
    """A task that this one needs has succeeded."""


@dataclass(frozen=True, slots=True)
class NeedFailed:
    """A task that this one needs has failed or was cancelled."""

    need: int


@dataclass(frozen=True, slots=True)
class StartTimeReached:
    """The start time that held the task has come."""


@dataclass(frozen=True, slots=True)
class Leased:
    """The dispatcher gave the task to slots."""

    attempt: UUID
    slots: tuple[SlotId, ...]


@dataclass(frozen=True, slots=True)
class Started:
    """The engine began with the attempt."""

    attempt: UUID


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The attempt ended well, and its outputs are in the artifact store."""

    attempt: UUID


@dataclass(frozen=True, slots=True)
class AttemptFailed:
    """The attempt ended badly; `jitter` (0 to 1) spreads the backoff."""

    attempt: UUID
    scope: FailureScope
    jitter: float
    cut_off: bool = False
    """Whether it was stopped before its engine was done, so that its job can still run elsewhere."""


@dataclass(frozen=True, slots=True)
class AttemptLost:
    """The attempt's server died or its lease ran out; its end will not be reported."""

    attempt: UUID


@dataclass(frozen=True, slots=True)
class Released:
    """The attempt was stopped so that the server can stop, or because hours are over; it goes back as it was."""

    attempt: UUID


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The task has waited in the queue for something as long as it can."""


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """A user asked to cancel the task."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """The attempt was stopped because of a cancel request."""

    attempt: UUID


Event = (
    NeedMet
    | NeedFailed
    | StartTimeReached
    | Leased
    | Started
    | Succeeded
    | AttemptFailed
    | AttemptLost
    | Released
    | GivenUp
    | CancelRequested
    | Stopped
)


# --- effects: what to do because of it -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StopAttempt:
    """Cancel the running attempt through its engine."""

    attempt: UUID


@dataclass(frozen=True, slots=True)
class SettleDependents:
    """Settle the tasks that need this one, now that it ended."""

    succeeded: bool


Effect = StopAttempt | SettleDependents


class TransitionRefusedError(CorralError):
    """An event does not apply to the task as it is now; the hint says what it is now."""

    code: ClassVar[str] = "task.transition_refused"
    kind: ClassVar[Kind] = Kind.CONFLICT


S = TaskState
TRANSITIONS: dict[type[Event], dict[TaskState, frozenset[TaskState]]] = {
    NeedMet: {S.WAITING: frozenset({S.WAITING, S.QUEUED})},
    NeedFailed: {S.WAITING: frozenset({S.FAILED})},
    StartTimeReached: {S.WAITING: frozenset({S.QUEUED})},
    Leased: {S.QUEUED: frozenset({S.LEASED})},
    Started: {S.LEASED: frozenset({S.RUNNING})},
    Succeeded: {S.LEASED: frozenset({S.SUCCEEDED}), S.RUNNING: frozenset({S.SUCCEEDED})},
    AttemptFailed: {
        S.LEASED: frozenset({S.QUEUED, S.FAILED, S.CANCELLED}),
        S.RUNNING: frozenset({S.QUEUED, S.FAILED, S.CANCELLED}),
    },
    AttemptLost: {
        S.LEASED: frozenset({S.QUEUED, S.FAILED, S.CANCELLED}),
        S.RUNNING: frozenset({S.QUEUED, S.FAILED, S.CANCELLED}),
    },
    Released: {S.LEASED: frozenset({S.QUEUED, S.CANCELLED}), S.RUNNING: frozenset({S.QUEUED, S.CANCELLED})},
    GivenUp: {S.QUEUED: frozenset({S.FAILED})},
    CancelRequested: {
        S.WAITING: frozenset({S.CANCELLED}),
        S.QUEUED: frozenset({S.CANCELLED}),
        S.LEASED: frozenset({S.LEASED}),
        S.RUNNING: frozenset({S.RUNNING}),
    },
    Stopped: {S.LEASED: frozenset({S.CANCELLED}), S.RUNNING: frozenset({S.CANCELLED})},
}
"""The transitions that exist: event -> state before -> states after."""


def first_state(*, open_needs: int, not_before: datetime | None, now: datetime) -> TaskState:
    """Return the state in which a task enters the queue."""
    held = open_needs > 0 or (not_before is not None and not_before > now)
    return TaskState.WAITING if held else TaskState.QUEUED


def advance(life: Life, event: Event, *, now: datetime) -> tuple[Life, tuple[Effect, ...]]:
    """Apply one event to a task's life.

    Raises: TransitionRefusedError when the event does not apply now: the state has no such transition, or the event
    speaks for an attempt that does not own the task any more.
    """
    _refuse_foreign(life, event)
    match event:
        case NeedMet():
            if life.open_needs == 0:
                raise _refused(life, event, "none of its needs is open")
            return _need_met(life, now), ()
        case NeedFailed() | GivenUp():
            return _end(life, TaskState.FAILED)
        case StartTimeReached():
            if life.open_needs > 0:
                raise _refused(life, event, "tasks it needs are still open")
            return replace(life, state=TaskState.QUEUED), ()
        case Leased(attempt, slots):
            return replace(life, state=TaskState.LEASED, lease=attempt, slots=slots, ready_at=None), ()
        case Started():
            return replace(life, state=TaskState.RUNNING), ()
        case Succeeded():
            return _end(life, TaskState.SUCCEEDED)
        case AttemptFailed(attempt, scope, jitter, cut_off):
            leaves_job = cut_off or scope is FailureScope.SLOT
            return _attempt_failed(
                replace(life, lost=(*life.lost, attempt)) if leaves_job else life, scope, jitter, now
            )
        case AttemptLost(attempt):
            return _lost(replace(life, lost=(*life.lost, attempt)), None)
        case Released():
            return _end(life, TaskState.CANCELLED) if life.cancel_requested else (_requeued(life, None), ())
        case CancelRequested():
            return _cancel_requested(life)
        case Stopped():
            return _end(life, TaskState.CANCELLED)
        case _:
            assert_never(event)


def _refuse_foreign(life: Life, event: Event) -> None:
    if life.state not in TRANSITIONS[type(event)]:
        raise _refused(life, event, f"it is {life.state}")
    attempt = None if isinstance(event, Leased) else getattr(event, "attempt", None)
    if attempt is not None and attempt != life.lease:
        raise _refused(life, event, f"attempt {attempt} does not own it any more")


def _refused(life: Life, event: Event, why: str) -> TransitionRefusedError:
    return TransitionRefusedError(f"{type(event).__name__} does not apply to task {life.id}: {why}")


def _need_met(life: Life, now: datetime) -> Life:
    open_needs = life.open_needs - 1
    state = first_state(open_needs=open_needs, not_before=life.not_before, now=now)
    return replace(life, open_needs=open_needs, state=state)


def _attempt_failed(life: Life, scope: FailureScope, jitter: float, now: datetime) -> tuple[Life, tuple[Effect, ...]]:
    if life.cancel_requested:
        return _end(life, TaskState.CANCELLED)
    if scope is FailureScope.WAIT:
        return _requeued(life, now + WAIT_BEFORE_RETURN * (0.5 + 0.5 * jitter)), ()
    if scope is FailureScope.SLOT:
        return _lost(life, now + backoff(life.losses + 1, jitter))
    if scope is FailureScope.HERE:  # nothing was tried; there are only as many of these as there are slots
        return _requeued(life, None), ()
    spent = replace(life, attempts=life.attempts + 1)
    if scope is FailureScope.TASK or spent.attempts >= spent.max_attempts:
        return _end(spent, TaskState.FAILED)
    return _requeued(spent, now + backoff(spent.attempts, jitter)), ()


def _lost(life: Life, ready_at: datetime | None) -> tuple[Life, tuple[Effect, ...]]:
    if life.cancel_requested:
        return _end(life, TaskState.CANCELLED)
    counted = replace(life, losses=life.losses + 1)
    if counted.losses >= MAX_LOSSES:
        return _end(counted, TaskState.FAILED)
    return _requeued(counted, ready_at), ()


def _requeued(life: Life, ready_at: datetime | None) -> Life:
    return replace(life, state=TaskState.QUEUED, ready_at=ready_at, lease=None, slots=())


def _cancel_requested(life: Life) -> tuple[Life, tuple[Effect, ...]]:
    if life.lease is None:
        return _end(life, TaskState.CANCELLED)
    return replace(life, cancel_requested=True), (StopAttempt(life.lease),)


def _end(life: Life, state: TaskState) -> tuple[Life, tuple[Effect, ...]]:
    ended = replace(life, state=state, lease=None, ready_at=None)
    return ended, (SettleDependents(succeeded=state is TaskState.SUCCEEDED),)
