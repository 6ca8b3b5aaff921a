"""SwarmUI's rules as a policy: work is bound to a backend before the backend is free.

Each request looks for a backend with room (one job that runs and `over_queue` that wait behind it), the least used
first; one that holds its model is taken at once. A request that finds none adds to its model's pressure: ten times
the requests that wait, plus the seconds that the first of them has waited. A backend with nothing to do is given to
the model with the highest pressure, once that has waited for more than 1.5 s. There is no measured speed, so a job may
be bound to a slow card while a fast one becomes idle.

The policy is asked when something happened and once a second while a place is free. While every place is busy nothing
is bound, where SwarmUI would bind at once: a reading in its favour.
"""

from __future__ import annotations

from collections import defaultdict

from benchmarks.policies.seats import Seats, by_age, holds
from corral.scheduling.values import Decision, Place, QueuedTask, Snapshot
from corral.work import SlotId

WAITS_S = 1.5
"""A model is loaded only after its first request has waited this long, unless one backend alone could load it."""

PRESSURE_PER_REQUEST = 10.0

WAKE_EVERY_S = 1.0
"""How often it is asked again: a request that waits for its 1.5 s is not an event."""

_Model = tuple[str, str | None]


class SwarmUI:
    """Jobs bound to backends, kept from one decision to the next."""

    def __init__(self, *, over_queue: int = 1) -> None:
        self._room = 1 + over_queue
        self._bound: defaultdict[SlotId, list[int]] = defaultdict(list)
        self._model: dict[SlotId, _Model] = {}
        self._uses: defaultdict[SlotId, int] = defaultdict(int)

    def __call__(self, snapshot: Snapshot) -> Decision:
        tasks = {task.id: task for task in snapshot.tasks}
        seats = Seats(snapshot)
        self._forget(tasks, seats)
        bound = {task for line in self._bound.values() for task in line}
        loose = [task for task in by_age(snapshot) if task.id not in bound]
        loose = [task for task in loose if not self._joined(task, seats)]
        self._load(loose, seats, snapshot)
        self._start(tasks, seats)
        for task in loose:
            if task.gpus > 1:
                seats.seat(task)
        return seats.decision()

    def _forget(self, tasks: dict[int, QueuedTask], seats: Seats) -> None:
        """Drop what is no longer queued, and look at what idle backends really hold."""
        for line in self._bound.values():
            line[:] = [task for task in line if task in tasks]
        for place in seats.free.values():
            if not self._bound[place.id] and not place.resident:
                self._model.pop(place.id, None)

    def _joined(self, task: QueuedTask, seats: Seats) -> bool:
        """Bind the task to the least used backend that has its model and room."""
        if task.gpus > 1:
            return False
        ready = [
            place
            for place in seats.places
            if self._holds(place, task) and seats.may_use(task, place) and self._jobs(place) < self._room
        ]
        if not ready:
            return False
        self._bind(task, min(ready, key=lambda place: (self._jobs(place), self._uses[place.id], place.id)))
        return True

    def _load(self, loose: list[QueuedTask], seats: Seats, snapshot: Snapshot) -> None:
        """Give idle backends to the models with the highest pressure, and bind who waits for them."""
        idle = [place for place in seats.free.values() if not self._bound[place.id]]
        while idle and (wanted := self._highest_pressure(loose, idle, seats, snapshot)) is not None:
            able = [place for place in idle if seats.may_use(wanted[0], place)]
            place = min(able, key=lambda place: (bool(place.resident), self._uses[place.id], place.id))
            self._model[place.id] = (wanted[0].engine, wanted[0].model)
            idle.remove(place)
            for task in wanted[: self._room]:
                self._bind(task, place)
                loose.remove(task)

    def _highest_pressure(
        self, loose: list[QueuedTask], idle: list[Place], seats: Seats, snapshot: Snapshot
    ) -> list[QueuedTask] | None:
        """The requests for the model under most pressure that an idle backend may load; None when there is none."""
        waiting: defaultdict[_Model, list[QueuedTask]] = defaultdict(list)
        for task in loose:
            if task.gpus == 1 and any(seats.may_use(task, place) for place in idle):
                waiting[task.engine, task.model].append(task)
        best: tuple[float, list[QueuedTask]] | None = None
        for requests in waiting.values():
            waited_s = (snapshot.now - requests[0].queued_at).total_seconds()
            only_one = sum(seats.may_use(requests[0], place) for place in seats.places) == 1
            pressure = PRESSURE_PER_REQUEST * len(requests) + waited_s
            if (waited_s > WAITS_S or only_one) and (best is None or pressure > best[0]):
                best = pressure, requests
        return best[1] if best is not None else None

    def _start(self, tasks: dict[int, QueuedTask], seats: Seats) -> None:
        for place in list(seats.free.values()):
            line = self._bound[place.id]
            if line and seats.seat(tasks[line[0]], place):
                line.pop(0)

    def _bind(self, task: QueuedTask, place: Place) -> None:
        self._bound[place.id].append(task.id)
        self._uses[place.id] += 1

    def _jobs(self, place: Place) -> int:
        return len(self._bound[place.id]) + len(place.running)

    def _holds(self, place: Place, task: QueuedTask) -> bool:
        known = self._model.get(place.id)
        return known == (task.engine, task.model) if known is not None else holds(place, task)
