"""What every rival needs: the free slots of a snapshot, who may sit where, and a decision in the end.

None of the peers knows tasks that need several GPUs. All are given the same extension here, the least that runs them
at all: such a task starts when enough slots of one node happen to be free as it is looked at.
"""

from __future__ import annotations

from collections import defaultdict

from corral.scheduling.durations import Expectations
from corral.scheduling.values import Assignment, Decision, Gate, QueuedTask, Rule, Slot, Snapshot, TaskClass
from corral.work import SlotId


class Seats:
    """The free slots while one decision gives them away."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._expectations = Expectations(snapshot.durations, snapshot.settings)
        self.slots = sorted(snapshot.slots, key=lambda slot: slot.id)
        self.free = {slot.id: slot for slot in self.slots if slot.running is None and slot.gate is Gate.OPEN}
        self._assignments: list[Assignment] = []
        self.seated: set[int] = set()

    def may_use(self, task: QueuedTask, slot: Slot) -> bool:
        """Whether the task could ever run on the slot."""
        queue = self._snapshot.queues.get(task.queue)
        in_pool = queue is None or queue.slots is None or slot.id in queue.slots
        fits = task.memory is None or slot.capacity is None or task.memory <= slot.capacity
        return in_pool and fits and task.engine in slot.engines

    def options(self, task: QueuedTask) -> list[Slot]:
        """Free slots where the task could sit now, by name; those of one node when it needs several."""
        found = [slot for slot in self.free.values() if self.may_use(task, slot)]
        if task.gpus == 1:
            return found
        nodes: defaultdict[str, list[Slot]] = defaultdict(list)
        for slot in found:
            nodes[slot.node].append(slot)
        return next((slots for slots in nodes.values() if len(slots) >= task.gpus), list[Slot]())

    def seat(self, task: QueuedTask, slot: Slot | None = None) -> bool:
        """Start the task on the slot, or on the first ones it can use; say whether it could."""
        slots = [slot] if slot is not None and task.gpus == 1 else self.options(task)[: task.gpus]
        if len(slots) < task.gpus:
            return False
        for each in slots:
            del self.free[each.id]
        self.seated.add(task.id)
        expected_s = max(self._expectations.of(task, each.device_model) for each in slots)
        names: tuple[SlotId, ...] = tuple(each.id for each in slots)
        self._assignments.append(Assignment(task=task.id, slots=names, expected_s=expected_s, because="rival"))
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


def holds(slot: Slot, task: QueuedTask) -> bool:
    """Whether the task's model is in the slot's memory."""
    return any(each.model == task.model and each.engine == task.engine for each in slot.resident)
