"""Leaves a slow place idle at the end of a batch, where faster ones will have done everything sooner.

A GPU that takes 75 s for what another does in 12 s is worth using while much is queued: it adds a sixth. The last
task that it takes, however, ends long after the others, and all wait for that one. So a place is too late for a
task when faster places, busy with its model now, are expected to finish every waiting task that they can run, this one
among them, before this place would finish the task alone. Nothing that is queued then ends later than it would have:
when more arrives, there is more to do, and the place is used again.

Only measured durations count, and only places whose present task is not late: one that hangs delays no other. (The
loss of list scheduling to its last task is in Graham, "Bounds on multiprocessing timing anomalies", 1969.)

The waiting tasks are laid out on the faster places one by one only where it is close. Before that, the tasks that the
places have time for are counted as if all took as long as the shortest, then as the longest: the first bounds the
answer from above, the second from below, and where all take the same they meet. The places are kept from one question
to the next, with those that were given away since.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from datetime import datetime
from heapq import heapify, heapreplace
from math import inf
from operator import attrgetter

from corral.scheduling.durations import Expectations
from corral.scheduling.ordering import age
from corral.scheduling.room import Room, is_preferred
from corral.scheduling.values import Gate, Place, QueuedTask
from corral.scheduling.wishes import Wishes

_Kind = tuple[str, str, str | None, str | None, int | None, int]

_kind: Callable[[QueuedTask], _Kind] = attrgetter("queue", "engine", "model", "node", "memory", "gpus")
"""The properties that decide where a waiting task could run, and for how long."""


class Finishing:
    """Finds the places that are too late for a task, over one decision."""

    def __init__(self, *, room: Room, expectations: Expectations, wishes: Wishes, tasks: Sequence[QueuedTask]) -> None:
        self._room = room
        self._expectations = expectations
        self._wishes = wishes
        self._waiting = _Waiting(tasks)
        self._faster: dict[Hashable, _Faster] = {}

    def start(self, task: QueuedTask) -> None:
        """Note that a task no longer waits."""
        self._waiting.remove(task)

    def is_too_late(self, task: QueuedTask, place: Place) -> bool:
        """Whether faster places would finish everything that waits for them before this one could finish the task."""
        alone_s = self._expectations.measured(task, place.device_model)
        if alone_s is None or is_preferred(place, task):
            return False
        if place.node == task.prefer_node:  # elsewhere counts as that much slower
            alone_s -= self._wishes.count_left_s(task)
        key = (*_kind(task), task.avoid_slots, task.refused_slots, alone_s)
        faster = self._faster.get(key)
        if faster is None:
            faster = self._faster[key] = _Faster(task, alone_s, self._room, self._expectations)
        return faster.would_finish(self._waiting)


class _Waiting:
    """The tasks of a decision that have not started; they are counted by kind once a question needs it."""

    def __init__(self, tasks: Sequence[QueuedTask]) -> None:
        self._tasks = tasks
        self._by_age: list[QueuedTask] | None = None
        self._started: set[int] = set()
        self._kinds: dict[_Kind, QueuedTask] | None = None
        self._counts: Counter[_Kind] = Counter()

    def __len__(self) -> int:
        return len(self._tasks) - len(self._started)

    def __iter__(self) -> Iterator[QueuedTask]:
        return (task for task in self._tasks if task.id not in self._started)

    def list_by_age(self) -> Iterator[QueuedTask]:
        """Those that wait, the oldest first, in whatever order the candidates came."""
        if self._by_age is None:
            self._by_age = sorted(self._tasks, key=age)
        return (task for task in self._by_age if task.id not in self._started)

    def remove(self, task: QueuedTask) -> None:
        """Take out a task that starts."""
        self._started.add(task.id)
        if self._kinds is not None:
            self._counts[_kind(task)] -= 1

    def count_by_kind(self) -> Iterator[tuple[_Kind, QueuedTask, int]]:
        """Each kind of which a task waits, with a task of the kind, and how many wait."""
        if self._kinds is None:
            self._kinds = {_kind(task): task for task in self}
            self._counts.update(map(_kind, self))
        return ((kind, task, self._counts[kind]) for kind, task in self._kinds.items() if self._counts[kind])


class _Faster:
    """The lanes that are busy with a task's model, measured to be faster than one that is free, and not late."""

    def __init__(self, task: QueuedTask, alone_s: float, room: Room, expectations: Expectations) -> None:
        self._task = task
        self._alone_s = alone_s
        self._room = room
        self._expectations = expectations
        self._lanes: list[tuple[float, Place]] = []
        """Lanes that work with the model: seconds until each is free, and its place."""
        self._ready_s: dict[str, list[float]] = {}
        """By device model: seconds until each lane is free."""
        self._times: dict[tuple[str, float], tuple[int, int]] = {}
        """How many tasks of so many seconds the first few places of a device model have time for."""
        self._reach: dict[_Kind, int] = {}
        """For kinds that none of the places can run: how many were looked at; for others -1."""
        self._followed = 0
        work = (task.engine, task.model)
        for device_model, by_end in room.table.busy.get(work, {}).items():
            if self._is_faster(device_model):
                for end, name, _ in by_end:
                    if end >= room.now:
                        self._enter(room.table[name], end)

    def would_finish(self, waiting: _Waiting) -> bool:
        """Whether the places would finish all waiting tasks that they can run before the free one finishes this one."""
        self._follow()
        if not self._lanes:
            return False
        count, longest, shortest = 0, 0.0, dict.fromkeys(self._ready_s, inf)
        for kind, task, number in waiting.count_by_kind():
            if self._can_run(kind, task):
                count += number
                for device_model, least in shortest.items():
                    seconds = self._expectations.of(task, device_model) * task.gpus
                    shortest[device_model] = min(least, seconds)
                    longest = max(longest, seconds)
        if count > sum(self._count(device_model, seconds, len(waiting)) for device_model, seconds in shortest.items()):
            return False
        if count <= sum(self._count(device_model, longest, len(waiting)) for device_model in shortest):
            return True
        return self._finish_in_turn(waiting)

    def _follow(self) -> None:
        """Add the lanes that were given away to the model since."""
        given = self._room.lanes.given_for((self._task.engine, self._task.model))
        for place, _, ends_at in given[self._followed :]:
            if self._is_faster(place.device_model):
                self._enter(place, ends_at)
        self._followed = len(given)

    def _is_faster(self, device_model: str) -> bool:
        seconds = self._expectations.measured(self._task, device_model)
        return seconds is not None and seconds < self._alone_s

    def _enter(self, place: Place, ends_at: datetime) -> None:
        """Add a lane that is taken until then, if the task could run there in its turn."""
        task, room = self._task, self._room
        if (
            place.gate_for(task.engine) is Gate.OPEN
            and place.id in room.eligible(task).members
            and room.can_ever_hold(place, task)
            and not place.is_among(task.avoid_slots | task.refused_slots, task.engine)
            and self._stays_open(place)
        ):
            ready_s = (room.lane_ready_at(place, ends_at) - room.now).total_seconds()
            self._lanes.append((ready_s, place))
            self._ready_s.setdefault(place.device_model, []).append(ready_s)

    def _stays_open(self, place: Place) -> bool:
        """Whether the place's hours go on for as long as the slower one would take."""
        closes_at = self._room.closes_at(place.id)
        in_time = closes_at is None or (closes_at - self._room.now).total_seconds() >= self._alone_s
        return in_time and self._room.is_within_hours(place.id)

    def _can_run(self, kind: _Kind, task: QueuedTask) -> bool:
        """Whether one of the places could run a waiting task."""
        looked_at = self._reach.get(kind, 0)
        if looked_at < 0:
            return True
        members = self._room.eligible(task).members
        can_run = any(
            place.id in members and self._room.can_ever_hold(place, task) for _, place in self._lanes[looked_at:]
        )
        self._reach[kind] = -1 if can_run else len(self._lanes)
        return can_run

    def _count(self, device_model: str, seconds: float, most: int) -> int:
        """How many tasks of one length the lanes of a device model finish in time; each at most so many."""
        ready_s = self._ready_s[device_model]
        counted, total = self._times.get((device_model, seconds), (0, 0))
        for at_s in ready_s[counted:]:
            total += _count_in_time(at_s, seconds, self._alone_s, most)
        self._times[device_model, seconds] = len(ready_s), total
        return total

    def _finish_in_turn(self, waiting: _Waiting) -> bool:
        """Lay the waiting tasks out, each on the lane that is free first."""
        ready = [(at_s, place.id, number, place) for number, (at_s, place) in enumerate(self._lanes)]
        heapify(ready)
        for task in waiting.list_by_age():
            if not self._can_run(_kind(task), task):
                continue
            at_s, name, number, place = ready[0]
            at_s += self._expectations.of(task, place.device_model) * task.gpus
            if at_s >= self._alone_s:
                return False
            heapreplace(ready, (at_s, name, number, place))
        return True


def _count_in_time(at_s: float, seconds: float, within_s: float, most: int) -> int:
    """How many tasks one after the other end in less than so many seconds, added up as `_finish_in_turn` does."""
    for count in range(most):
        at_s += seconds
        if at_s >= within_s:
            return count
    return most
