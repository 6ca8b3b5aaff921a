"""Nothing starts outside of hours, nor what would not end within them; and a task that waits for them says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.hours import Hours, make_hours
from corral.scheduling.explaining import explain
from corral.scheduling.policy import decide
from corral.scheduling.values import DurationKey, Queue, Rule, Snapshot
from doubles.chances import MANY
from doubles.scheduling_strategies import snapshots, snapshots_with_nodes
from doubles.scheduling_values import NOW, a_place, a_queued, a_running, a_snapshot, placed

HOUR = 3600.0
TAKES = {DurationKey("llama", None, "RTX 4090"): 2 * HOUR}
"""A task takes two hours; it is Sunday, noon."""


def daily(begin: int, end: int, **changes: bool) -> Hours:
    """Hours of each day, in whole hours; an end below its beginning is on the next day."""
    span = (begin * 60, end * 60 if end > begin else (end + 24) * 60)
    return make_hours({"daily": (span,)}, zone="UTC", **changes)


def at(hour: float):
    return NOW.replace(hour=0) + timedelta(hours=hour)


def rule_of(snapshot: Snapshot, task: int = 1) -> Rule:
    return decide(snapshot).waiting[task]


def test_nothing_starts_outside_of_the_hours_of_a_slot():
    snapshot = a_snapshot([a_queued()], [a_place(hours=daily(22, 7))])
    assert placed(decide(snapshot)) == {}
    explanation = explain(snapshot, 1)
    assert (explanation.rule, explanation.summary) == (Rule.OUTSIDE_HOURS, "node/gpu0 opens at 22:00")
    assert explanation.slots == {"node/gpu0": "outside of its hours: node/gpu0 opens at 22:00"}
    assert explanation.may_start_at == at(22)


def test_what_should_end_before_closing_starts_and_what_should_not_waits_for_the_next_opening():
    fits = a_snapshot([a_queued()], [a_place(hours=daily(8, 14))], durations=TAKES)
    assert placed(decide(fits)) == {1: ("node/gpu0",)}
    snapshot = replace(fits, now=NOW + timedelta(seconds=1))
    explanation = explain(snapshot, 1)
    assert explanation.rule is Rule.CLOSES_SOON
    assert explanation.summary == "it is expected to take 2h 00m, and node/gpu0 closes at 14:00"
    assert (
        explanation.slots["node/gpu0"] == "free, but node/gpu0 closes at 14:00, and the task is expected to take longer"
    )
    assert explanation.may_start_at == at(32)


def test_hours_that_interrupt_are_used_to_their_end():
    snapshot = a_snapshot([a_queued()], [a_place(hours=daily(8, 13, interrupt=True))], durations=TAKES)
    assert placed(decide(snapshot)) == {1: ("node/gpu0",)}


@pytest.mark.parametrize(("closes", "rule"), [(13, None), (12.75, Rule.CLOSES_SOON)])
def test_of_an_unknown_task_an_hour_must_be_left(closes: float, rule: Rule | None):
    hours = make_hours({"daily": ((8 * 60, int(closes * 60)),)}, zone="UTC")
    assert decide(a_snapshot([a_queued()], [a_place(hours=hours)])).waiting.get(1) is rule


def test_of_an_unknown_task_half_of_a_short_opening_is_enough():
    hours = make_hours({"daily": ((12 * 60 - 15, 12 * 60 + 15),)}, zone="UTC")
    assert placed(decide(a_snapshot([a_queued()], [a_place(hours=hours)]))) == {1: ("node/gpu0",)}


def test_the_hours_of_a_queue_count_in_addition_to_those_of_slots():
    night = Queue(name="night", hours=daily(20, 23))
    places = [a_place(hours=daily(6, 21))]
    snapshot = a_snapshot([a_queued(queue="night"), a_queued(2)], places, [night])
    decision = decide(snapshot)
    assert placed(decision) == {2: ("node/gpu0",)}
    explanation = explain(snapshot, 1)
    assert (explanation.rule, explanation.summary) == (Rule.OUTSIDE_HOURS, "queue night opens at 20:00")
    assert explanation.may_start_at == at(20)  # unknown: an hour must be left, and the slot closes at 21:00


def test_a_task_that_no_opening_is_long_enough_for_says_what_to_do():
    snapshot = a_snapshot([a_queued()], [a_place(hours=daily(11, 13))], durations={next(iter(TAKES)): 3 * HOUR})
    explanation = explain(snapshot, 1)
    assert explanation.rule is Rule.CLOSES_SOON
    assert explanation.summary == (
        "it is expected to take 3h 00m, and no slot that could run it is open for as long: lengthen `hours`, or set "
        "`interrupt: true`"
    )
    assert explanation.may_start_at is None


def test_a_task_that_says_how_long_it_lasts_is_believed():
    place = a_place(hours=daily(8, 14))
    assert placed(decide(a_snapshot([a_queued(lasts_s=2 * HOUR)], [place]))) == {1: ("node/gpu0",)}
    decision = decide(a_snapshot([a_queued(lasts_s=2 * HOUR + 1), a_queued(2)], [place]))
    assert placed(decision) == {2: ("node/gpu0",)}
    assert decision.waiting == {1: Rule.CLOSES_SOON}


def test_a_slot_without_hours_is_used_next_to_a_closed_one():
    places = [a_place("node/a", hours=daily(22, 7)), a_place("node/b")]
    assert placed(decide(a_snapshot([a_queued(1), a_queued(2)], places))) == {1: ("node/b",)}


def test_a_busy_slot_that_closes_is_not_waited_for():
    """The slow slot is not left idle for a fast one that closes before it could take the task."""
    measured = {DurationKey("llama", "m", "fast"): 60.0, DurationKey("llama", "m", "slow"): 2 * HOUR}
    running = a_running(model="m", expected_end=NOW + timedelta(seconds=30))
    fast = a_place("node/fast", device_model="fast", running=running)
    slow = a_place("node/slow", device_model="slow")
    task = a_queued(model="m")
    assert rule_of(a_snapshot([task], [fast, slow], durations=measured)) is Rule.FASTER_SOON
    closing = replace(fast, hours=daily(8, 13))
    assert placed(decide(a_snapshot([task], [closing, slow], durations=measured))) == {1: ("node/slow",)}


def test_a_preferred_node_that_is_closed_is_not_waited_for():
    near = a_place("near/a", running=a_running(expected_end=NOW + timedelta(seconds=30)), hours=daily(22, 7))
    snapshot = a_snapshot([a_queued(prefer_node="near")], [near, a_place("far/a")])
    assert placed(decide(snapshot)) == {1: ("far/a",)}


def test_several_slots_are_kept_from_their_opening_on():
    places = [a_place("node/a", hours=daily(22, 7)), a_place("node/b")]
    short = {DurationKey("llama", "m", "RTX 4090"): 60.0}
    snapshot = a_snapshot([a_queued(1, gpus=2), a_queued(2, model="m")], places, durations=short)
    assert placed(decide(snapshot)) == {2: ("node/b",)}  # until ten in the evening it is of use to others
    explanation = explain(snapshot, 1)
    assert explanation.rule is Rule.OUTSIDE_HOURS
    assert explanation.may_start_at == at(22)


some_hours = st.one_of(
    st.none(),
    st.builds(
        lambda begin, length, interrupt: make_hours(
            {"daily": ((begin * 60, (begin + length) * 60),)}, zone="UTC", interrupt=interrupt
        ),
        st.integers(0, 23),
        st.integers(1, 23),
        st.booleans(),
    ),
)


@st.composite
def snapshots_with_hours(draw: st.DrawFn) -> Snapshot:
    snapshot = draw(st.one_of(snapshots(), snapshots_with_nodes()))
    places = [replace(place, hours=draw(some_hours)) for place in snapshot.places]
    queues = {name: replace(queue, hours=draw(some_hours)) for name, queue in snapshot.queues.items()}
    return replace(snapshot, places=places, queues=queues)


@MANY
@given(snapshots_with_hours())
def test_whatever_starts_is_within_hours_and_should_end_there(snapshot):
    tasks, places = {task.id: task for task in snapshot.tasks}, {place.id: place for place in snapshot.places}
    for start in decide(snapshot).assignments:
        queue = snapshot.queues.get(tasks[start.task].queue)
        for name in start.places:
            for hours in filter(None, (places[name].hours, queue and queue.hours)):
                opening = hours.find_opening(snapshot.now)
                assert opening.opens_at <= snapshot.now
                ends_at = snapshot.now + timedelta(seconds=start.expected_s)
                assert hours.interrupt or opening.closes_at is None or ends_at <= opening.closes_at


@MANY
@given(snapshots_with_hours())
def test_every_wait_for_hours_has_an_explanation_that_agrees(snapshot):
    decision = decide(snapshot)
    for task in snapshot.tasks:
        explanation = explain(snapshot, task.id)
        assert explanation.rule is decision.waiting.get(task.id, Rule.STARTING)
        assert explanation.summary
        assert all(explanation.slots.values())
        assert explanation.may_start_at is None or explanation.may_start_at >= snapshot.now


@MANY
@given(st.one_of(snapshots(), snapshots_with_nodes()))
def test_hours_that_never_end_change_nothing(snapshot):
    always = make_hours({"daily": ((0, 24 * 60),)}, zone="UTC")
    timed = replace(snapshot, places=[replace(place, hours=always) for place in snapshot.places])
    assert decide(timed).assignments == decide(snapshot).assignments
    assert dict(decide(timed).waiting) == dict(decide(snapshot).waiting)
