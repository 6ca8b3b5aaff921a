"""The tasks that can start, in memory: counted as they come and go, so that they can be compared with the database's.

A comparison looks at the count and the sum of the ids of a range, and at single tasks only where these differ.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping

from corral.scheduling.backlog import Backlog
from corral.scheduling.values import QueuedTask
from corral.tasks.lifecycle import TaskState
from corral.tasks.store.dispatching import RANGE, DueRange, Ready


class ReadyTasks:
    """The tasks that can start: those that can now (the backlog) and those that can later (timers).

    A timer runs on the monotonic clock from a delay that the database computed, so a clock that jumps moves nothing;
    when it ends, the task is read again, and the database decides anew. All instants are seconds of a monotonic clock.
    """

    def __init__(self) -> None:
        self.backlog = Backlog()
        self._ranges: dict[int, DueRange] = {}
        self._timers: list[tuple[float, int]] = []
        self._timed: dict[int, float] = {}

    def __contains__(self, task: int) -> bool:
        return task in self._timed or task in self.backlog

    @property
    def ranges(self) -> Mapping[int, DueRange]:
        """The number of tasks in the backlog, and the sum of their ids, by range of ids; without empty ranges."""
        return self._ranges

    def list_backlog(self, number: int) -> frozenset[int]:
        """List the ids of one range that are in the backlog."""
        return frozenset(task for task in range(number * RANGE, (number + 1) * RANGE) if task in self.backlog)

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
                self.backlog.add(ready.task)
                self._count(ready.task.id, 1)
        return started

    def pop(self, task: int) -> QueuedTask | None:
        """Take a task out of the backlog and return it; None when it is not there."""
        queued = self.backlog.remove(task)
        if queued is not None:
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
