"""The slots with the indices that a decision needs, kept from one decision to the next.

The owner of the slots puts in each that changed; a decision reads the table, never changes it (`room` has what a
decision gives away), and costs nothing for slots on which nothing changed. A plain collection of slots works as well:
the policy then builds a table of it, in time that grows with their number.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf

from corral.scheduling.sorted_list import Sorted
from corral.scheduling.values import Gate, Owner, RunningTask, Settings, Slot
from corral.work import SlotId

Work = tuple[str, str | None]
"""An engine and the model that it works with."""

Pool = frozenset[SlotId] | None

_MOST_POOLS = 256
"""Pools with an engine that are kept at once; pools of queues that were edited away must not add up."""


@dataclass(slots=True)
class Device:
    """The memory that the slots of one device share."""

    slots: dict[SlotId, Slot] = field(default_factory=dict[SlotId, Slot])
    capacity: float = inf
    """Bytes; infinite when unknown."""
    held: int = 0
    """Bytes that cannot be had: of busy slots and unhealthy ones."""


@dataclass(slots=True)
class Eligible:
    """The slots of a pool where an engine runs."""

    members: dict[SlotId, Slot]
    """Busy and closed ones too."""
    free: dict[SlotId, Slot]


class SlotTable(Collection[Slot]):
    """Slots by id. It reads no clock; one owner changes it, between decisions.

    `unknown_s` is how long a task is expected to take where nothing was measured (`Settings.unknown_duration_s`).
    """

    def __init__(self, slots: Iterable[Slot] = (), *, unknown_s: float = Settings().unknown_duration_s) -> None:
        self.unknown_s = unknown_s
        self.free: dict[SlotId, Slot] = {}
        self.devices: dict[str, Device] = {}
        self.busy: dict[Work, dict[str, Sorted[tuple[datetime, SlotId]]]] = {}
        """By what they work with and by device model: when they are expected to be free, soonest first."""
        self._slots: dict[SlotId, Slot] = {}
        self._running: dict[tuple[str, Owner], dict[int, int]] = {}
        self._eligible: dict[tuple[Pool, str], Eligible] = {}
        for slot in slots:
            self.put(slot)

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[Slot]:
        return iter(self._slots.values())

    def __contains__(self, slot: object) -> bool:
        return isinstance(slot, Slot) and self._slots.get(slot.id) == slot

    def __getitem__(self, slot: SlotId) -> Slot:
        return self._slots[slot]

    def put(self, slot: Slot) -> None:
        """Put a slot in, in place of the one with the same id."""
        known = self._slots.get(slot.id)
        if known is slot:
            return
        if known is not None:
            self._take_out(known)
        self._slots[slot.id] = slot
        self._put_in(slot)

    def remove(self, slot: SlotId) -> None:
        """Take a slot out; one that is not there is ignored."""
        known = self._slots.pop(slot, None)
        if known is None:
            return
        self._take_out(known)
        for eligible in self._eligible.values():
            eligible.members.pop(slot, None)

    def replace(self, slots: Collection[Slot]) -> None:
        """Make these all the slots; it costs a comparison of identity for each that did not change."""
        known = self._slots
        for slot in slots:
            if known.get(slot.id) is not slot:
                self.put(slot)
        if len(known) != len(slots):
            for gone in known.keys() - {slot.id for slot in slots}:
                self.remove(gone)

    def eligible(self, pool: Pool, engine: str) -> Eligible:
        """The slots of a pool (None: of all) where the engine runs."""
        eligible = self._eligible.get((pool, engine))
        if eligible is None:
            if len(self._eligible) >= _MOST_POOLS:
                self._eligible.clear()
            members = {
                slot.id: slot
                for slot in self._slots.values()
                if engine in slot.engines and (pool is None or slot.is_among(pool, engine))
            }
            free = {name: slot for name, slot in members.items() if is_free(slot) and engine not in slot.closed}
            eligible = self._eligible[pool, engine] = Eligible(members, free)
        return eligible

    def count_running(self, queue: str, owner: Owner) -> int:
        """How many tasks of a queue an owner runs."""
        return len(self._running.get((queue, owner), ()))

    def ends_at(self, running: RunningTask) -> datetime:
        """When a task is expected to end."""
        return running.expected_end or running.started_at + timedelta(seconds=self.unknown_s)

    def _put_in(self, slot: Slot) -> None:
        device = self.devices.setdefault(slot.device, Device())
        device.slots[slot.id] = slot
        device.held += _count_held(slot)
        device.capacity = _find_capacity(device.slots.values())
        if slot.running is not None:
            self._start(slot, slot.running)
        free = is_free(slot)
        if free:
            self.free[slot.id] = slot
        for (pool, engine), eligible in self._eligible.items():
            if engine in slot.engines and (pool is None or slot.is_among(pool, engine)):
                eligible.members[slot.id] = slot
                if free and engine not in slot.closed:
                    eligible.free[slot.id] = slot
            else:
                eligible.members.pop(slot.id, None)

    def _take_out(self, slot: Slot) -> None:
        """Forget a slot but in `members`, where the new one takes its place."""
        device = self.devices[slot.device]
        del device.slots[slot.id]
        if device.slots:
            device.held -= _count_held(slot)
            device.capacity = _find_capacity(device.slots.values())
        else:
            del self.devices[slot.device]
        if slot.running is not None:
            self._end(slot, slot.running)
        if self.free.pop(slot.id, None) is not None:
            for eligible in self._eligible.values():
                eligible.free.pop(slot.id, None)

    def _start(self, slot: Slot, running: RunningTask) -> None:
        slots_of = self._running.setdefault((running.queue, running.owner), {})
        slots_of[running.task] = slots_of.get(running.task, 0) + 1
        by_device_model = self.busy.setdefault((running.engine, running.model), {})
        by_device_model.setdefault(slot.device_model, Sorted()).add((self.ends_at(running), slot.id))

    def _end(self, slot: Slot, running: RunningTask) -> None:
        slots_of = self._running[running.queue, running.owner]
        slots_of[running.task] -= 1
        if not slots_of[running.task]:
            del slots_of[running.task]
        if not slots_of:
            del self._running[running.queue, running.owner]
        by_device_model = self.busy[running.engine, running.model]
        by_device_model[slot.device_model].remove((self.ends_at(running), slot.id))
        if not by_device_model[slot.device_model]:
            del by_device_model[slot.device_model]
        if not by_device_model:
            del self.busy[running.engine, running.model]


def is_free(slot: Slot) -> bool:
    """Whether the slot can be given a task now."""
    return slot.running is None and slot.gate is Gate.OPEN


def is_idle(slot: Slot) -> bool:
    """Whether the slot gives up what is resident on it where another task needs the memory."""
    return slot.running is None and slot.gate is not Gate.UNHEALTHY


def _count_held(slot: Slot) -> int:
    """Bytes that a slot holds and does not give up: its residents, and what runs beyond the model it runs on."""
    if is_idle(slot):
        return 0
    running = slot.running
    own = others = 0
    for resident in slot.resident:
        if running is not None and (resident.engine, resident.model) == (running.engine, running.model):
            own += resident.memory or 0
        else:
            others += resident.memory or 0
    return others + max(own, (running.memory or 0) if running is not None else 0)


def _find_capacity(slots: Iterable[Slot]) -> float:
    """The least capacity given for a device; infinite when none is."""
    return min((slot.capacity for slot in slots if slot.capacity is not None), default=inf)
