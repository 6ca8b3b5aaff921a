"""Tasks that need several GPUs: N slots of one node at once, or a reservation that others may only backfill around.

A reservation takes the N slots of one node that are expected to be free together first. Until then a task may still
use them, if it is expected to end before; a slot that shares a device with a reserved one is bound too where memory
is known, for it could hold the memory that was waited for. Estimates are early rather than late (an overdue task is
expected to end now), so a reservation is never put off by what was let in. (EASY backfilling: Lifka, "The ANL/IBM SP
scheduling system", 1995, with one reservation per task instead of one in all.)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf

from corral.scheduling.durations import Expectations
from corral.scheduling.values import Gate, QueuedTask, Slot
from corral.work import SlotId
from doubles.policy_before.choosing import choice_of
from doubles.policy_before.floor import Floor


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Slots of one node that are kept for a task, and when all of them should be free."""

    task: int
    slots: tuple[SlotId, ...]
    ready_at: datetime


class Reservations:
    """What is reserved in one decision; made anew each time from the same facts."""

    def __init__(self, floor: Floor) -> None:
        self.held: dict[int, Reservation] = {}
        self._floor = floor
        self._slots: dict[SlotId, Reservation] = {}
        self._devices: dict[str, datetime] = {}

    def reserve(self, task: QueuedTask) -> Reservation | None:
        """Keep slots for a task that cannot gather them now; None when no node could ever give them."""
        plans = [plan for plan in self._plans(task) if plan]
        if not plans:
            return None
        ready_at, _, _, chosen = min(plans, key=lambda plan: plan[:3])
        reservation = Reservation(task=task.id, slots=tuple(slot.id for slot in chosen), ready_at=ready_at)
        self.held[task.id] = reservation
        for slot in chosen:
            self._slots[slot.id] = reservation
            if self._floor.capacity(slot) < inf:
                self._devices[slot.device] = min(ready_at, self._devices.get(slot.device, ready_at))
        return reservation

    def allows(self, slot: Slot, expected_s: float) -> bool:
        """Whether a task of this length may use the slot: not reserved, or it ends before the reservation is ready."""
        if not self._slots:
            return True
        ready_at = self.ready_at(slot)
        return ready_at is None or self._floor.now + timedelta(seconds=expected_s) <= ready_at

    def ready_at(self, slot: Slot) -> datetime | None:
        """When the reservation that binds the slot should be ready; None when none does."""
        reservation = self._slots.get(slot.id)
        bounds = [reservation.ready_at] if reservation is not None else []
        if slot.device in self._devices:
            bounds.append(self._devices[slot.device])
        return min(bounds, default=None)

    def _plans(self, task: QueuedTask) -> Iterable[tuple[datetime, str, tuple[SlotId, ...], list[Slot]]]:
        """For each node that could run the task: when, on which slots."""
        avoided = self._floor.avoided(task)
        able = [
            slot
            for slot in self._floor.able(task.queue, task.engine)
            if slot.gate is Gate.OPEN and slot.id not in self._slots and slot.id not in avoided
        ]
        for node, slots in by_node(able).items():
            ready = {slot.id: self._ready(slot, task) for slot in slots}
            in_time = sorted(slots, key=lambda slot: (ready[slot.id], slot.id))
            chosen = side_by_side(in_time, task, self._floor.capacity)
            if chosen:
                yield max(ready[slot.id] for slot in chosen), node, tuple(slot.id for slot in chosen), chosen

    def _ready(self, slot: Slot, task: QueuedTask) -> datetime:
        floor = self._floor
        if slot.id not in floor.free or floor.fits(slot, task):
            return floor.ends_at(slot)
        busy = [floor.ends_at(neighbour) for neighbour in floor.neighbours(slot) if neighbour.id not in floor.free]
        return min(busy, default=floor.now)


def gather(options: Sequence[Slot], task: QueuedTask, floor: Floor, expectations: Expectations) -> list[Slot]:
    """Choose N free slots of one node, the best by the order of `choosing`; empty when no node has them."""
    choices = {slot.id: choice_of(slot, task, floor, expectations) for slot in options}
    in_order = sorted(options, key=lambda slot: choices[slot.id])
    sets = [side_by_side(slots, task, floor.room) for slots in by_node(in_order).values()]
    complete = [each for each in sets if each]
    return min(complete, key=lambda each: [choices[slot.id] for slot in each]) if complete else []


def side_by_side(slots: Iterable[Slot], task: QueuedTask, room: Callable[[Slot], float]) -> list[Slot]:
    """Take the first N slots that hold the task together; empty when they do not. A device's slots share its room."""
    chosen: list[Slot] = []
    taken: Counter[str] = Counter()
    need = task.memory or 0
    for slot in slots:
        if task.memory is None or taken[slot.device] + need <= room(slot):
            taken[slot.device] += need
            chosen.append(slot)
            if len(chosen) == task.gpus:
                return chosen
    return []


def by_node(slots: Iterable[Slot]) -> dict[str, list[Slot]]:
    """Slots of each node, in the order given."""
    nodes: defaultdict[str, list[Slot]] = defaultdict(list)
    for slot in slots:
        nodes[slot.node].append(slot)
    return nodes
