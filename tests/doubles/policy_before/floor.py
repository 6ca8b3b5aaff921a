"""The slots as one decision sees and fills them: who may use which, and what memory is left on each device.

Memory is counted per device, because slots on one device share it. What busy slots hold cannot be had; residents of
idle slots can be given up. So a task fits when it fits beside the busy ones, and while a decision goes on the room
can only shrink: a task that fits nowhere once need not be looked at again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from math import inf
from operator import attrgetter

from corral.scheduling.values import Gate, Owner, Queue, QueuedTask, ResidentModel, Slot, Snapshot
from corral.work import SlotId

Eviction = tuple[SlotId, ResidentModel]

_WILL_SERVE = frozenset({Gate.OPEN, Gate.PAUSED})
"""Gates of slots that will take tasks again without a repair; a drained or unhealthy one may never."""


class Floor:
    """The slots of a snapshot, and what has been given away of them so far."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.now = snapshot.now
        self.slots = sorted(snapshot.slots, key=attrgetter("id"))
        self.free = {slot.id: slot for slot in self.slots if is_free(slot)}
        self._queues = dict(snapshot.queues)
        self._unknown = timedelta(seconds=snapshot.settings.unknown_duration_s)
        self._ends: dict[SlotId, datetime] = {}
        self._models: dict[SlotId, tuple[str, str | None]] = {}
        self._able: dict[tuple[str, str], tuple[Slot, ...]] = {}
        self._devices: defaultdict[str, list[Slot]] = defaultdict(list)
        self._capacity: dict[str, int] = {}
        self._held: defaultdict[str, int] = defaultdict(int)
        self._residents: dict[SlotId, list[ResidentModel]] = {}  # of idle slots: these can be given up
        self._running: defaultdict[tuple[str, Owner], set[int]] = defaultdict(set)
        for slot in self.slots:
            self._place(slot)

    def _place(self, slot: Slot) -> None:
        self._devices[slot.device].append(slot)
        if slot.capacity is not None:
            self._capacity[slot.device] = min(slot.capacity, self._capacity.get(slot.device, slot.capacity))
        if slot.running is not None:
            self._running[slot.running.queue, slot.running.owner].add(slot.running.task)
            self._models[slot.id] = slot.running.engine, slot.running.model
            self._ends[slot.id] = slot.running.expected_end or slot.running.started_at + self._unknown
        if slot.running is None and slot.gate is not Gate.UNHEALTHY:
            self._residents[slot.id] = list(slot.resident)
        else:
            self._held[slot.device] += _footprint(slot)

    def queue(self, name: str) -> Queue:
        """The rules of a queue; default rules where the snapshot does not know it."""
        return self._queues.get(name) or self._queues.setdefault(name, Queue(name=name))

    def able(self, queue: str, engine: str) -> tuple[Slot, ...]:
        """Slots of the queue's pool where the engine runs, busy or closed ones too, by id."""
        found = self._able.get((queue, engine))
        if found is None:
            pool = self.queue(queue).slots
            found = tuple(slot for slot in self.slots if engine in slot.engines and (pool is None or slot.id in pool))
            self._able[queue, engine] = found
        return found

    def is_limited(self, task: QueuedTask) -> bool:
        """Whether the owner runs as many tasks of the queue as it allows."""
        limit = self.queue(task.queue).max_running_per_owner
        return limit is not None and self.running(task) >= limit

    def running(self, task: QueuedTask) -> int:
        """How many tasks of the same queue the owner runs."""
        return len(self._running.get((task.queue, task.owner), ()))

    def capacity(self, slot: Slot) -> float:
        """Bytes of the slot's device; infinite when unknown."""
        return self._capacity.get(slot.device, inf)

    def room(self, slot: Slot) -> float:
        """Bytes that a task could have on the slot, residents of idle slots given up; infinite when unknown."""
        capacity = self._capacity.get(slot.device)
        return inf if capacity is None else capacity - self._held[slot.device]

    def fits_ever(self, slot: Slot, task: QueuedTask) -> bool:
        """Whether the task would fit if the device held nothing else."""
        return task.memory is None or task.memory <= self.capacity(slot)

    def fits(self, slot: Slot, task: QueuedTask) -> bool:
        """Whether the task fits beside what busy slots hold; unknown memory fits anywhere."""
        return task.memory is None or task.memory <= self.room(slot)

    def options(self, task: QueuedTask) -> list[Slot]:
        """Free slots that the task fits, by id; slots it avoids only where no other slot could ever run it."""
        found = [slot for slot in self.able(task.queue, task.engine) if slot.id in self.free and self.fits(slot, task)]
        if found and task.avoid_slots:
            avoided = self.avoided(task)
            return [slot for slot in found if slot.id not in avoided]
        return found

    def avoided(self, task: QueuedTask) -> frozenset[SlotId]:
        """Slots that the task stays away from: none, when no other slot could ever run it."""
        if not task.avoid_slots:
            return frozenset()
        others = [
            slot
            for slot in self.able(task.queue, task.engine)
            if slot.id not in task.avoid_slots and slot.gate in _WILL_SERVE and self.fits_ever(slot, task)
        ]
        return task.avoid_slots if has_node_with(others, task.gpus) else frozenset()

    def ends_at(self, slot: Slot) -> datetime:
        """When a busy slot is expected to be free; now for a free one and for one that is overdue."""
        return max(self.now, self._ends.get(slot.id, self.now))

    def is_overdue(self, slot: Slot) -> bool:
        """Whether a busy slot's task takes longer than was expected; nothing is known of its end then."""
        return self._ends.get(slot.id, self.now) < self.now

    def works_with(self, slot: Slot) -> tuple[str, str | None] | None:
        """Engine and model of what a busy slot does, or was just given; None for a free one."""
        return self._models.get(slot.id)

    def neighbours(self, slot: Slot) -> list[Slot]:
        """All slots on the slot's device, itself included, by id."""
        return self._devices[slot.device]

    def take(self, slots: Sequence[Slot], task: QueuedTask, expected_s: float) -> tuple[Eviction, ...]:
        """Give free slots that hold the task together to it, and say what must be given up first."""
        found: list[Eviction] = []
        for place, slot in enumerate(slots, start=1):
            same_device = sum(later.device == slot.device for later in slots[place:])
            evicted, load = self.evictions(slot, task, still_needed=same_device * (task.memory or 0))
            for loser, resident in evicted:
                self._residents[loser].remove(resident)
            del self.free[slot.id], self._residents[slot.id]
            self._held[slot.device] += load
            self._ends[slot.id] = self.now + timedelta(seconds=expected_s)
            self._models[slot.id] = task.engine, task.model
            found += evicted
        self._running[task.queue, task.owner].add(task.id)
        return tuple(found)

    def evictions(self, slot: Slot, task: QueuedTask, *, still_needed: int = 0) -> tuple[tuple[Eviction, ...], int]:
        """What to give up so that the task fits on the slot, and the bytes the slot then holds.

        Nothing is given up where memory is unknown. The slot's own residents go first, then the largest, so that few
        are lost; the task's own model goes last of all. `still_needed` bytes of the device are
        left for other slots.
        """
        room = self.room(slot) - still_needed
        if room == inf or task.memory is None:
            return (), load_of(task, self._residents[slot.id])
        mine = self._residents[slot.id]
        others = self._yielded_by_neighbours(slot)
        load = load_of(task, mine)
        if not others and load <= room:
            return (), load
        return self._losses(slot, task, list(mine), others, room)

    def _losses(
        self, slot: Slot, task: QueuedTask, mine: list[ResidentModel], others: list[Eviction], room: float
    ) -> tuple[tuple[Eviction, ...], int]:
        """Take away from the slot's residents and its neighbours' until the task fits beside what is left."""
        evicted: list[Eviction] = []
        for loser, resident in self._in_order_of_loss(slot, task):
            if load_of(task, mine) + sum(each.memory or 0 for _, each in others) <= room:
                break
            evicted.append((loser, resident))
            if loser == slot.id:
                mine.remove(resident)
            else:
                others.remove((loser, resident))
        return tuple(evicted), load_of(task, mine)

    def _yielded_by_neighbours(self, slot: Slot) -> list[Eviction]:
        """Residents of the other idle slots on the device."""
        return [
            (neighbour.id, resident)
            for neighbour in self._devices[slot.device]
            if neighbour.id != slot.id
            for resident in self._residents.get(neighbour.id, ())
        ]

    def _in_order_of_loss(self, slot: Slot, task: QueuedTask) -> list[Eviction]:
        mine = [(slot.id, resident) for resident in self._residents[slot.id]]
        return sorted(
            (each for each in (*mine, *self._yielded_by_neighbours(slot)) if each[1].memory),
            key=lambda each: (
                is_model_of(each[1], task) and each[0] == slot.id,
                each[0] != slot.id,
                -(each[1].memory or 0),
                each[0],
                each[1].engine,
                each[1].model,
            ),
        )


def is_free(slot: Slot) -> bool:
    """Whether the slot can be given a task now."""
    return slot.running is None and slot.gate is Gate.OPEN


def is_model_of(resident: ResidentModel, task: QueuedTask) -> bool:
    """Whether the resident is what the task needs loaded."""
    return resident.model == task.model and resident.engine == task.engine


def load_of(task: QueuedTask, residents: Iterable[ResidentModel]) -> int:
    """Bytes that the task takes beside these residents of its slot; its own model is not counted twice."""
    own = beside = 0
    for resident in residents:
        if is_model_of(resident, task):
            own += resident.memory or 0
        else:
            beside += resident.memory or 0
    return beside + max(own, task.memory or 0)


def has_node_with(slots: Iterable[Slot], count: int) -> bool:
    """Whether one node has at least this many of the slots."""
    return max(Counter(slot.node for slot in slots).values(), default=0) >= count


def _footprint(slot: Slot) -> int:
    """Bytes that a slot holds and does not give up: its residents, and what runs beyond the model it runs on."""
    running = slot.running
    own = beside = 0
    for resident in slot.resident:
        if running is not None and (resident.engine, resident.model) == (running.engine, running.model):
            own += resident.memory or 0
        else:
            beside += resident.memory or 0
    return beside + max(own, (running.memory or 0) if running is not None else 0)
