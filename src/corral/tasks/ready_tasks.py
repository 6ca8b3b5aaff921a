"""The tasks that can start, in memory: counted as they come and go, so that they can be compared with the database's.

A comparison looks at the count and the sum of the ids of a range, and at single tasks only where these differ.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

from corral.scheduling.backlog import Backlog
from corral.scheduling.values import QueuedTask, is_guest
from corral.tasks.lifecycle import TaskState
from corral.tasks.store.dispatching import RANGE, DueRange, Ready


class ReadyTasks:
    """The tasks that can start: those that can now (the backlog) and those that can later (timers).

    A task that ran before goes first where its job can still run, so it is in `returning` before it is in the backlog.

    A timer runs on the monotonic clock from a delay that the database computed, so a clock that jumps moves nothing;
    when it ends, the task is read again, and the database decides anew. All instants are seconds of a monotonic clock.
    """

    def __init__(self) -> None:
        self.backlog = Backlog()
        self.returning: dict[int, QueuedTask] = {}
        self._ranges: dict[int, DueRange] = {}
        self._timers: list[tuple[float, int]] = []
        self._timed: dict[int, float] = {}

    def __contains__(self, task: int) -> bool:
        return task in self._timed or task in self.returning or task in self.backlog

    @property
    def ranges(self) -> Mapping[int, DueRange]:
        """The number of tasks that can start now, and the sum of their ids, by range of ids; without empty ranges."""
        return self._ranges

    def list_backlog(self, number: int) -> frozenset[int]:
        """List the ids of one range that can start now."""
        ids = range(number * RANGE, (number + 1) * RANGE)
        return frozenset(task for task in ids if task in self.backlog or task in self.returning)

    def sort_in(self, tasks: Iterable[Ready], *, now: float) -> list[int]:
        """Sort tasks in; return those whose start time has come and that must become queued first."""
        started: list[int] = []
        for ready in tasks:
            if ready.delay_s > 0:
                self._set_timer(ready.task.id, now + ready.delay_s)
            elif ready.state is TaskState.WAITING:
                started.append(ready.task.id)
            else:
                self.drop(ready.task.id)
                if ready.task.prefer_slot is None and not ready.task.returns_to:
                    self.backlog.add(ready.task)
                else:
                    self.returning[ready.task.id] = ready.task
                self._count(ready.task.id, 1)
        return started

    def add_guest(self, guest: QueuedTask) -> None:
        """Let a guest wait among the tasks; it isn't counted, since the database does not know it."""
        self.backlog.add(guest)

    def join_backlog(self, task: int) -> None:
        """Let a task that was to return wait like any other."""
        self.backlog.add(self.returning.pop(task))

    def pop(self, task: int) -> QueuedTask | None:
        """Take a task that can start now and return it; None when it is not there."""
        queued = self.returning.pop(task, None) or self.backlog.remove(task)
        if queued is not None and not is_guest(task):
            self._count(task, -1)
        return queued

    def drop(self, task: int) -> None:
        """Forget a task that cannot start any more."""
        self._timed.pop(task, None)
        self.pop(task)

    def pop_due(self, *, now: float) -> list[int]:
        """Take out the tasks whose timers have ended."""
        ended: list[int] = []
        while self._timers and self._timers[0][0] <= now:
            at, task = heapq.heappop(self._timers)
            if self._timed.get(task) == at:
                del self._timed[task]
                ended.append(task)
        return ended

    def find_next_due(self) -> float | None:
        """Return when the next timer ends."""
        return self._timers[0][0] if self._timers else None

    def _set_timer(self, task: int, at: float) -> None:
        self.pop(task)
        self._timed[task] = at
        heapq.heappush(self._timers, (at, task))

    def _count(self, task: int, step: int) -> None:
        count, total = self._ranges.pop(task // RANGE, (0, 0))
        if count + step:
            self._ranges[task // RANGE] = (count + step, total + step * task)
