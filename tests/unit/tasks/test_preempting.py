"""For a guest, those tasks are interrupted that lose least, and batch tasks alone."""

from __future__ import annotations

from typing import Any

from corral.scheduling.place_table import PlaceTable
from corral.scheduling.values import Gate, Place, Queue, QueuedTask, TaskClass
from corral.tasks.preempting import choose_interrupted, list_batch
from doubles.scheduling_values import NOW, a_place, a_queued, a_running, ago, gib


def a_guest(**changes: Any) -> QueuedTask:  # changes are the fields of QueuedTask
    return a_queued(-1, **{"model": "m", "task_class": TaskClass.INTERACTIVE, **changes})


def choose(guest: QueuedTask, *places: Place, batch: frozenset[int] = frozenset(range(1, 9))) -> tuple[int, ...]:
    return choose_interrupted([guest], PlaceTable(places), Queue(name="guests"), batch, NOW)


def busy(name: str, task: int, seconds: float, **changes: Any) -> Place:  # changes are the fields of Place
    return a_place(name, running=(a_running(task, started_at=ago(seconds)),), **changes)


def test_task_that_loses_least_is_interrupted():
    assert choose(a_guest(), busy("n/gpu0", 1, 300), busy("n/gpu1", 2, 20), busy("n/gpu2", 3, 100)) == (2,)


def test_task_with_the_guests_model_goes_before_one_that_began_later():
    own = a_place("n/gpu0", running=(a_running(1, model="m", started_at=ago(300)),))
    assert choose(a_guest(), own, busy("n/gpu1", 2, 20)) == (1,)


def test_only_batch_tasks_on_open_slots_that_would_do_are_interrupted():
    assert choose(a_guest(), busy("n/gpu0", 9, 10)) == ()
    assert choose(a_guest(), busy("n/gpu0", 1, 10, gate=Gate.PAUSED)) == ()
    assert choose(a_guest(), busy("n/gpu0", 1, 10, engines=frozenset({"comfyui"}))) == ()
    assert choose(a_guest(refused_slots=frozenset({"n/gpu0"})), busy("n/gpu0", 1, 10)) == ()
    assert choose(a_guest(memory=gib(40)), busy("n/gpu0", 1, 10)) == ()


def test_of_lanes_one_is_interrupted_for_the_same_model_and_all_for_another():
    lanes = {"lanes": {"llama": 2}}
    running = tuple(a_running(task, model="m", started_at=ago(10 * task), lane=task - 1) for task in (1, 2))
    assert choose(a_guest(), a_place("n/gpu0", running=running, **lanes)) == (1,)
    assert choose(a_guest(model="other"), a_place("n/gpu0", running=running, **lanes)) == (1, 2)
    assert choose(a_guest(model="other"), a_place("n/gpu0", running=running, **lanes), batch=frozenset({1})) == ()


def test_tasks_of_several_gpus_and_interactive_ones_go_on():
    tasks = a_queued(1), a_queued(2, gpus=2), a_queued(3, task_class=TaskClass.INTERACTIVE)
    assert list_batch(tasks) == {1}
