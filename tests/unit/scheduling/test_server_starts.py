"""What the start of a server costs is counted where its engine's server does not run."""

from __future__ import annotations

from datetime import timedelta

from corral.scheduling.judgement import Judgement
from corral.scheduling.policy import decide
from corral.scheduling.values import Assignment, DurationKey, PolicyBounds
from corral.work import SlotId
from doubles.scheduling_values import NOW, a_place, a_queued, a_running, a_snapshot, placed

KEY = DurationKey("llama", None, "RTX 4090")
RUNNING, STOPPED = a_place("a/gpu1"), a_place("a/gpu0", starts={"llama": 40.0})


def test_task_goes_where_the_server_runs() -> None:
    decision = decide(a_snapshot([a_queued(1)], [STOPPED, RUNNING], durations={KEY: 10.0}))
    assert placed(decision) == {1: ("a/gpu1",)}


def test_task_is_expected_to_take_the_start_and_its_own_time() -> None:
    (started,) = decide(a_snapshot([a_queued(1)], [STOPPED], durations={KEY: 10.0})).assignments
    (at_once,) = decide(a_snapshot([a_queued(1)], [RUNNING], durations={KEY: 10.0})).assignments
    assert (started.expected_s, at_once.expected_s) == (50.0, 10.0)


def test_task_does_not_slip_in_before_a_reservation_that_its_start_would_delay() -> None:
    big = a_queued(1, gpus=2)
    busy = a_place("a/gpu1", running=a_running(expected_end=NOW + timedelta(seconds=30)))
    small = a_queued(2, owner="bob")
    slow, quick = (
        decide(a_snapshot([big, small], [place, busy], durations={KEY: 10.0})) for place in (STOPPED, a_place("a/gpu0"))
    )
    assert placed(quick) == {2: ("a/gpu0",)}
    assert placed(slow) == {}


def test_what_was_spent_on_a_start_is_charged_and_is_not_what_such_tasks_take() -> None:
    judgement = Judgement(PolicyBounds())
    assignment = Assignment(task=1, places=(SlotId("a/gpu0"),), expected_s=50.0, because="only slot free")

    judgement.learn(KEY, assignment, "ada", 52.0, at=52.0, now=NOW, starting_s=41.0)

    assert judgement.history.expected[KEY] == 11.0
