"""The dispatcher's picture in memory: tasks that can start, attempts that run, slots as the policy sees them.

One task owns it, the dispatcher's loop. It is kept so that a round costs nothing for tasks and slots on which nothing
changed: each change of a slot puts its new view into the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from corral.scheduling.slot_table import SlotTable
from corral.scheduling.values import Assignment, Queue, RunningTask
from corral.slots.group import Group
from corral.slots.registry import Registry
from corral.slots.values import Hold, HoldKind
from corral.tasks.attempt import StopReason
from corral.tasks.ready_tasks import ReadyTasks
from corral.tasks.running import Attempt
from corral.tasks.store.transitions import Change


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
