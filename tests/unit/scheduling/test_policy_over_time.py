"""What the policy promises over many decisions, on a queue that is played forward with a clock of its own."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from corral.scheduling.values import DurationKey, PolicyBounds, Priority
from doubles.scheduling_values import NOW, PlayedQueue, a_place, a_queued, a_resident, a_running, gib

SOME = settings(max_examples=40)


def after(seconds: float):
    return NOW + timedelta(seconds=seconds)


def measured(**models: float):
    """Expected seconds of `llama` tasks, by model."""
    return {DurationKey("llama", model, "RTX 4090"): seconds for model, seconds in models.items()}


@SOME
@given(
    seconds=st.sampled_from([1.0, 7.0, 30.0, 100.0, 150.0]),
    delay=st.sampled_from([0, 20, 120]),
    window=st.integers(0, 40),
)
def test_a_stream_to_the_resident_model_cannot_starve_another_task(seconds, delay, window):
    stream = [a_queued(n, model="a", queued_at=after(n * seconds / 2)) for n in range(1, 101)]
    other = a_queued(500, model="b", queued_at=after(seconds / 3))
    place = a_place(resident=(a_resident("a"),))
    bounds = PolicyBounds(affinity_delay=timedelta(seconds=delay), affinity_window=window)
    queue = PlayedQueue({place.id: place}, measured(a=seconds, b=5.0), [*stream, other], bounds)
    queue.play(after(100 * seconds))
    first_chance = after(seconds / 2 + seconds)
    assert queue.started[500] <= first_chance + timedelta(seconds=delay)


@SOME
@given(
    tasks=st.lists(st.tuples(st.integers(0, 900), st.sampled_from("abc")), min_size=10, max_size=60),
    seconds=st.sampled_from([10.0, 30.0, 70.0]),
)
def test_on_one_slot_a_task_is_overtaken_for_at_most_a_turn_of_each_other_model(tasks, seconds):
    arrivals = [a_queued(n, model=model, queued_at=after(at)) for n, (at, model) in enumerate(sorted(tasks), start=1)]
    place = a_place()
    queue = PlayedQueue({place.id: place}, measured(a=seconds, b=seconds, c=seconds), list(arrivals))
    queue.play(after(100_000))
    waits = {task.id: (queue.started[task.id] - task.queued_at).total_seconds() for task in arrivals}
    turn = max(120.0, max(waits.values()) / 2)
    for task in arrivals:
        overtook = [
            other
            for other in arrivals
            if (other.queued_at, other.id) > (task.queued_at, task.id)
            and queue.started[other.id] < queue.started[task.id]
        ]
        assert len(overtook) * seconds <= 2 * turn


def test_tasks_of_two_models_run_model_by_model_instead_of_in_turn():
    tasks = [a_queued(n, model="ab"[n % 2], queued_at=after(-100 + n)) for n in range(1, 13)]
    place = a_place()
    queue = PlayedQueue({place.id: place}, measured(a=10.0, b=10.0), tasks)
    queue.play(after(1000))
    order = ["ab"[task % 2] for task in sorted(queue.started, key=queue.started.__getitem__)]
    assert sum(model != other for model, other in pairwise(order)) == 1


@SOME
@given(flood=st.sampled_from([1.0, 5.0, 20.0]), other=st.sampled_from([1.0, 5.0, 20.0]), count=st.integers(1, 3))
def test_an_owner_who_floods_the_queue_gets_no_more_than_the_other(flood, other, count):
    tasks = [a_queued(n, owner="flood", model="a", queued_at=after(-9)) for n in range(1, 201)]
    tasks += [a_queued(n, owner="other", model="b", queued_at=after(30)) for n in range(501, 621)]
    places = {place.id: place for place in (a_place(f"node/gpu{n}") for n in range(count))}
    queue = PlayedQueue(places, measured(a=flood, b=other), tasks, PolicyBounds(affinity_window=0))
    queue.play(after(90))
    both = [task for task, at in queue.started.items() if after(30 + flood) < at]
    service = {True: 0.0, False: 0.0}
    for task in both:
        service[task > 500] += other if task > 500 else flood
    assert abs(service[True] - service[False]) <= (count + 1) * max(flood, other)


lower_tasks = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 90)), max_size=12)
busy_ends = st.lists(st.one_of(st.none(), st.integers(1, 80)), min_size=3, max_size=6)


@SOME
@given(lower=lower_tasks, ends=busy_ends, gpus=st.integers(2, 3))
def test_backfill_never_delays_the_task_that_gathers_slots(lower, ends, gpus):
    assert start_of_gathering(lower, ends, gpus) <= start_of_gathering([], ends, gpus)


def start_of_gathering(lower, ends, gpus):
    """When a task that needs several GPUs starts, on places that are busy for some seconds, lower tasks around it."""
    tasks = [a_queued(1, gpus=gpus, model="gang", priority=Priority.HIGH, memory=gib(9))]
    tasks += [a_queued(10 + n, model=model, queued_at=after(at), memory=gib(9)) for n, (model, at) in enumerate(lower)]
    places = {}
    for n, end in enumerate(ends):
        running = () if end is None else a_running(900 + n, expected_end=after(end))
        place = a_place(f"{'xy'[n % 2]}/gpu{n}", running=running)
        places[place.id] = place
    if max(len([name for name in places if name[0] == node]) for node in "xy") < gpus:
        return NOW
    queue = PlayedQueue(places, measured(a=5.0, b=30.0, c=200.0, gang=50.0), tasks)
    queue.play(after(1000))
    return queue.started[1]
