"""A batch goes first when its deadline is near, within the share of its owner; whether it is met is judged."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from corral.cluster.values import QueueOrder
from corral.hours import make_hours
from corral.scheduling.deadlines import Deadline, Verdict, judge
from corral.scheduling.durations import History, observe
from corral.scheduling.explaining import explain
from corral.scheduling.policy import decide
from corral.scheduling.simulator import simulate
from corral.scheduling.simulator.values import Arrival, Trace
from corral.scheduling.values import (
    Decision,
    DurationKey,
    FairShare,
    PolicyBounds,
    Priority,
    Queue,
    Rule,
    TaskClass,
)
from doubles.scheduling_values import NOW, a_place, a_queued, a_running, a_snapshot, ago

HOUR = timedelta(hours=1)
LEAST = timedelta(minutes=30)


def a_deadline(left: timedelta, need: timedelta | None) -> Deadline:
    """A deadline in so much time, of work that takes so long."""
    return Deadline(by=NOW + left, seen_at=NOW, ready_at=None if need is None else NOW + need)


NEAR = {7: a_deadline(3 * HOUR, 2 * HOUR)}


def first_of(*tasks, **changes) -> int:
    """The task that gets the only place."""
    (only,) = decide(a_snapshot(tasks, [a_place()], **changes)).assignments
    return only.task


@pytest.mark.parametrize(
    ("left", "need", "urgent"),
    [
        (9 * HOUR, 4 * HOUR, False),
        (7 * HOUR, 4 * HOUR, True),
        (HOUR / 2, timedelta(0), False),
        (HOUR / 2 - timedelta(seconds=1), timedelta(0), True),
        (HOUR, 5 * HOUR, True),
        (9 * HOUR, None, True),
        (timedelta(0), HOUR, False),
    ],
)
def test_a_batch_is_urgent_with_less_slack_than_it_needs_until_its_deadline(left, need, urgent):
    assert a_deadline(left, need).is_urgent(NOW, LEAST) is urgent


def test_urgent_tasks_go_before_all_other_batch_tasks_of_their_owner():
    critical = a_queued(1, priority=Priority.CRITICAL)
    waiting = a_queued(2, queued_at=ago(7 * 3600))
    urgent = a_queued(3, priority=Priority.IDLE, deadline=7, queued_at=ago(1))
    assert first_of(critical, waiting, urgent, deadlines=NEAR) == 3


def test_a_deadline_that_is_far_or_has_passed_changes_nothing():
    other, timed = a_queued(1), a_queued(2, deadline=7, queued_at=ago(1))
    for left in (30 * HOUR, -HOUR):
        assert first_of(other, timed, deadlines={7: a_deadline(left, 2 * HOUR)}) == 1


def test_of_two_urgent_batches_the_earlier_latest_start_goes_first():
    deadlines = {7: a_deadline(3 * HOUR, 2 * HOUR), 8: a_deadline(4 * HOUR, 3.5 * HOUR)}
    assert first_of(a_queued(1, deadline=7), a_queued(2, deadline=8), deadlines=deadlines) == 2


def test_an_owner_gains_no_share_by_a_deadline():
    urgent, other = a_queued(1, deadline=7), a_queued(2, owner="bob")
    charged = FairShare(charged={"ada": 100.0, "bob": 50.0})
    assert first_of(urgent, other, deadlines=NEAR, fair=charged) == 2


def test_interactive_work_has_half_of_the_time_against_urgent_work():
    urgent, person = a_queued(1, deadline=7), a_queued(2, owner="bob", task_class=TaskClass.INTERACTIVE)
    assert first_of(urgent, person, deadlines=NEAR, fair=FairShare(promoted_lead=31.0)) == 2
    assert first_of(urgent, person, deadlines=NEAR, fair=FairShare(promoted_lead=-31.0)) == 1


def test_a_fifo_queue_goes_by_age_alone():
    fifo = Queue(name="default", order=QueueOrder.FIFO)
    old, urgent = a_queued(1), a_queued(2, deadline=7, queued_at=ago(1))
    (only,) = decide(a_snapshot([old, urgent], [a_place()], [fifo], deadlines=NEAR)).assignments
    assert only.task == 1


@pytest.mark.parametrize(
    ("deadline", "after_all", "verdict"),
    [
        (a_deadline(9 * HOUR, 2 * HOUR), NOW + 8 * HOUR, Verdict.IN_TIME),
        (a_deadline(9 * HOUR, 2 * HOUR), NOW + 10 * HOUR, Verdict.TIGHT),
        (a_deadline(9 * HOUR, 2 * HOUR), None, Verdict.TIGHT),
        (a_deadline(3 * HOUR, 2 * HOUR), NOW + 2 * HOUR, Verdict.TIGHT),
        (a_deadline(1 * HOUR, 2 * HOUR), NOW + 2 * HOUR, Verdict.LATE),
        (a_deadline(1 * HOUR, None), None, Verdict.UNKNOWN),
        (a_deadline(-1 * HOUR, 2 * HOUR), None, Verdict.MISSED),
    ],
)
def test_whether_a_deadline_is_met_is_judged(deadline, after_all, verdict):
    assert judge(deadline, after_all, NOW, LEAST) is verdict


# --- cheap power ----------------------------------------------------------------------------------------------------

CHEAP = make_hours({"daily": ((22 * 60, 30 * 60),)}, zone="UTC")
"""22:00 to 06:00; it is noon."""
BOUNDS = PolicyBounds(cheap_hours=CHEAP)


def waiting(deadline: Deadline | None, **changes) -> Decision:
    task = a_queued(waits_for_cheap=True, deadline=None if deadline is None else 7)
    deadlines = {} if deadline is None else {7: deadline}
    return decide(a_snapshot([task], [a_place()], bounds=BOUNDS, deadlines=deadlines, **changes))


def test_a_task_that_waits_for_cheap_power_starts_within_its_hours_alone():
    decision = waiting(None)
    assert decision.waiting == {1: Rule.CHEAP_HOURS}
    night = waiting(None, now=NOW + 10 * HOUR)
    assert [start.task for start in night.assignments] == [1]


def test_it_starts_at_once_where_cheap_hours_alone_are_too_late():
    cheap_end = NOW + 18 * HOUR
    in_time = replace(a_deadline(19 * HOUR, 6 * HOUR), ready_cheap_at=cheap_end)
    assert waiting(in_time).waiting == {1: Rule.CHEAP_HOURS}
    for late in (
        replace(a_deadline(18 * HOUR, 6 * HOUR), ready_cheap_at=cheap_end),
        replace(a_deadline(19 * HOUR, 6 * HOUR), ready_cheap_at=None),
    ):
        assert [start.task for start in waiting(late).assignments] == [1]


def test_its_explanation_says_from_when_power_is_cheaper():
    snapshot = a_snapshot([a_queued(waits_for_cheap=True)], [a_place()], bounds=BOUNDS)
    explanation = explain(snapshot, 1)
    assert (explanation.rule, explanation.summary) == (
        Rule.CHEAP_HOURS,
        "power is cheaper from 22:00, and it waits for that",
    )
    assert explanation.slots == {"node/gpu0": "free, but power is cheaper from 22:00, and it waits for that"}
    assert explanation.may_start_at == NOW + 10 * HOUR


def test_what_waits_for_cheap_power_is_not_in_the_way_of_others():
    running = a_running(expected_end=NOW + HOUR)
    tasks = a_queued(1, waits_for_cheap=True, queued_at=ago(99)), a_queued(2)
    snapshot = a_snapshot(tasks, [a_place(running=running)], bounds=BOUNDS)
    assert explain(snapshot, 2).may_start_at == NOW + HOUR


def test_others_have_the_slot_meanwhile():
    tasks = a_queued(1, waits_for_cheap=True), a_queued(2, queued_at=ago(1))
    assert [start.task for start in decide(a_snapshot(tasks, [a_place()], bounds=BOUNDS)).assignments] == [2]


def test_a_batch_runs_in_cheap_hours_and_as_much_before_as_its_deadline_asks_for():
    """Ten hours of work, eight cheap hours until the deadline: two hours and the margin run at once."""
    trace = Trace(
        arrivals=tuple(
            Arrival(id=number, at_s=0, owner="ada", engine="llama", model="m", seconds={"*": 600}, deadline=7,
                    waits_for_cheap=True)
            for number in range(60)
        ),
        places=(a_place(),),
        history=observe(History(), DurationKey("llama", "m", "RTX 4090"), 600.0),
        bounds=BOUNDS,
        deadlines={7: NOW + 18 * HOUR},
        start=NOW,
    )  # fmt: skip
    run = simulate(trace)
    assert run.unfinished == ()
    assert max(span.until_s for span in run.spans) <= 18 * 3600
    dear = sum(
        span.until_s - span.from_s for span in run.spans if not CHEAP.is_open(NOW + timedelta(seconds=span.from_s))
    )
    assert 2 * 3600 <= dear <= 3 * 3600
