"""The lifecycle keeps its promises for any history of events."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from corral.scheduling.retrying import BACKOFF_CAP, MAX_LOSSES, backoff
from corral.tasks.lifecycle import (
    ACTIVE,
    TERMINAL,
    TRANSITIONS,
    WAIT_BEFORE_RETURN,
    AttemptFailed,
    AttemptLost,
    CancelRequested,
    Effect,
    Event,
    GivenUp,
    Leased,
    Life,
    NeedFailed,
    NeedMet,
    Released,
    SettleDependents,
    Started,
    StartTimeReached,
    StopAttempt,
    Stopped,
    Succeeded,
    TaskState,
    TransitionRefusedError,
    advance,
    first_state,
)
from corral.work import FailureScope, SlotId

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SLOT = (SlotId("node/gpu0"),)
MINE = UUID(int=1)


def a_life(state: TaskState = TaskState.QUEUED, **changes: object) -> Life:
    active = {"lease": MINE, "slots": SLOT} if state in ACTIVE else {}
    return replace(Life(id=1, state=state), **{**active, **changes})  # type: ignore[arg-type]


class AnyHistory(RuleBasedStateMachine):
    """Walks any sequence of events, refused ones included."""

    @initialize(open_needs=st.integers(0, 2), held=st.booleans(), attempts=st.integers(1, 3))
    def submit(self, open_needs: int, held: bool, attempts: int) -> None:
        not_before = NOW + timedelta(hours=1) if held else None
        state = first_state(open_needs=open_needs, not_before=not_before, now=NOW)
        self.life = Life(id=1, state=state, open_needs=open_needs, not_before=not_before, max_attempts=attempts)
        self.tokens: list[UUID] = []
        self.settled = 0

    def apply(self, event: Event) -> None:
        before = self.life
        try:
            self.life, effects = advance(before, event, now=NOW)
        except TransitionRefusedError:
            assert self.life == before
            return
        assert self.life.state in TRANSITIONS[type(event)][before.state], "the table allows what happened"
        assert before.state not in TERMINAL, "terminal states have no exits"
        self.settled += sum(isinstance(effect, SettleDependents) for effect in effects)

    def token(self, data: st.DataObject) -> UUID:
        return data.draw(st.sampled_from(self.tokens)) if self.tokens else uuid4()

    @rule()
    def need_met(self) -> None:
        self.apply(NeedMet())

    @rule()
    def need_failed(self) -> None:
        self.apply(NeedFailed(7))

    @rule()
    def start_time(self) -> None:
        self.apply(StartTimeReached())

    @rule()
    def lease(self) -> None:
        token = uuid4()
        self.tokens.append(token)
        self.apply(Leased(token, SLOT))

    @rule()
    def give_up(self) -> None:
        self.apply(GivenUp())

    @rule(data=st.data(), kind=st.sampled_from([Started, Succeeded, AttemptLost, Released, Stopped]))
    def attempt(self, data: st.DataObject, kind: type[Event]) -> None:
        self.apply(kind(self.token(data)))  # type: ignore[call-arg]

    @rule(data=st.data(), scope=st.sampled_from(FailureScope), jitter=st.floats(0, 1))
    def fail(self, data: st.DataObject, scope: FailureScope, jitter: float) -> None:
        self.apply(AttemptFailed(self.token(data), scope, jitter))

    @rule()
    def cancel(self) -> None:
        self.apply(CancelRequested())

    @invariant()
    def lease_stands_exactly_with_an_active_state(self) -> None:
        if hasattr(self, "life"):
            assert (self.life.lease is not None) == (self.life.state in ACTIVE)
            assert self.life.state not in ACTIVE or self.life.slots

    @invariant()
    def counts_stay_inside_their_bounds(self) -> None:
        if hasattr(self, "life"):
            assert 0 <= self.life.attempts <= self.life.max_attempts
            assert 0 <= self.life.losses <= MAX_LOSSES
            assert self.life.open_needs >= 0

    @invariant()
    def dependents_are_told_exactly_once_at_the_end(self) -> None:
        if hasattr(self, "life"):
            assert self.settled == (1 if self.life.state in TERMINAL else 0)


TestAnyHistory = AnyHistory.TestCase
TestAnyHistory.settings = settings(max_examples=200, stateful_step_count=30)


def test_result_of_an_old_attempt_is_refused() -> None:
    with pytest.raises(TransitionRefusedError, match="does not own it any more"):
        advance(a_life(TaskState.RUNNING), Succeeded(uuid4()), now=NOW)


def test_failed_attempt_goes_back_with_a_backoff() -> None:
    life, effects = advance(a_life(TaskState.RUNNING), AttemptFailed(MINE, FailureScope.ATTEMPT, 1.0), now=NOW)
    assert (life.state, life.attempts, life.ready_at) == (TaskState.QUEUED, 1, NOW + timedelta(seconds=1))
    assert effects == ()


def test_last_attempt_fails_the_task() -> None:
    last = a_life(TaskState.RUNNING, attempts=2, max_attempts=3)
    life, effects = advance(last, AttemptFailed(MINE, FailureScope.ATTEMPT, 0.0), now=NOW)
    assert (life.state, effects) == (TaskState.FAILED, (SettleDependents(succeeded=False),))


def test_lost_attempt_costs_no_attempt_and_is_remembered() -> None:
    life, _ = advance(a_life(TaskState.RUNNING), AttemptLost(MINE), now=NOW)
    assert (life.state, life.attempts, life.losses, life.lost) == (TaskState.QUEUED, 0, 1, (MINE,))


def test_task_that_kills_every_server_ends() -> None:
    life, _ = advance(a_life(TaskState.RUNNING, losses=MAX_LOSSES - 1), AttemptLost(MINE), now=NOW)
    assert life.state is TaskState.FAILED


@pytest.mark.parametrize("state", [TaskState.WAITING, TaskState.QUEUED])
def test_cancel_ends_a_task_that_does_not_run(state: TaskState) -> None:
    life, _ = advance(a_life(state), CancelRequested(), now=NOW)
    assert life.state is TaskState.CANCELLED


def test_cancel_of_a_running_task_asks_its_attempt_to_stop() -> None:
    life, effects = advance(a_life(TaskState.RUNNING), CancelRequested(), now=NOW)
    wanted: tuple[Effect, ...] = (StopAttempt(MINE),)
    assert (life.state, life.cancel_requested, effects) == (TaskState.RUNNING, True, wanted)


def test_a_task_that_an_engine_has_no_room_for_goes_back_unspent_and_rests() -> None:
    life = a_life(TaskState.RUNNING, attempts=2, losses=19)

    after, effects = advance(life, AttemptFailed(MINE, FailureScope.WAIT, 1.0), now=NOW)

    assert (after.state, after.attempts, after.losses) == (TaskState.QUEUED, 2, 19)
    assert after.ready_at == NOW + WAIT_BEFORE_RETURN
    assert effects == ()


@pytest.mark.parametrize("event", [AttemptLost(MINE), Released(MINE), AttemptFailed(MINE, FailureScope.SLOT, 0.0)])
def test_cancelled_task_does_not_go_back_to_the_queue(event: Event) -> None:
    life, _ = advance(a_life(TaskState.RUNNING, cancel_requested=True), event, now=NOW)
    assert life.state is TaskState.CANCELLED


@pytest.mark.parametrize(
    ("event", "lost"),
    [
        (AttemptLost(MINE), (MINE,)),
        (AttemptFailed(MINE, FailureScope.SLOT, 0.0), (MINE,)),
        (AttemptFailed(MINE, FailureScope.ATTEMPT, 0.0, cut_off=True), (MINE,)),
        (AttemptFailed(MINE, FailureScope.ATTEMPT, 0.0), ()),
        (AttemptFailed(MINE, FailureScope.HERE, 0.0), ()),
        (Released(MINE), ()),
    ],
    ids=str,
)
def test_attempt_whose_job_can_still_run_is_kept(event: Event, lost: tuple[UUID, ...]) -> None:
    life, _ = advance(a_life(TaskState.RUNNING), event, now=NOW)
    assert life.lost == lost


def test_task_that_a_slot_cannot_do_goes_on_at_once_and_spends_nothing() -> None:
    life, effects = advance(a_life(TaskState.RUNNING), AttemptFailed(MINE, FailureScope.HERE, 1.0), now=NOW)
    assert (life.state, life.ready_at, life.attempts, life.losses) == (TaskState.QUEUED, None, 0, 0)
    assert effects == ()


def test_result_that_arrives_before_the_stop_counts() -> None:
    life, _ = advance(a_life(TaskState.RUNNING, cancel_requested=True), Succeeded(MINE), now=NOW)
    assert life.state is TaskState.SUCCEEDED


def test_task_whose_needs_are_met_still_waits_for_its_start_time() -> None:
    later = NOW + timedelta(hours=1)
    life, _ = advance(a_life(TaskState.WAITING, open_needs=1, not_before=later), NeedMet(), now=NOW)
    assert (life.state, life.open_needs) == (TaskState.WAITING, 0)


@given(failures=st.integers(1, 10_000), jitter=st.floats(0, 1))
def test_backoff_is_positive_and_capped(failures: int, jitter: float) -> None:
    assert timedelta(0) < backoff(failures, jitter) <= BACKOFF_CAP
