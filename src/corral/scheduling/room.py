"""The slots as one decision sees and fills them: which tasks can use which, and what memory is left on each device.

Memory is counted per device, because slots on one device share it. The memory of busy slots cannot be had; residents of
idle slots can be given up. So a task fits when it fits next to the busy ones, and while a decision goes on the room
can only shrink: a task that fits nowhere once need not be looked at again.

The table of the slots is read and left as it is: what this decision gives away is kept here. `touched` and `taken_for`
are logs of it, in order, for what follows the decision at its own pace (`choosing`, `finishing`).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from math import inf
from operator import attrgetter

from corral.scheduling.slot_table import Eligible, SlotTable, Work, is_idle
from corral.scheduling.values import Gate, Owner, Queue, QueuedTask, ResidentModel, Slot, Snapshot
from corral.work import SlotId

Eviction = tuple[SlotId, ResidentModel]

_WILL_SERVE = frozenset({Gate.OPEN, Gate.PAUSED})
"""Gates of slots that will take tasks again without a repair; a drained or unhealthy one will not."""


class Room:
    """The slots of a snapshot, and what has been given away of them so far."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.now = snapshot.now
        self.table = to_table(snapshot)
        self.free = dict(self.table.free)
        self.touched: list[SlotId] = []
        """Free slots that are another choice than before, because something changed on their device."""
        self.stamps: dict[SlotId, int] = {}
        """How often each of them was touched."""
        self._queues = dict(snapshot.queues)
        self._ends: dict[SlotId, datetime] = {}
        self._works: dict[SlotId, Work] = {}
        self._taken_for: defaultdict[Work, list[Slot]] = defaultdict(list)
        self._held: dict[str, int] = {}
        self._residents: dict[SlotId, list[ResidentModel]] = {}
        self._started: Counter[tuple[str, Owner]] = Counter()
        self._eligible: dict[tuple[str, str], Eligible] = {}
        self._able: dict[tuple[str, str], tuple[Slot, ...]] = {}
        self._avoided: dict[tuple[object, ...], frozenset[SlotId]] = {}
        self._alike: dict[SlotId, Hashable] = {}

    @property
    def slots(self) -> list[Slot]:
        """All slots, by id."""
        return sorted(self.table, key=attrgetter("id"))

    def queue(self, name: str) -> Queue:
        """The rules of a queue; default rules where the snapshot does not know it."""
        return self._queues.get(name) or self._queues.setdefault(name, Queue(name=name))

    def eligible(self, queue: str, engine: str) -> Eligible:
        """Slots of the queue's pool where the engine runs, as they were before this decision."""
        eligible = self._eligible.get((queue, engine))
        if eligible is None:
            eligible = self._eligible[queue, engine] = self.table.eligible(self.queue(queue).slots, engine)
        return eligible

    def able(self, queue: str, engine: str) -> tuple[Slot, ...]:
        """Slots of the queue's pool where the engine runs, busy or closed ones too, by id."""
        able = self._able.get((queue, engine))
        if able is None:
            able = tuple(sorted(self.eligible(queue, engine).members.values(), key=attrgetter("id")))
            self._able[queue, engine] = able
        return able

    def is_limited(self, task: QueuedTask) -> bool:
        """Whether the owner runs as many tasks of the queue as it allows."""
        limit = self.queue(task.queue).max_running_per_owner
        return limit is not None and self.count_running(task) >= limit

    def count_running(self, task: QueuedTask) -> int:
        """How many tasks of the same queue the owner runs."""
        return self.table.count_running(task.queue, task.owner) + self._started[task.queue, task.owner]

    def capacity(self, slot: Slot) -> float:
        """Bytes of the slot's device; infinite when unknown."""
        return self.table.devices[slot.device].capacity

    def left(self, slot: Slot) -> float:
        """Bytes that a task could have on the slot, residents of idle slots given up; infinite when unknown."""
        device = self.table.devices[slot.device]
        if device.capacity == inf:
            return inf
        return device.capacity - self._held.get(slot.device, device.held)

    def can_ever_hold(self, slot: Slot, task: QueuedTask) -> bool:
        """Whether the task would fit if the device held nothing else."""
        return task.memory is None or task.memory <= self.capacity(slot)

    def can_hold(self, slot: Slot, task: QueuedTask) -> bool:
        """Whether the task fits next to what busy slots hold; unknown memory fits anywhere."""
        return task.memory is None or task.memory <= self.left(slot)

    def has_an_option(self, task: QueuedTask) -> bool:
        """Whether a free slot fits the task, avoided ones included."""
        free = self.eligible(task.queue, task.engine).free
        return any(name in self.free and self.can_hold(slot, task) for name, slot in free.items())

    def list_options(self, task: QueuedTask) -> list[Slot]:
        """Free slots that the task fits, by id; slots it avoids only where no other slot could ever run it."""
        free = self.eligible(task.queue, task.engine).free
        fitting = [slot for name, slot in sorted(free.items()) if name in self.free and self.can_hold(slot, task)]
        if fitting and task.avoid_slots:
            avoided = self.find_avoided(task)
            return [slot for slot in fitting if slot.id not in avoided]
        return fitting

    def is_option(self, slot: Slot, task: QueuedTask) -> bool:
        """Whether the slot is among the task's options."""
        return (
            slot.id in self.free
            and slot.id in self.eligible(task.queue, task.engine).free
            and self.can_hold(slot, task)
            and slot.id not in self.find_avoided(task)
        )

    def find_avoided(self, task: QueuedTask) -> frozenset[SlotId]:
        """Slots that the task stays away from: none, when no other slot could ever run it."""
        if not task.avoid_slots:
            return frozenset()
        key = (task.queue, task.engine, task.memory, task.gpus, task.avoid_slots)
        avoided = self._avoided.get(key)
        if avoided is None:
            others = (
                slot
                for slot in self.eligible(task.queue, task.engine).members.values()
                if not slot.is_among(task.avoid_slots, task.engine)
                and slot.gate_for(task.engine) in _WILL_SERVE
                and self.can_ever_hold(slot, task)
            )
            avoided = frozenset[SlotId]()
            if has_node_with(others, task.gpus):
                members = self.eligible(task.queue, task.engine).members.values()
                avoided = frozenset(slot.id for slot in members if slot.is_among(task.avoid_slots, task.engine))
            self._avoided[key] = avoided
        return avoided

    def find_preferred(self, task: QueuedTask) -> Slot | None:
        """Find the slot that the task prefers; None when it is not free, or it prefers none."""
        if task.prefer_slot is None:
            return None
        free = self.eligible(task.queue, task.engine).free
        return next((slot for name, slot in free.items() if name in self.free and is_preferred(slot, task)), None)

    def ends_at(self, slot: Slot) -> datetime:
        """When a busy slot is expected to be free; now for a free one and for one that is late."""
        return max(self.now, self._end_of(slot))

    def is_overdue(self, slot: Slot) -> bool:
        """Whether a busy slot's task takes longer than was expected; nothing is known of its end then."""
        return self._end_of(slot) < self.now

    def _end_of(self, slot: Slot) -> datetime:
        if slot.running is not None:
            return self.table.ends_at(slot.running)
        return self._ends.get(slot.id, self.now)

    def works_with(self, slot: Slot) -> Work | None:
        """Engine and model of what a busy slot does, or was just given; None for a free one."""
        if slot.running is not None:
            return slot.running.engine, slot.running.model
        return self._works.get(slot.id)

    def find_working_with(self, work: Work, until: datetime) -> Iterator[Slot]:
        """Slots that work with a model and should be free by then, those given away in this decision last."""
        for by_end in self.table.busy.get(work, {}).values():
            for end, name in by_end:
                if end > until:
                    break
                yield self.table[name]
        yield from (slot for slot in self._taken_for.get(work, ()) if self._ends[slot.id] <= until)

    def taken_for(self, work: Work) -> Sequence[Slot]:
        """Slots given away in this decision to work with a model, in order; it grows while the decision goes on."""
        return self._taken_for[work]

    def neighbours(self, slot: Slot) -> list[Slot]:
        """All slots on the slot's device, itself included, by id."""
        slots = self.table.devices[slot.device].slots
        return list(slots.values()) if len(slots) == 1 else [neighbour for _, neighbour in sorted(slots.items())]

    def alike(self, slot: Slot) -> Hashable:
        """The properties by which free slots are chosen, except their names; equal where the choice is the same."""
        alike = self._alike.get(slot.id)
        if alike is None:
            others = tuple(sorted(resident.memory or 0 for _, resident in self._list_yielded(slot)))
            alike = slot.device_model, self.left(slot), tuple(self._residents_of(slot)), others
            self._alike[slot.id] = alike
        return alike

    def touch(self, slots: Iterable[SlotId]) -> None:
        """Note that free slots are another choice than before."""
        for slot in slots:
            if slot in self.free:
                self.stamps[slot] = self.stamps.get(slot, 0) + 1
                self._alike.pop(slot, None)
                self.touched.append(slot)

    def take(self, slots: Sequence[Slot], task: QueuedTask, expected_s: float) -> tuple[Eviction, ...]:
        """Give free slots that hold the task together to it, and return what must be given up first."""
        evictions: list[Eviction] = []
        for place, slot in enumerate(slots, start=1):
            same_device = sum(later.device == slot.device for later in slots[place:])
            evicted, load = self.plan_evictions(slot, task, still_needed=same_device * (task.memory or 0))
            for loser, resident in evicted:
                self._give_up(loser, resident)
            del self.free[slot.id]
            device = self.table.devices[slot.device]
            self._held[slot.device] = self._held.get(slot.device, device.held) + load
            self._ends[slot.id] = self.now + timedelta(seconds=expected_s)
            self._works[slot.id] = task.engine, task.model
            self._taken_for[task.engine, task.model].append(slot)
            if device.capacity < inf and len(device.slots) > 1:
                self.touch(device.slots)
            evictions += evicted
        self._started[task.queue, task.owner] += 1
        return tuple(evictions)

    def plan_evictions(
        self, slot: Slot, task: QueuedTask, *, still_needed: int = 0
    ) -> tuple[tuple[Eviction, ...], int]:
        """Choose what to give up so that the task fits on the slot, and return the bytes the slot then holds too.

        Nothing is given up where memory is unknown. The slot's own residents go first, then the largest, so that few
        are lost; the task's own model goes last of all. `still_needed` bytes of the device are left for other slots.
        """
        left = self.left(slot) - still_needed
        mine = self._residents_of(slot)
        load = load_of(task, mine)
        if left == inf or task.memory is None:
            return (), load
        others = self._list_yielded(slot)
        if not others and load <= left:
            return (), load
        return self._lose_until_it_fits(slot, task, list(mine), others, left)

    def _lose_until_it_fits(
        self, slot: Slot, task: QueuedTask, mine: list[ResidentModel], others: list[Eviction], left: float
    ) -> tuple[tuple[Eviction, ...], int]:
        """Take away from the slot's residents and its neighbours' until the task fits next to what is left."""
        evicted: list[Eviction] = []
        for loser, resident in _sort_by_loss(slot, task, mine, others):
            if load_of(task, mine) + sum(other.memory or 0 for _, other in others) <= left:
                break
            evicted.append((loser, resident))
            if loser == slot.id:
                mine.remove(resident)
            else:
                others.remove((loser, resident))
        return tuple(evicted), load_of(task, mine)

    def _residents_of(self, slot: Slot) -> Sequence[ResidentModel]:
        """The models that an idle slot could still give up."""
        return self._residents.get(slot.id, slot.resident)

    def _give_up(self, slot: SlotId, resident: ResidentModel) -> None:
        if slot not in self._residents:
            self._residents[slot] = list(self.table[slot].resident)
        self._residents[slot].remove(resident)

    def _list_yielded(self, slot: Slot) -> list[Eviction]:
        """Residents of the other idle slots on the device."""
        slots = self.table.devices[slot.device].slots
        if len(slots) == 1:
            return []
        return [
            (name, resident)
            for name, neighbour in slots.items()
            if name != slot.id and is_idle(neighbour) and name not in self._works
            for resident in self._residents_of(neighbour)
        ]


def to_table(snapshot: Snapshot) -> SlotTable:
    """The table of a snapshot's slots: its own, or one made of them."""
    slots, unknown_s = snapshot.slots, snapshot.settings.unknown_duration_s
    if isinstance(slots, SlotTable) and slots.unknown_s == unknown_s:
        return slots
    return SlotTable(slots, unknown_s=unknown_s)


def is_model_of(resident: ResidentModel, task: QueuedTask) -> bool:
    """Whether the resident is what the task needs loaded."""
    return resident.model == task.model and resident.engine == task.engine


def is_preferred(slot: Slot, task: QueuedTask) -> bool:
    """Whether the slot is the one that the task prefers."""
    return task.prefer_slot is not None and slot.is_among((task.prefer_slot,), task.engine)


def load_of(task: QueuedTask, residents: Iterable[ResidentModel]) -> int:
    """Bytes that the task takes next to these residents of its slot; its own model is not counted twice."""
    own = others = 0
    for resident in residents:
        if is_model_of(resident, task):
            own += resident.memory or 0
        else:
            others += resident.memory or 0
    return others + max(own, task.memory or 0)


def has_node_with(slots: Iterable[Slot], count: int) -> bool:
    """Whether one node has at least this many of the slots."""
    on_node: Counter[str] = Counter()
    for slot in slots:
        on_node[slot.node] += 1
        if on_node[slot.node] >= count:
            return True
    return count <= 0


def _sort_by_loss(
    slot: Slot, task: QueuedTask, mine: Iterable[ResidentModel], others: Iterable[Eviction]
) -> list[Eviction]:
    return sorted(
        (loss for loss in (*((slot.id, resident) for resident in mine), *others) if loss[1].memory),
        key=lambda loss: (
            is_model_of(loss[1], task) and loss[0] == slot.id,
            loss[0] != slot.id,
            -(loss[1].memory or 0),
            loss[0],
            loss[1].engine,
            loss[1].model,
        ),
    )
