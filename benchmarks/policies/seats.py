"""What every rival needs: the free places of a snapshot, who may sit where, and a decision in the end.

None of the peers knows tasks that need several GPUs. All are given the same extension here, the least that runs them
at all: such a task starts when enough places of one node happen to be free as it is looked at.
"""

from __future__ import annotations

from collections import defaultdict

from corral.scheduling.durations import Expectations
from corral.scheduling.room import Eviction
from corral.scheduling.values import Assignment, Decision, Gate, Place, QueuedTask, Rule, Snapshot, TaskClass
from corral.work import SlotId


class Seats:
    """The free places while one decision gives them away."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._expectations = Expectations(snapshot.durations, snapshot.bounds)
        self.places = sorted(snapshot.places, key=lambda place: place.id)
        self.free = {place.id: place for place in self.places if not place.running and place.gate is Gate.OPEN}
        self._assignments: list[Assignment] = []
        self.seated: set[int] = set()

    def may_use(self, task: QueuedTask, place: Place) -> bool:
        """Whether the task could ever run on the place."""
        queue = self._snapshot.queues.get(task.queue)
        in_pool = queue is None or queue.pool is None or place.id in queue.pool
        fits = task.memory is None or place.capacity is None or task.memory <= place.capacity
        return in_pool and fits and task.engine in place.engines

    def options(self, task: QueuedTask) -> list[Place]:
        """Free places where the task could sit now, by name; those of one node when it needs several."""
        able = [place for place in self.free.values() if self.may_use(task, place)]
        if task.gpus == 1:
            return able
        nodes: defaultdict[str, list[Place]] = defaultdict(list)
        for place in able:
            nodes[place.node].append(place)
        return next((places for places in nodes.values() if len(places) >= task.gpus), list[Place]())

    def seat(self, task: QueuedTask, place: Place | None = None, *, evict: tuple[Eviction, ...] = ()) -> bool:
        """Start the task on the place, or on the first ones it can use; say whether it could."""
        places = [place] if place is not None and task.gpus == 1 else self.options(task)[: task.gpus]
        if len(places) < task.gpus:
            return False
        for given in places:
            del self.free[given.id]
        self.seated.add(task.id)
        expected_s = max(self._expectations.of(task, given.device_model) for given in places)
        names: tuple[SlotId, ...] = tuple(given.id for given in places)
        self._assignments.append(
            Assignment(task=task.id, places=names, evict=evict, expected_s=expected_s, because="rival")
        )
        return True

    def decision(self) -> Decision:
        """What was given away; the rest waits behind others, whatever the reason."""
        waiting = {task.id: Rule.BEHIND_OTHERS for task in self._snapshot.tasks if task.id not in self.seated}
        return Decision(
            assignments=tuple(self._assignments), waiting=waiting, fair=self._snapshot.fair, passed_since={}
        )


def by_age(snapshot: Snapshot) -> list[QueuedTask]:
    """Tasks in order of arrival."""
    return sorted(snapshot.tasks, key=lambda task: (task.queued_at, task.id))


def rank(task: QueuedTask) -> tuple[bool, int]:
    """A peer's one priority: what a person waits for goes first, then the task's own."""
    return task.task_class is TaskClass.BATCH, -task.priority


def holds(place: Place, task: QueuedTask) -> bool:
    """Whether the task's model is in the place's memory."""
    return any(resident.model == task.model and resident.engine == task.engine for resident in place.resident)
