"""The places with the indices that a decision needs, kept from one decision to the next.

The owner of the places puts in each that changed; a decision reads the table, never changes it (`room` has what a
decision gives away), and costs nothing for places on which nothing changed. A plain collection of places works as well:
the policy then builds a table of it, in time that grows with their number.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf

from corral.scheduling.sorted_list import Sorted
from corral.scheduling.values import Gate, Owner, Place, PolicyBounds, RunningTask, Share, find_share
from corral.work import SlotId

Work = tuple[str, str | None]
"""An engine and the model that it works with."""

BusyLane = tuple[datetime, SlotId, int]
"""When what has a lane should end, its place, and the lane."""

Pool = frozenset[SlotId] | None

_Reach = tuple[Pool, str, str | None, str | None]
"""The places that tasks could use: of a pool, with an engine, with a model, on a node."""

_MOST_POOLS = 256
"""Pools with an engine and a node that are kept at once; pools of queues that were edited away must not add up."""


@dataclass(slots=True)
class Device:
    """The memory that the places of one device share."""

    places: dict[SlotId, Place] = field(default_factory=dict[SlotId, Place])
    capacity: float = inf
    """Bytes; infinite when unknown."""
    held: int = 0
    """Bytes that cannot be had: of busy places and unhealthy ones, and what was measured beyond that."""


@dataclass(slots=True)
class Processor:
    """The places that compute on one processor; all are on one device."""

    places: dict[SlotId, Place] = field(default_factory=dict[SlotId, Place])
    computing: int = 0
    """Places where something runs, or where it is unknown what does."""
    alone: int = 0
    """Those of a task that computes alone: while there is one, the others can be given to nothing."""


@dataclass(slots=True)
class Eligible:
    """The places of a pool where an engine runs."""

    members: dict[SlotId, Place]
    """Busy and closed ones too."""
    free: dict[SlotId, Place]


class PlaceTable(Collection[Place]):
    """Places by id. It reads no clock; one owner changes it, between decisions.

    `unknown_s` is how long a task is expected to take where nothing was measured (`PolicyBounds.unknown_duration_s`).
    """

    def __init__(self, places: Iterable[Place] = (), *, unknown_s: float = PolicyBounds().unknown_duration_s) -> None:
        self.unknown_s = unknown_s
        self.free: dict[SlotId, Place] = {}
        self.shared: dict[SlotId, Place] = {}
        """Those of them that have a free lane next to tasks, for tasks of the same engine and model."""
        self.free_lanes = 0
        """How many tasks could start on free places, if each place took those of the engine with most lanes."""
        self.devices: dict[str, Device] = {}
        self.processors: dict[str, Processor] = {}
        self.busy: dict[Work, dict[str, Sorted[BusyLane]]] = {}
        """By what they work with and by device model: the lanes that are taken, those that should end first first."""
        self.timed: dict[SlotId, Place] = {}
        """Places with hours, open or not; `free` has them at any time."""
        self._places: dict[SlotId, Place] = {}
        self._running: dict[tuple[str, Owner], dict[int, int]] = {}
        self._eligible: dict[_Reach, Eligible] = {}
        self.listing: Counter[str] = Counter()
        """By engine: how many places have only some models."""
        for place in places:
            self.put(place)

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Place]:
        return iter(self._places.values())

    def __contains__(self, place: object) -> bool:
        return isinstance(place, Place) and self._places.get(place.id) == place

    def __getitem__(self, place: SlotId) -> Place:
        return self._places[place]

    def put(self, place: Place) -> None:
        """Put a place in, in place of the one with the same id."""
        known = self._places.get(place.id)
        if known is place:
            return
        if known is not None:
            self._take_out(known)
        self._places[place.id] = place
        self._put_in(place)

    def change_running(self, name: SlotId, running: tuple[RunningTask, ...]) -> None:
        """Change what runs on a place, and nothing else of it: what goes on there costs nothing, as `put` would."""
        known = self._places[name]
        place = self._places[name] = known.with_running(running)
        device = self.devices[place.device]
        device.places[name] = place
        device.held += _count_held(place) - _count_held(known)
        before = len(known.running)
        if running[:before] == known.running:  # the same objects mostly, which are compared at once
            ended, begun = (), running[before:]
        else:
            went_on = {task.task for task in known.running} & {task.task for task in running}
            ended = [task for task in known.running if task.task not in went_on]
            begun = [task for task in running if task.task not in went_on]
        for task in ended:
            self._end(known, task)
        for task in begun:
            self._start(place, task)
        is_open = self._change_on_processor(known, place)
        if name in self.timed:
            self.timed[name] = place
        for eligible in self._eligible.values():
            if name in eligible.members:
                eligible.members[name] = place
        if is_open and is_free(place):
            self._open(place)

    def _change_on_processor(self, known: Place, place: Place) -> bool:
        """Close a place on which something else runs now; return whether others of its processor let it open again."""
        was_free = place.id in self.free
        self._close(place.id)
        if place.processor is None:
            return True
        if _matters_to_neighbours(known, place):
            self._part(known, place.processor)
            return self._join(place, place.processor)
        processor = self.processors[place.processor]
        processor.places[place.id] = place
        return was_free or not processor.alone

    def remove(self, place: SlotId) -> None:
        """Take a place out; one that is not there is ignored."""
        known = self._places.pop(place, None)
        if known is None:
            return
        self._take_out(known)
        for eligible in self._eligible.values():
            eligible.members.pop(place, None)

    def replace(self, places: Collection[Place]) -> None:
        """Make these all the places; it costs a comparison of identity for each that did not change."""
        known = self._places
        for place in places:
            if known.get(place.id) is not place:
                self.put(place)
        if len(known) != len(places):
            for gone in known.keys() - {place.id for place in places}:
                self.remove(gone)

    def eligible(self, pool: Pool, engine: str, model: str | None = None, node: str | None = None) -> Eligible:
        """The places of a pool and a node where the engine runs and can use a model; None is any of these."""
        key = pool, engine, model if engine in self.listing else None, node
        eligible = self._eligible.get(key)
        if eligible is None:
            if len(self._eligible) >= _MOST_POOLS:
                self._eligible.clear()
            members = {place.id: place for place in self._places.values() if _can_run(place, *key)}
            free = {name: place for name, place in members.items() if name in self.free and engine not in place.closed}
            eligible = self._eligible[key] = Eligible(members, free)
        return eligible

    def count_running(self, queue: str, owner: Owner) -> int:
        """How many tasks of a queue an owner runs."""
        return len(self._running.get((queue, owner), ()))

    def ends_at(self, running: RunningTask) -> datetime:
        """When a task is expected to end."""
        return running.expected_end or running.started_at + timedelta(seconds=self.unknown_s)

    def _put_in(self, place: Place) -> None:
        device = self.devices.setdefault(place.device, Device())
        device.places[place.id] = place
        device.held += _count_held(place) + place.excess
        device.capacity = _find_capacity(device.places.values())
        for running in place.running:
            self._start(place, running)
        may_compute = place.processor is None or self._join(place, place.processor)
        free = may_compute and is_free(place)
        if free:
            self._add_free(place)
        if place.hours is not None:
            self.timed[place.id] = place
        self.listing.update(place.models.keys())
        for key, eligible in self._eligible.items():
            if _can_run(place, *key):
                eligible.members[place.id] = place
                if free and key[1] not in place.closed:
                    eligible.free[place.id] = place
            else:
                eligible.members.pop(place.id, None)

    def _join(self, place: Place, name: str) -> bool:
        """Add a place to its processor, and return whether other places leave that to it."""
        processor = self.processors.setdefault(name, Processor())
        processor.places[place.id] = place
        processor.computing += is_computing(place)
        is_alone = computes_alone(place)
        if is_alone:
            processor.alone += 1
            for neighbour in processor.places:
                if neighbour != place.id:
                    self._close(neighbour)
        return processor.alone == is_alone

    def _part(self, place: Place, name: str) -> None:
        """Take a place away from its processor; what was kept from its neighbours by it alone is free again."""
        processor = self.processors[name]
        del processor.places[place.id]
        processor.computing -= is_computing(place)
        if computes_alone(place):
            processor.alone -= 1
            for neighbour in filter(is_free, processor.places.values()):
                if processor.alone == computes_alone(neighbour):
                    self._open(neighbour)
        if not processor.places:
            del self.processors[name]

    def _add_free(self, place: Place) -> None:
        if place.id not in self.free:
            self.free_lanes += _count_free_lanes(place)
        self.free[place.id] = place
        if place.running:
            self.shared[place.id] = place

    def _open(self, place: Place) -> None:
        self._add_free(place)
        for (_, engine, *_), eligible in self._eligible.items():
            if place.id in eligible.members and engine not in place.closed:
                eligible.free[place.id] = place

    def _close(self, place: SlotId) -> None:
        closed = self.free.pop(place, None)
        if closed is not None:
            self.free_lanes -= _count_free_lanes(closed)
            self.shared.pop(place, None)
            for eligible in self._eligible.values():
                eligible.free.pop(place, None)

    def _take_out(self, place: Place) -> None:
        """Forget a place but in `members`, where the new one takes its place."""
        device = self.devices[place.device]
        del device.places[place.id]
        if device.places:
            device.held -= _count_held(place) + place.excess
            device.capacity = _find_capacity(device.places.values())
        else:
            del self.devices[place.device]
        self.timed.pop(place.id, None)
        for engine in place.models:
            self.listing[engine] -= 1
            if not self.listing[engine]:
                del self.listing[engine]
        for running in place.running:
            self._end(place, running)
        self._close(place.id)
        if place.processor is not None:
            self._part(place, place.processor)

    def _start(self, place: Place, running: RunningTask) -> None:
        places_of = self._running.setdefault((running.queue, running.owner), {})
        places_of[running.task] = places_of.get(running.task, 0) + 1
        by_device_model = self.busy.setdefault((running.engine, running.model), {})
        by_device_model.setdefault(place.device_model, Sorted()).add((self.ends_at(running), place.id, running.lane))

    def _end(self, place: Place, running: RunningTask) -> None:
        places_of = self._running[running.queue, running.owner]
        places_of[running.task] -= 1
        if not places_of[running.task]:
            del places_of[running.task]
        if not places_of:
            del self._running[running.queue, running.owner]
        by_device_model = self.busy[running.engine, running.model]
        by_device_model[place.device_model].remove((self.ends_at(running), place.id, running.lane))
        if not by_device_model[place.device_model]:
            del by_device_model[place.device_model]
        if not by_device_model:
            del self.busy[running.engine, running.model]


def _can_run(place: Place, pool: Pool, engine: str, model: str | None, node: str | None) -> bool:
    return (
        engine in place.engines
        and place.is_on(node)
        and (pool is None or place.is_among(pool, engine))
        and place.has_model(engine, model)
    )


def is_free(place: Place) -> bool:
    """Whether the place can be given a task now, or a lane of it, as far as the place itself is concerned."""
    return place.gate is Gate.OPEN and (not place.running or place.has_free_lane)


def _count_free_lanes(place: Place) -> int:
    """How many tasks could start on a free place."""
    if place.running:
        return place.lanes_for(place.running[0].engine) - len(place.running)
    return max(place.lanes.values(), default=1)


def is_computing(place: Place) -> bool:
    """Whether something computes on the place, or holds it for reasons that are not known here."""
    return bool(place.running) or place.gate is Gate.UNHEALTHY


def computes_alone(place: Place) -> bool:
    """Whether a task runs on the place that nothing on other places can compute next to."""
    return any(find_share(running, place) is not Share.MEMORY for running in place.running)


def _matters_to_neighbours(before: Place, now: Place) -> bool:
    """Whether what runs on a place changes what the others of its processor can do."""
    return is_computing(before) != is_computing(now) or computes_alone(before) or computes_alone(now)


def is_idle(place: Place) -> bool:
    """Whether the place gives up what is resident on it where another task needs the memory."""
    return not place.running and place.gate is not Gate.UNHEALTHY


def count_accounted(place: Place) -> int:
    """Bytes that a place accounts for: its residents, and what runs beyond the model that all of it runs on."""
    own, others, work = 0, 0, place.work
    for resident in place.resident:
        if (resident.engine, resident.model) == work:
            own += resident.memory or 0
        else:
            others += resident.memory or 0
    return others + max(own, *(running.memory or 0 for running in place.running), 0)


def _count_held(place: Place) -> int:
    """Bytes that a place holds and does not give up."""
    return 0 if is_idle(place) else count_accounted(place)


def _find_capacity(places: Iterable[Place]) -> float:
    """The least capacity given for a device; infinite when none is."""
    return min((place.capacity for place in places if place.capacity is not None), default=inf)
