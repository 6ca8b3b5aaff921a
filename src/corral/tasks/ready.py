"""The tasks that may start: those that may now (the backlog) and those that may later (timers).

A timer runs on the monotonic clock from a delay that the database computed, so a clock that jumps moves nothing; when
it ends, the task is read again, and the database decides anew.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from corral.scheduling.backlog import Backlog
from corral.tasks.lifecycle import TaskState
from corral.tasks.store.dispatching import Ready


class ReadyTasks:
    """The dispatcher's picture of what is queued; all instants are seconds of a monotonic clock."""

    def __init__(self) -> None:
        self.backlog = Backlog()
        self._timers: list[tuple[float, int]] = []
        self._timed: dict[int, float] = {}

    def __contains__(self, task: int) -> bool:
        return task in self._timed or task in self.backlog

    @property
    def ids(self) -> frozenset[int]:
        """Every task in the backlog."""
        return frozenset(task.id for task in self.backlog)

    def take(self, found: Iterable[Ready], *, now: float) -> list[int]:
        """Sort tasks in; return those whose start time has come and that are to become queued first."""
        started: list[int] = []
        for ready in found:
            if ready.delay_s > 0:
                self._arm(ready.task.id, now + ready.delay_s)
            elif ready.state is TaskState.WAITING:
                started.append(ready.task.id)
            else:
                self._timed.pop(ready.task.id, None)
                self.backlog.remove(ready.task.id)
                self.backlog.add(ready.task)
        return started

    def drop(self, task: int) -> None:
        """Forget a task that cannot start any more."""
        self._timed.pop(task, None)
        self.backlog.remove(task)

    def due(self, *, now: float) -> list[int]:
        """Take out the tasks whose timers have ended."""
        ended: list[int] = []
        while self._timers and self._timers[0][0] <= now:
            at, task = heapq.heappop(self._timers)
            if self._timed.get(task) == at:
                del self._timed[task]
                ended.append(task)
        return ended

    def next_due(self) -> float | None:
        """Return when the next timer ends."""
        return self._timers[0][0] if self._timers else None

    def _arm(self, task: int, at: float) -> None:
        self.backlog.remove(task)
        self._timed[task] = at
        heapq.heappush(self._timers, (at, task))
