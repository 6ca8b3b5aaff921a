"""The dispatcher's picture in memory: tasks that can start, attempts that run, slots as the policy sees them.

One task owns it, the dispatcher's loop. It is kept so that a round costs nothing for tasks and slots on which nothing
changed: each change of a slot puts its new view into the table, and the tasks in the backlog are counted as they come
and go, so that they can be compared with the database's without a look at each.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from corral.scheduling.backlog import Backlog
from corral.scheduling.slot_table import SlotTable
from corral.scheduling.values import Assignment, Queue, QueuedTask, RunningTask
from corral.slots.group import Group
from corral.slots.registry import Registry
from corral.slots.values import Hold, HoldKind
from corral.tasks.attempt import StopReason
from corral.tasks.lifecycle import TaskState
from corral.tasks.running import Attempt
from corral.tasks.store.dispatching import RANGE, DueRange, Ready
from corral.tasks.store.transitions import Change


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

    def take(self, tasks: Iterable[Ready], *, now: float) -> list[int]:
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


class Picture:
    """All of it; `wake` is set when the dispatcher has something to do."""

    def __init__(self, slots: Registry, queues: Mapping[str, Queue], *, unknown_s: float) -> None:
        """`unknown_s` is how long a task is expected to take where nothing was measured."""
        self.slots = slots
        self.queues = dict(queues)
        self.table = SlotTable(slots.views(), unknown_s=unknown_s)
        """The policy's view of every slot; a decision reads it as it is."""
        self.ready = ReadyTasks()
        self.attempts: dict[UUID, Attempt] = {}
        self.unwritten: list[Change] = []
        self.wake = asyncio.Event()
        self.news = True
        """Whether the table changed since the board was updated."""
        self._by_task: dict[int, Attempt] = {}

    # --- slots -------------------------------------------------------------------------------------------------------

    def update(self, groups: Iterable[Group]) -> None:
        """Put the views of groups that changed into the table; those that are gone leave it."""
        for group in groups:
            present = self.slots.get(group.id)
            if present is None:
                self.table.remove(group.id)
            else:
                self.table.put(present.view())
        self.news = True

    def refresh(self) -> None:
        """Look at all slots for what changed."""
        for slot in [slot.id for slot in self.table if self.slots.get(slot.id) is None]:
            self.table.remove(slot)
        for slot in self.slots.views():
            if slot not in self.table:
                self.table.put(slot)
        self.news = True

    def occupy(self, assignment: Assignment, *, now: float) -> Attempt:
        """Hold the slots of an assignment, while its lease is committed and its task runs; `now` is monotonic."""
        task = self.ready.pop(assignment.task)
        assert task is not None, "the policy assigns only tasks that it was given"
        groups = tuple(self.slots[slot] for slot in assignment.slots)
        started_at = datetime.now(UTC)
        running = RunningTask(
            task=task.id,
            owner=task.owner,
            queue=task.queue,
            engine=task.engine,
            model=task.model,
            memory=task.memory,
            started_at=started_at,
            expected_end=started_at + timedelta(seconds=assignment.expected_s),
        )
        hold = Hold(kind=HoldKind.TASK, owner=task.owner, label=f"task {task.id}", since=started_at, task=running)
        for group in groups:
            group.hold(hold)
        self.update(groups)
        return Attempt(task, uuid4(), groups, hold, assignment, leased_at=now)

    def vacate(self, attempts: Iterable[Attempt]) -> None:
        """Free the slots of attempts."""
        for attempt in attempts:
            self.slots.release(attempt.groups, attempt.hold)
            self.update(attempt.groups)

    # --- attempts ----------------------------------------------------------------------------------------------------

    @property
    def running_tasks(self) -> Sequence[int]:
        """The tasks that run here."""
        return list(self._by_task)

    def runs(self, task: int) -> bool:
        """Whether an attempt at the task runs here."""
        return task in self._by_task

    def add(self, attempt: Attempt) -> None:
        """Add an attempt that starts."""
        self.attempts[attempt.id] = attempt
        self._by_task[attempt.task.id] = attempt

    def remove(self, attempt: Attempt) -> None:
        """Remove an attempt that has ended."""
        del self.attempts[attempt.id]
        del self._by_task[attempt.task.id]

    def stop(self, task: int, reason: StopReason) -> None:
        """Stop the attempt at a task, if one runs here."""
        if attempt := self._by_task.get(task):
            attempt.stop.set(reason)
