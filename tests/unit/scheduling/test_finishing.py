"""A slow place stays idle where faster ones will have done everything sooner, and in no other case."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.scheduling.explaining import explain
from corral.scheduling.policy import decide
from corral.scheduling.simulator import simulate
from corral.scheduling.simulator.values import Arrival, Trace
from corral.scheduling.values import DurationKey, Priority, Rule, TaskClass
from doubles.scheduling_values import NOW, a_place, a_queued, a_resident, a_running, a_snapshot, ago, placed

MEASURED = {DurationKey("llama", "a", "fast"): 10.0, DurationKey("llama", "a", "slow"): 60.0}


def asked(waiting: int = 1, *others, ends_in: float = 5.0, durations=MEASURED, **busy):
    """Some tasks wait, a slow place is free, a fast one works with their model."""
    running = a_running(**{"model": "a", "expected_end": NOW + timedelta(seconds=ends_in), **busy})
    places = [
        a_place("node/gpu0", device_model="slow", resident=(a_resident("a"),)),
        a_place("node/gpu1", device_model="fast", running=running),
    ]
    tasks = [a_queued(number, model="a", queued_at=ago(50 - number)) for number in range(1, waiting + 1)]
    return a_snapshot([*tasks, *others], places, durations=durations)


@pytest.mark.parametrize(("waiting", "used"), [(1, False), (5, False), (6, True), (40, True)])
def test_a_slow_slot_is_used_only_while_the_fast_one_could_not_do_all_in_its_time(waiting, used):
    assert bool(decide(asked(waiting)).assignments) is used


def test_what_waits_for_a_faster_slot_says_so():
    snapshot = asked(3)
    assert dict(decide(snapshot).waiting) == dict.fromkeys((1, 2, 3), Rule.FASTER_SOON)
    explanation = explain(snapshot, 2)
    assert explanation.summary.startswith("faster slots should have done all that waits")
    assert explanation.slots["node/gpu0"].startswith("free, but faster slots")


@pytest.mark.parametrize(
    "change",
    [
        {"ends_in": -1.0},  # overdue: it may hang
        {"ends_in": 55.0},
        {"model": "b"},  # it would have to load first
        {"durations": {DurationKey("llama", "a", "slow"): 60.0}},
        {"durations": dict.fromkeys(MEASURED, 10.0)},
    ],
    ids=["overdue", "too late", "another model", "not measured", "of one speed"],
)
def test_a_slow_slot_is_used_where_the_fast_one_is_no_better(change):
    assert placed(decide(asked(1, **change))) == {1: ("node/gpu0",)}


def test_work_of_any_class_that_the_fast_slot_has_to_do_counts():
    others = [a_queued(number, model="a", priority=Priority.IDLE) for number in range(11, 17)]
    urgent = a_queued(10, model="a", task_class=TaskClass.INTERACTIVE)
    assert placed(decide(asked(0, urgent, *others))) == {10: ("node/gpu0",)}
    assert placed(decide(asked(0, urgent, *others[:2]))) == {}


def test_work_that_the_fast_slot_cannot_do_does_not_count():
    elsewhere = [a_queued(number, engine="comfyui", model="a") for number in range(11, 31)]
    assert placed(decide(asked(1, *elsewhere))) == {}


some_images = st.lists(st.tuples(st.integers(0, 200), st.integers(1, 30), st.sampled_from("ab")), max_size=12)


@settings(max_examples=60)
@given(images=some_images, slowness=st.sampled_from([1, 2, 7, 40]), unsteady=st.integers(1, 5))
def test_nothing_is_left_for_ever_whatever_was_expected(images, slowness, unsteady):
    arrivals = tuple(
        Arrival(
            id=number,
            at_s=float(at),
            owner="ada",
            engine="llama",
            model=model,
            seconds={"fast": float(length * (unsteady if number % 3 else 1)), "slow": float(length * slowness)},
        )
        for number, (at, length, model) in enumerate(sorted(images), start=1)
    )
    places = a_place("node/gpu0", device_model="slow"), a_place("node/gpu1", device_model="fast")
    run = simulate(Trace(arrivals=arrivals, places=places))
    assert run.unfinished == ()
    assert len(run.spans) == len(arrivals)
