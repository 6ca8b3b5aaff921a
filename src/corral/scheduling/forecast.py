"""When a waiting task may start: the queue played forward in the policy's order, with expected durations.

An estimate. It knows neither what will arrive, nor which tasks a resident model will let pass, nor how fair share will
change once others end; it counts every slot that a task could use as free when its present task is expected to end.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from corral.scheduling.durations import Expectations
from corral.scheduling.fairness import Account
from corral.scheduling.ordering import Line
from corral.scheduling.reasons import usable_slots
from corral.scheduling.reservation import by_node, side_by_side
from corral.scheduling.room import Room
from corral.scheduling.values import Gate, QueuedTask, Slot, Snapshot
from corral.work import SlotId


def may_start_at(snapshot: Snapshot, task: QueuedTask) -> datetime | None:
    """Say when the task is expected to start, if nothing else arrives; None when nothing open could run it."""
    play = _Play(snapshot)
    line = Line(
        [each for each in snapshot.tasks if not play.room.queue(each.queue).paused],
        account=Account(snapshot.fair),
        queues=snapshot.queues,
        settings=snapshot.settings,
        now=snapshot.now,
    )
    while (head := line.head()) is not None:
        slots = play.first_free_for(head)
        if head.id == task.id:
            return max(play.limit_lifts_at(head), *(play.ready[slot.id] for slot in slots)) if slots else None
        if slots:
            line.start(head, play.run(head, slots) * len(slots))
        else:
            line.remove(head)
    return None


class _Play:
    """The slots, and when each is free next."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.room = Room(snapshot)
        self._expectations = Expectations(snapshot.durations, snapshot.settings)
        self.ready: dict[SlotId, datetime] = {slot.id: self.room.ends_at(slot) for slot in self.room.slots}

    def first_free_for(self, task: QueuedTask) -> list[Slot]:
        """The slots of one node that the task could have first; empty when no node could give them."""
        open_slots = [slot for slot in usable_slots(task, self.room) if slot.gate is Gate.OPEN]
        in_time = sorted(open_slots, key=lambda slot: (self.ready[slot.id], slot.id))
        sets = [side_by_side(slots, task, self.room.capacity) for slots in by_node(in_time).values()]
        complete = [each for each in sets if each]
        return min(complete, key=lambda each: self.ready[each[-1].id]) if complete else []

    def limit_lifts_at(self, task: QueuedTask) -> datetime:
        """When the owner's running tasks leave room for one more; now, unless a limit holds it."""
        room = self.room
        if not room.is_limited(task):
            return room.now
        ends = [
            room.ends_at(slot)
            for slot in room.slots
            if slot.running is not None and (slot.running.queue, slot.running.owner) == (task.queue, task.owner)
        ]
        return min(ends, default=room.now)

    def run(self, task: QueuedTask, slots: list[Slot]) -> float:
        """Let the task have the slots, and return its expected seconds."""
        seconds = max(self._expectations.of(task, slot.device_model) for slot in slots)
        end = max(self.ready[slot.id] for slot in slots) + timedelta(seconds=seconds)
        self.ready.update({slot.id: end for slot in slots})
        return seconds
