"""The part of the queue that the policy is shown stands for the whole of it."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from corral.scheduling.backlog import Backlog
from corral.scheduling.policy import decide
from corral.scheduling.sorted_list import Sorted
from corral.scheduling.values import PolicyBounds, Priority, TaskClass
from doubles.chances import MANY, draw_by_chance
from doubles.scheduling_strategies import snapshots
from doubles.scheduling_values import NOW, a_queued, ago, gib


@MANY
@given(snapshots(most_tasks=6), st.lists(st.integers(0, 5), max_size=30))
def test_a_decision_on_the_candidates_is_the_decision_on_everything(snapshot, copies):
    tasks = list(snapshot.tasks)
    for number, which in enumerate(copies, start=100):
        if which < len(snapshot.tasks):
            copy = snapshot.tasks[which]
            tasks.append(replace(copy, id=number, queued_at=copy.queued_at))
    everything = replace(snapshot, tasks=tuple(tasks))
    backlog = Backlog(tasks)
    shown = backlog.select_candidates(
        NOW, snapshot.bounds, 10_000, free=len(snapshot.places), keep=snapshot.passed_since
    )
    on_shown, on_all = decide(replace(snapshot, tasks=shown)), decide(everything)
    assert on_shown.assignments == on_all.assignments
    assert on_shown.fair == on_all.fair
    assert on_shown.passed_since == on_all.passed_since


def test_each_lane_shows_no_more_than_the_slots_and_the_window_can_use():
    backlog = Backlog(a_queued(n) for n in range(1000))
    bounds = PolicyBounds(affinity_window=5)
    assert len(backlog.select_candidates(NOW, bounds, 512, free=2)) == 8
    assert len(backlog.select_candidates(NOW, bounds, 512)) == 512


def test_a_flood_hides_neither_another_owner_nor_another_engine_nor_a_smaller_task():
    flood = [a_queued(n, owner="flood", memory=gib(20), queued_at=ago(500)) for n in range(1, 2000)]
    others = [a_queued(5001, owner="bob"), a_queued(5002, owner="flood", engine="piper"), a_queued(5003, owner="flood")]
    shown = {task.id for task in Backlog([*flood, *others]).select_candidates(NOW, PolicyBounds(), 50)}
    assert {5001, 5002, 5003} <= shown
    assert len(shown) == 50


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "bob"},
        {"queue": "night"},
        {"engine": "piper"},
        {"model": "m"},
        {"memory": gib(1)},
        {"gpus": 2},
        {"task_class": TaskClass.INTERACTIVE},
        {"priority": Priority.LOW},
        {"prefer_slot": "node/gpu0"},
        {"avoid_slots": frozenset({"node/gpu0"})},
        {"refused_slots": frozenset({"node/gpu0"})},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_task_that_differs_in_anything_but_age_is_not_hidden_behind_older_ones(change):
    newest = a_queued(9000, **{"queued_at": ago(1), **change})
    backlog = Backlog([*(a_queued(n, queued_at=ago(500)) for n in range(1, 200)), newest])
    assert newest in backlog.select_candidates(NOW, PolicyBounds(), 20)


def distinct_lanes(count: int):
    """Tasks of which no two are interchangeable."""
    return [a_queued(n, owner="flood", memory=gib(n), queued_at=ago(1000)) for n in range(1, count + 1)]


@pytest.mark.parametrize(
    "task",
    [
        a_queued(9000, owner="zoe"),
        a_queued(9000, owner="flood", priority=Priority.HIGH),
        a_queued(9000, owner="flood", task_class=TaskClass.INTERACTIVE),
        a_queued(9000, owner="flood", priority=Priority.IDLE, queued_at=ago(4000)),
    ],
    ids=["another owner", "a higher priority", "a person waits", "past its bound"],
)
def test_more_lanes_than_places_lose_neither_share_nor_rank_nor_promotion(task):
    shown = Backlog([*distinct_lanes(300), task]).select_candidates(NOW, PolicyBounds(), 30)
    assert len(shown) == 30
    assert task in shown


def test_tasks_to_keep_are_shown_in_any_case():
    shown = Backlog(distinct_lanes(300)).select_candidates(NOW, PolicyBounds(), 30, keep=[250, 777])
    assert 250 in {task.id for task in shown}


def test_a_task_added_again_replaces_the_first():
    backlog = Backlog([a_queued(1, owner="ada")])
    backlog.add(a_queued(1, owner="bob"))
    assert len(backlog) == 1
    assert [task.owner for task in backlog.select_candidates(NOW, PolicyBounds(), 9)] == ["bob"]


def test_removing_a_task_that_is_not_queued_changes_nothing():
    backlog = Backlog([a_queued(1)])
    assert backlog.remove(2) is None
    assert (len(backlog), backlog.get(1), backlog.get(2)) == (1, a_queued(1), None)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 8), st.sampled_from("ab"), st.integers(0, 5), st.booleans()), max_size=40))
def test_any_history_leaves_what_was_added_and_not_removed(history):
    backlog, expected = Backlog(), {}
    for number, owner, age, is_added in history:
        if is_added:
            expected[number] = a_queued(number, owner=owner, queued_at=ago(age))
            backlog.add(expected[number])
        else:
            assert backlog.remove(number) == expected.pop(number, None)
    assert {task.id: task for task in backlog} == expected
    assert {task.id: task for task in backlog.select_candidates(NOW, PolicyBounds(), 1)}.keys() <= expected.keys()
    assert {task.id: task for task in backlog.select_candidates(NOW, PolicyBounds(), 99)} == expected


def shuffled_numbers(chance: Random) -> list[int]:
    """More numbers than one block of a sorted list holds, each once."""
    return chance.sample(range(20_000), chance.randint(1200, 2500))


@MANY
@given(draw_by_chance(shuffled_numbers))
def test_items_come_in_order_whatever_was_added_and_removed(order):
    kept = Sorted[int]()
    for item in order:
        kept.add(item)
    for item in order[::3]:
        kept.remove(item)
    left = sorted(set(order) - set(order[::3]))
    assert (list(kept), len(kept), kept.first()) == (left, len(left), left[0])
