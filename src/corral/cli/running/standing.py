"""How the batch stands: the one value that is followed, shown and summarised while it runs."""

from __future__ import annotations

from collections.abc import Iterable

from corral.cli.running.values import ProgressView, SlotView, TaskView


class Standing:
    """Tasks, slots and progress as they were seen last; one per run, changed by its follower alone."""

    def __init__(self) -> None:
        self.tasks: dict[int, TaskView] = {}
        self.slots: dict[str, SlotView] = {}
        self.progress: dict[int, ProgressView] = {}
        self.note = ""
        """What is worth knowing about the connection; empty when all is well."""

    @property
    def all(self) -> list[TaskView]:
        """The tasks, by number."""
        return [self.tasks[id] for id in sorted(self.tasks)]

    @property
    def done(self) -> bool:
        """Whether every task has ended."""
        return bool(self.tasks) and all(task.ended for task in self.tasks.values())

    def take(self, seen: Iterable[TaskView]) -> list[TaskView]:
        """Note how tasks are now; return those that ended since they were seen last."""
        ended: list[TaskView] = []
        for task in seen:
            before = self.tasks.get(task.id)
            if before is not None and before.ended:
                continue  # the end is final: what comes later was only read earlier
            self.tasks[task.id] = task
            if task.ended:
                self.progress.pop(task.id, None)
                ended.append(task)
        return ended

    def show_slots(self, slots: Iterable[SlotView]) -> None:
        """Replace the view of the slots."""
        self.slots = {slot.id: slot for slot in slots}

    def show_progress(self, progress: ProgressView) -> None:
        """Note how far a task is, unless it ended meanwhile."""
        task = self.tasks.get(progress.task)
        if task is None or not task.ended:
            self.progress[progress.task] = progress

    def slots_taking_part(self) -> int:
        """Count the slots that this batch can count on: open ones that run its tasks or nothing; at least 1."""
        usable = [
            slot
            for slot in self.slots.values()
            if slot.gate == "open" and (slot.task is None or slot.task in self.tasks)
        ]
        return max(1, len(usable))
