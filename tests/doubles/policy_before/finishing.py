"""Leaves a slow place idle at the end of a batch, where faster ones will have done everything sooner.

A card that takes 75 s for what another does in 12 s is worth using while much is queued: it adds a sixth. The last
task that it takes, however, ends long after the others, and everybody waits for that one. So a place is too late for a
task when faster places, busy with its model now, are expected to finish every waiting task that they can run, this one
among them, before this place would finish the task alone. Nothing that is queued then ends later than it would have:
when more arrives, there is more to do, and the place is used again.

Only measured durations count, and only places whose present task is not overdue: one that hangs holds nobody up. (What
list scheduling loses to its last task is Graham's, "Bounds on multiprocessing timing anomalies", 1969.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heapreplace

from corral.scheduling.durations import Expectations
from corral.scheduling.values import Gate, Place, QueuedTask
from doubles.policy_before.floor import Floor


class Finishing:
    """Says which places are too late for a task, over one decision."""

    def __init__(
        self,
        *,
        floor: Floor,
        expectations: Expectations,
        tasks: Sequence[QueuedTask],
        has_started: Callable[[int], bool],
    ) -> None:
        self._floor = floor
        self._expectations = expectations
        self._tasks = sorted(tasks, key=lambda task: (task.queued_at, task.id))
        self._has_started = has_started

    def in_time(self, task: QueuedTask, options: list[Place]) -> list[Place]:
        """The places among these free ones that are not too late for the task; places of one speed never are."""
        return [place for place in options if not self.is_too_late(task, place)]

    def is_too_late(self, task: QueuedTask, place: Place) -> bool:
        """Whether faster places would finish everything that waits for them before this one could finish the task."""
        alone_s = self._expectations.measured(task, place.device_model)
        if alone_s is None or place.id == task.prefer_slot:
            return False
        faster = [place for place in self._floor.able(task.queue, task.engine) if self._is_faster(place, task, alone_s)]
        return bool(faster) and self._finish_all(faster, alone_s)

    def _is_faster(self, place: Place, task: QueuedTask, than_s: float) -> bool:
        """Whether a place is busy with the task's model, not overdue, and measured to be faster."""
        if place.gate is not Gate.OPEN or place.id in self._floor.free:
            return False
        seconds = self._expectations.measured(task, place.device_model)
        return (
            seconds is not None
            and seconds < than_s
            and self._floor.works_with(place) == (task.engine, task.model)
            and not self._floor.is_overdue(place)
            and self._floor.fits_ever(place, task)
            and place.id not in task.avoid_slots
        )

    def _finish_all(self, places: Sequence[Place], within_s: float) -> bool:
        """Whether the places would finish all waiting tasks that one of them can run, in less than so many seconds."""
        now = self._floor.now
        ready = [((self._floor.ends_at(place) - now).total_seconds(), place.id, place) for place in places]
        heapify(ready)
        for task in self._tasks:
            if self._has_started(task.id) or not any(self._could_run(place, task) for place in places):
                continue
            at_s, name, place = ready[0]
            at_s += self._expectations.of(task, place.device_model) * task.gpus
            if at_s >= within_s:
                return False
            heapreplace(ready, (at_s, name, place))
        return True

    def _could_run(self, place: Place, task: QueuedTask) -> bool:
        return place in self._floor.able(task.queue, task.engine) and self._floor.fits_ever(place, task)
