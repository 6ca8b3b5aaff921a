"""The places as one decision sees and fills them: who may use which, and what memory is left on each device.

Memory is counted per device, because places on one device share it. What busy places hold cannot be had; residents of
idle places can be given up. So a task fits when it fits beside the busy ones, and while a decision goes on the room
can only shrink: a task that fits nowhere once need not be looked at again.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from math import inf
from operator import attrgetter

from corral.scheduling.giving_up import Losses, choose
from corral.scheduling.values import Gate, Owner, Place, Queue, QueuedTask, ResidentModel, Snapshot
from corral.work import SlotId

Eviction = tuple[SlotId, ResidentModel]


class Floor:
    """The places of a snapshot, and what has been given away of them so far."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.now = snapshot.now
        self.places = sorted(snapshot.places, key=attrgetter("id"))
        self.free = {place.id: place for place in self.places if is_free(place)}
        self._queues = dict(snapshot.queues)
        self._unknown = timedelta(seconds=snapshot.bounds.unknown_duration_s)
        self._ends: dict[SlotId, datetime] = {}
        self._models: dict[SlotId, tuple[str, str | None]] = {}
        self._able: dict[tuple[str, str], tuple[Place, ...]] = {}
        self._devices: defaultdict[str, list[Place]] = defaultdict(list)
        self._capacity: dict[str, int] = {}
        self._held: defaultdict[str, int] = defaultdict(int)
        self._residents: dict[SlotId, list[ResidentModel]] = {}  # of idle places: these can be given up
        self._running: defaultdict[tuple[str, Owner], set[int]] = defaultdict(set)
        self.losses = Losses(snapshot.uses, lambda: {(task.engine, task.model) for task in snapshot.tasks}, self.now)
        for place in self.places:
            self._place(place)

    def _place(self, place: Place) -> None:
        self._devices[place.device].append(place)
        if place.capacity is not None:
            self._capacity[place.device] = min(place.capacity, self._capacity.get(place.device, place.capacity))
        for running in place.running:
            self._running[running.queue, running.owner].add(running.task)
            self._models[place.id] = running.engine, running.model
            self._ends[place.id] = running.expected_end or running.started_at + self._unknown
        if not place.running and place.gate is not Gate.UNHEALTHY:
            self._residents[place.id] = list(place.resident)
        else:
            self._held[place.device] += _footprint(place)

    def queue(self, name: str) -> Queue:
        """The rules of a queue; default rules where the snapshot does not know it."""
        return self._queues.get(name) or self._queues.setdefault(name, Queue(name=name))

    def able(self, queue: str, engine: str) -> tuple[Place, ...]:
        """Places of the queue's pool where the engine runs, busy or closed ones too, by id."""
        places = self._able.get((queue, engine))
        if places is None:
            pool = self.queue(queue).pool
            places = tuple(
                place for place in self.places if engine in place.engines and (pool is None or place.id in pool)
            )
            self._able[queue, engine] = places
        return places

    def is_limited(self, task: QueuedTask) -> bool:
        """Whether the owner runs as many tasks of the queue as it allows."""
        limit = self.queue(task.queue).max_running_per_owner
        return limit is not None and self.running(task) >= limit

    def running(self, task: QueuedTask) -> int:
        """How many tasks of the same queue the owner runs."""
        return len(self._running.get((task.queue, task.owner), ()))

    def capacity(self, place: Place) -> float:
        """Bytes of the place's device; infinite when unknown."""
        return self._capacity.get(place.device, inf)

    def room(self, place: Place) -> float:
        """Bytes that a task could have on the place, residents of idle places given up; infinite when unknown."""
        capacity = self._capacity.get(place.device)
        return inf if capacity is None else capacity - self._held[place.device]

    def fits_ever(self, place: Place, task: QueuedTask) -> bool:
        """Whether the task would fit if the device held nothing else."""
        return task.memory is None or task.memory <= self.capacity(place)

    def fits(self, place: Place, task: QueuedTask) -> bool:
        """Whether the task fits beside what busy places hold; unknown memory fits anywhere."""
        return task.memory is None or task.memory <= self.room(place)

    def options(self, task: QueuedTask) -> list[Place]:
        """Free places that the task fits, by id; places it avoids only where no other place could ever run it."""
        places = [
            place for place in self.able(task.queue, task.engine) if place.id in self.free and self.fits(place, task)
        ]
        if places and task.avoid_slots:
            avoided = self.avoided(task)
            return [place for place in places if place.id not in avoided]
        return places

    def avoided(self, task: QueuedTask) -> frozenset[SlotId]:
        """Places that the task stays away from: none, when no other place could ever run it."""
        if not task.avoid_slots:
            return frozenset()
        others = [
            place
            for place in self.able(task.queue, task.engine)
            if place.id not in task.avoid_slots and place.gate is Gate.OPEN and self.fits_ever(place, task)
        ]
        return task.avoid_slots if has_node_with(others, task.gpus) else frozenset()

    def ends_at(self, place: Place) -> datetime:
        """When a busy place is expected to be free; now for a free one and for one that is overdue."""
        return max(self.now, self._ends.get(place.id, self.now))

    def is_overdue(self, place: Place) -> bool:
        """Whether a busy place's task takes longer than was expected; nothing is known of its end then."""
        return self._ends.get(place.id, self.now) < self.now

    def works_with(self, place: Place) -> tuple[str, str | None] | None:
        """Engine and model of what a busy place does, or was just given; None for a free one."""
        return self._models.get(place.id)

    def neighbours(self, place: Place) -> list[Place]:
        """All places on the place's device, itself included, by id."""
        return self._devices[place.device]

    def take(self, places: Sequence[Place], task: QueuedTask, expected_s: float) -> tuple[Eviction, ...]:
        """Give free places that hold the task together to it, and say what must be given up first."""
        evictions: list[Eviction] = []
        for position, place in enumerate(places, start=1):
            same_device = sum(later.device == place.device for later in places[position:])
            evicted, load = self.evictions(place, task, still_needed=same_device * (task.memory or 0))
            for loser, resident in evicted:
                self._residents[loser].remove(resident)
            del self.free[place.id], self._residents[place.id]
            self._held[place.device] += load
            self._ends[place.id] = self.now + timedelta(seconds=expected_s)
            self._models[place.id] = task.engine, task.model
            evictions += evicted
        self._running[task.queue, task.owner].add(task.id)
        return tuple(evictions)

    def evictions(self, place: Place, task: QueuedTask, *, still_needed: int = 0) -> tuple[tuple[Eviction, ...], int]:
        """What to give up so that the task fits on the place, and the bytes the place then holds.

        Nothing is given up where memory is unknown; what goes first is the product's own rule. `still_needed` bytes of
        the device are left for other places.
        """
        room = self.room(place) - still_needed
        if room == inf or task.memory is None:
            return (), load_of(task, self._residents[place.id])
        residents = self._residents[place.id]
        others = self._yielded_by_neighbours(place)
        load = load_of(task, residents)
        if not others and load <= room:
            return (), load
        every = [*((place.id, resident) for resident in residents), *others]

        def fits_without(evicted: Sequence[Eviction]) -> bool:
            kept = [resident for resident in residents if (place.id, resident) not in evicted]
            beside = sum(loss[1].memory or 0 for loss in others if loss not in evicted)
            return load_of(task, kept) + beside <= room

        evicted = choose(every, lambda loss: self.losses.rate(place.id, task, loss), fits_without)
        return evicted, load_of(task, [resident for resident in residents if (place.id, resident) not in evicted])

    def _yielded_by_neighbours(self, place: Place) -> list[Eviction]:
        """Residents of the other idle places on the device."""
        return [
            (neighbour.id, resident)
            for neighbour in self._devices[place.device]
            if neighbour.id != place.id
            for resident in self._residents.get(neighbour.id, ())
        ]


def is_free(place: Place) -> bool:
    """Whether the place can be given a task now."""
    return not place.running and place.gate is Gate.OPEN


def is_model_of(resident: ResidentModel, task: QueuedTask) -> bool:
    """Whether the resident is what the task needs loaded."""
    return resident.model == task.model and resident.engine == task.engine


def load_of(task: QueuedTask, residents: Iterable[ResidentModel]) -> int:
    """Bytes that the task takes beside these residents of its place; its own model is not counted twice."""
    own = beside = 0
    for resident in residents:
        if is_model_of(resident, task):
            own += resident.memory or 0
        else:
            beside += resident.memory or 0
    return beside + max(own, task.memory or 0)


def has_node_with(places: Iterable[Place], count: int) -> bool:
    """Whether one node has at least this many of the places."""
    return max(Counter(place.node for place in places).values(), default=0) >= count


def _footprint(place: Place) -> int:
    """Bytes that a place holds and does not give up: its residents, and what runs beyond the model it runs on."""
    running = next(iter(place.running), None)
    own = beside = 0
    for resident in place.resident:
        if running is not None and (resident.engine, resident.model) == (running.engine, running.model):
            own += resident.memory or 0
        else:
            beside += resident.memory or 0
    return beside + max(own, (running.memory or 0) if running is not None else 0)
