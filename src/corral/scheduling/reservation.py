"""Tasks that need several GPUs: N slots of one node at once, or a reservation that others can only backfill around.

A reservation takes the N slots of one node that are expected to be free together first. Until then a task can still
use them, if it is expected to end before; a slot that shares a device with a reserved one is bound too where memory
is known, for it could hold the memory that was waited for. Estimates are early rather than late (a late task is
expected to end now), so a reservation is never put off by what was let in. (EASY backfilling: Lifka, "The ANL/IBM SP
scheduling system", 1995, with one reservation per task instead of one in all.)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf

from corral.scheduling.choosing import rate_slot
from corral.scheduling.durations import Expectations
from corral.scheduling.room import Room
from corral.scheduling.values import Gate, QueuedTask, Slot
from corral.work import SlotId


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Slots of one node that are kept for a task, and when all of them should be free."""

    task: int
    slots: tuple[SlotId, ...]
    ready_at: datetime


class Reservations:
    """The reservations of one decision; made anew each time from the same facts."""

    def __init__(self, room: Room) -> None:
        self.held: dict[int, Reservation] = {}
        self._room = room
        self._slots: dict[SlotId, Reservation] = {}
        self._devices: dict[str, datetime] = {}

    def reserve(self, task: QueuedTask) -> Reservation | None:
        """Keep slots for a task that cannot gather them now; None when no node could ever give them."""
        plans = [plan for plan in self._plan_on_each_node(task) if plan]
        if not plans:
            return None
        ready_at, _, _, chosen = min(plans, key=lambda plan: plan[:3])
        reservation = Reservation(task=task.id, slots=tuple(slot.id for slot in chosen), ready_at=ready_at)
        self.held[task.id] = reservation
        for slot in chosen:
            self._slots[slot.id] = reservation
            if self._room.capacity(slot) < inf:
                self._devices[slot.device] = min(ready_at, self._devices.get(slot.device, ready_at))
            self._room.touch(neighbour.id for neighbour in self._room.neighbours(slot))
        return reservation

    def allows(self, slot: Slot, expected_s: float) -> bool:
        """Whether a task of this length can use the slot: not reserved, or it ends before the reservation is ready."""
        if not self._slots:
            return True
        ready_at = self.ready_at(slot)
        return ready_at is None or self._room.now + timedelta(seconds=expected_s) <= ready_at

    def ready_at(self, slot: Slot) -> datetime | None:
        """When the reservation that binds the slot should be ready; None when none does."""
        reservation = self._slots.get(slot.id)
        bounds = [reservation.ready_at] if reservation is not None else []
        if slot.device in self._devices:
            bounds.append(self._devices[slot.device])
        return min(bounds, default=None)

    def _plan_on_each_node(self, task: QueuedTask) -> Iterable[tuple[datetime, str, tuple[SlotId, ...], list[Slot]]]:
        """For each node that could run the task: when, on which slots."""
        avoided = self._room.find_avoided(task)
        able = [
            slot
            for slot in self._room.able(task.queue, task.engine)
            if slot.gate_for(task.engine) is Gate.OPEN and slot.id not in self._slots and slot.id not in avoided
        ]
        for node, slots in group_by_node(able).items():
            ready = {slot.id: self._estimate_ready(slot, task) for slot in slots}
            in_time = sorted(slots, key=lambda slot: (ready[slot.id], slot.id))
            chosen = take_side_by_side(in_time, task, self._room.capacity)
            if chosen:
                yield max(ready[slot.id] for slot in chosen), node, tuple(slot.id for slot in chosen), chosen

    def _estimate_ready(self, slot: Slot, task: QueuedTask) -> datetime:
        room = self._room
        if slot.id not in room.free or room.can_hold(slot, task):
            return room.ends_at(slot)
        busy = [room.ends_at(neighbour) for neighbour in room.neighbours(slot) if neighbour.id not in room.free]
        return min(busy, default=room.now)


def gather(options: Sequence[Slot], task: QueuedTask, room: Room, expectations: Expectations) -> list[Slot]:
    """Choose N free slots of one node, the best by the order of `choosing`; empty when no node has them."""
    choices = {slot.id: rate_slot(slot, task, room, expectations) for slot in options}
    in_order = sorted(options, key=lambda slot: choices[slot.id])
    sets = [take_side_by_side(slots, task, room.left) for slots in group_by_node(in_order).values()]
    complete = [slots_of_node for slots_of_node in sets if slots_of_node]
    return min(complete, key=lambda slots_of_node: [choices[slot.id] for slot in slots_of_node]) if complete else []


def take_side_by_side(slots: Iterable[Slot], task: QueuedTask, memory: Callable[[Slot], float]) -> list[Slot]:
    """Take the first N slots that hold the task together; empty when they do not. A device's slots share its memory."""
    chosen: list[Slot] = []
    taken: Counter[str] = Counter()
    need = task.memory or 0
    for slot in slots:
        if task.memory is None or taken[slot.device] + need <= memory(slot):
            taken[slot.device] += need
            chosen.append(slot)
            if len(chosen) == task.gpus:
                return chosen
    return []


def group_by_node(slots: Iterable[Slot]) -> dict[str, list[Slot]]:
    """Slots of each node, in the order given."""
    nodes: defaultdict[str, list[Slot]] = defaultdict(list)
    for slot in slots:
        nodes[slot.node].append(slot)
    return nodes
