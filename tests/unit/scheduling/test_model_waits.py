"""A task is given up when its model was on no server for as long as it can wait, and not before."""

from __future__ import annotations

from datetime import timedelta

from corral.scheduling.backlog import Backlog
from corral.scheduling.model_waits import ModelWaits
from corral.scheduling.room import Room
from corral.scheduling.values import Place, Queue, QueuedTask
from doubles.scheduling_values import NOW, a_place, a_queued, a_snapshot

WAIT_S = 86_400.0
LOOK_S = 3600.0


def a_server(*models: str, **changes: object) -> Place:
    return a_place(engines=frozenset({"ollama"}), models={"ollama": frozenset(models)}, **changes)


def a_chat(number: int, *, queued_s: float = 0.0, model: str = "large") -> QueuedTask:
    return a_queued(number, engine="ollama", model=model, queued_at=NOW + timedelta(seconds=queued_s))


class Waiting:
    """A queue that is looked at each hour."""

    def __init__(self, *tasks: QueuedTask) -> None:
        self.backlog = Backlog(tasks)
        self.waits = ModelWaits()
        self.now = 1_000.0

    def look(self, *places: Place, **queue: bool) -> list[int]:
        room = Room(a_snapshot(places=places, queues=[Queue(name="default", **queue)]))
        given_up = list(self.waits.find_given_up(self.backlog, room, wait_s=WAIT_S, now=self.now))
        for task in given_up:
            self.backlog.remove(task.id)
        self.now += LOOK_S
        return [task.id for task in given_up]

    def look_for(self, hours: int, *places: Place) -> list[int]:
        return [task for _ in range(hours) for task in self.look(*places)]


def test_tasks_wait_their_whole_time_and_are_then_given_up_together() -> None:
    queue = Waiting(*(a_chat(number, queued_s=number) for number in range(5)), a_chat(9, model="small"))

    assert queue.look_for(24, a_server("small")) == []
    assert queue.look(a_server("small")) == [0, 1, 2, 3, 4]
    assert queue.look_for(48, a_server("small")) == []


def test_a_task_that_comes_later_has_its_own_time() -> None:
    queue = Waiting(a_chat(1))
    queue.look_for(12, a_server())
    queue.backlog.add(a_chat(2, queued_s=12 * LOOK_S))

    assert queue.look_for(13, a_server()) == [1]
    assert queue.look_for(11, a_server()) == []
    assert queue.look_for(2, a_server()) == [2]


def test_an_old_task_is_not_given_up_when_its_model_has_just_gone() -> None:
    queue = Waiting(a_chat(1, queued_s=-30 * WAIT_S))
    queue.look_for(48, a_server("large"))

    assert queue.look_for(24, a_server()) == []
    assert queue.look_for(1, a_server()) == [1]


def test_no_time_runs_while_the_model_is_there_or_a_server_is_unknown_or_the_queue_is_paused() -> None:
    away = a_place("node/gpu1", engines=frozenset(), engine_problems={"ollama": "it does not answer"})
    for places, paused in (((a_server("large"),), False), ((a_server(), away), False), ((a_server(),), True)):
        queue = Waiting(a_chat(1))
        queue.look_for(20, a_server())
        assert queue.look(*places, paused=paused) == []
        assert queue.look_for(24, a_server()) == []
        assert queue.look_for(1, a_server()) == [1]
