"""The places as one decision sees and fills them: which tasks can use which, and what memory is left on each device.

Memory is counted per device, because places on one device share it. The memory of busy places cannot be had; residents
of idle places can be given up. So a task fits when it fits next to the busy ones, and while a decision goes on the room
can only shrink: a task that fits nowhere once need not be looked at again.

A place of which a task has a lane stays free for tasks of the same engine and model alone (`lanes`), which shrinks the
room as well. Where several places compute on one processor, a task that computes alone gets it only while nothing else
does, and then the others are not free for the rest of the decision: this shrinks the room too.

The table of the places is read and left as it is: what this decision gives away is kept here. `touched` and
`Lanes.given_for` are logs of it, in order, for what follows the decision at its own pace (`choosing`, `finishing`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from datetime import datetime, timedelta
from math import inf
from operator import attrgetter

from corral.scheduling.giving_up import Eviction, Losses, Stays, choose, is_model_of, is_resident
from corral.scheduling.lanes import Given, Lanes
from corral.scheduling.place_table import Eligible, PlaceTable, computes_alone, is_computing, is_idle
from corral.scheduling.values import (
    Gate,
    Owner,
    Place,
    Queue,
    QueuedTask,
    ResidentModel,
    Share,
    Snapshot,
    find_share,
    is_guest,
)
from corral.work import SlotId, TaskClass

_Reach = tuple[str, str, str | None, str | None]
"""The properties that decide which places a task can reach: queue, engine, model where they differ in it, node."""


class Room:
    """The places of a snapshot, and what has been given away of them so far."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.now = snapshot.now
        self.table = to_table(snapshot)
        self.free = dict(self.table.free)
        """Places that a task could be given, as far as they themselves are concerned."""
        self.lanes = Lanes(self.table)
        self._openings = {
            name: place.hours.find_opening(self.now) for name, place in self.table.timed.items() if place.hours
        }
        closed = [name for name in self._openings if not self.is_within_hours(name)]
        has_guests = bool(closed) and any(is_guest(task.id) for task in snapshot.tasks)
        self._for_guests = {name for name in closed if has_guests and _lets_guests_in(self.table[name])}
        for name in closed:
            if name not in self._for_guests:
                self.free.pop(name, None)
        self.lanes.close(self.free.__contains__)
        self.touched: list[SlotId] = []
        """Free places that are another choice than before, because something changed on their device."""
        self.stamps: dict[SlotId, int] = {}
        """How often each of them was touched."""
        self._queues = dict(snapshot.queues)
        self._held: dict[str, int] = {}
        self._computing: Counter[str] = Counter()
        self._alone: set[SlotId] = set()
        self._residents: dict[SlotId, list[ResidentModel]] = {}
        self._started: Counter[tuple[str, Owner]] = Counter()
        self._eligible: dict[_Reach, Eligible] = {}
        self._able: dict[_Reach, tuple[Place, ...]] = {}
        self._avoided: dict[tuple[object, ...], frozenset[SlotId]] = {}
        self._alike: dict[SlotId, Hashable] = {}
        self.losses = Losses(
            snapshot.uses, lambda: {(task.engine, task.model) for task in snapshot.tasks}, snapshot.now
        )
        self.stays = Stays(snapshot)

    @property
    def places(self) -> list[Place]:
        """All places, by id."""
        return sorted(self.table, key=attrgetter("id"))

    def is_within_hours(self, place: SlotId) -> bool:
        """Whether a place is within its hours; those without any always are."""
        if place not in self._openings:
            return True
        opening = self._openings[place]
        return opening is not None and opening.opens_at <= self.now

    def is_open_for(self, place: Place, task: QueuedTask) -> bool:
        """Whether a place is within its hours, or they do not bind the task: a guest, where they say so."""
        return self.is_within_hours(place.id) or (is_guest(task.id) and _lets_guests_in(place))

    def closes_at(self, place: SlotId) -> datetime | None:
        """When the hours of a place that is within them end; None where they do not."""
        opening = self._openings.get(place)
        return None if opening is None else opening.closes_at

    def queue(self, name: str) -> Queue:
        """The rules of a queue; default rules where the snapshot does not know it."""
        return self._queues.get(name) or self._queues.setdefault(name, Queue(name=name))

    def eligible(self, task: QueuedTask) -> Eligible:
        """Places that the task can reach (pool, node, engine, model), as they were before this decision."""
        key = self._key(task)
        eligible = self._eligible.get(key)
        if eligible is None:
            eligible = self._eligible[key] = self.table.eligible(self.queue(task.queue).pool, *key[1:])
        return eligible

    def able(self, task: QueuedTask) -> tuple[Place, ...]:
        """Places that the task can reach, busy or closed ones too, by id."""
        key = self._key(task)
        able = self._able.get(key)
        if able is None:
            able = self._able[key] = tuple(sorted(self.eligible(task).members.values(), key=attrgetter("id")))
        return able

    def _key(self, task: QueuedTask) -> _Reach:
        return task.queue, task.engine, task.model if task.engine in self.table.listing else None, task.node

    def list_on_preferred_node(self, task: QueuedTask) -> list[Place]:
        """Places of the task's preferred node that it can reach, by id; none without a preferred node."""
        if task.prefer_node is None:
            return []
        return [place for place in self.able(task) if place.node == task.prefer_node]

    def list_without_model(self, task: QueuedTask) -> list[Place]:
        """Places of the task's pool and node where its engine runs and lacks its model, by id."""
        members = self.table.eligible(self.queue(task.queue).pool, task.engine, node=task.node).members
        return [place for _, place in sorted(members.items()) if not place.has_model(task.engine, task.model)]

    def is_limited(self, task: QueuedTask) -> bool:
        """Whether the owner runs as many tasks of the queue as it allows."""
        limit = self.queue(task.queue).max_running_per_owner
        return limit is not None and self.count_running(task) >= limit

    def count_running(self, task: QueuedTask) -> int:
        """How many tasks of the same queue the owner runs."""
        return self.table.count_running(task.queue, task.owner) + self._started[task.queue, task.owner]

    def capacity(self, place: Place) -> float:
        """Bytes of the place's device; infinite when unknown."""
        return self.table.devices[place.device].capacity

    def left(self, place: Place) -> float:
        """Bytes that a task could have on the place, residents of idle places given up; infinite when unknown."""
        device = self.table.devices[place.device]
        if device.capacity == inf:
            return inf
        return device.capacity - self._held.get(place.device, device.held)

    def can_ever_hold(self, place: Place, task: QueuedTask) -> bool:
        """Whether the task would fit if the device held nothing else."""
        return task.memory is None or task.memory <= self.capacity(place)

    def can_hold(self, place: Place, task: QueuedTask) -> bool:
        """Whether the task fits next to what busy places hold and compute; unknown memory fits anywhere."""
        if not self.fits(place, task) or (place.id in self._for_guests and not is_guest(task.id)):
            return False
        if not self.stays.until or task.task_class is not TaskClass.BATCH or place.id in self.lanes.shared:
            return True
        keeping = self._list_keeping(place, task)
        self.stays.note(keeping, place.device)
        return not keeping

    def fits(self, place: Place, task: QueuedTask) -> bool:
        """Whether the task would fit there if no model stayed for a person."""
        if place.id in self.lanes.shared:
            return self.can_compute(place, task) and self.lanes.can_join(place, task, self.capacity(place))
        return self.can_compute(place, task) and (task.memory is None or task.memory <= self.left(place))

    def left_for(self, place: Place, task: QueuedTask) -> float:
        """Bytes that the task could have on the place: what is left, without models that stay for a person."""
        left = self.left(place)
        if not self.stays.until or task.task_class is not TaskClass.BATCH:
            return left
        residents = [*self._residents_of(place), *(resident for _, resident in self._list_yielded(place))]
        return left - sum(held.memory or 0 for held in self.stays.select(residents, task))

    def is_idle(self, device: str) -> bool:
        """Whether nothing computes on a device, and nothing was given to it in this decision."""
        places = self.table.devices[device].places.values()
        return not any(is_computing(place) or self.lanes.is_given(place.id) for place in places)

    def find_stay(self, place: Place, task: QueuedTask) -> tuple[str, datetime]:
        """Find the model that keeps a batch task from a free place for longest, and until when it does."""
        keeping = self._list_keeping(place, task)
        return max(
            ((held.model, self.stays.until[held.engine, held.model]) for held in keeping), key=lambda stay: stay[::-1]
        )

    def _list_keeping(self, place: Place, task: QueuedTask) -> list[ResidentModel]:
        """The models that stay for a person and would have to go for the task: its engine gives up the one it has."""
        own = self._residents_of(place)
        swapped = self.stays.select((held for held in own if held.engine == task.engine), task)
        if swapped:
            return swapped
        if task.share is not Share.WHOLE and (task.memory is None or task.memory <= self.left_for(place, task)):
            return self.stays.select((resident for _, resident in self._list_unsure(place, task)), task)
        return self.stays.select([*own, *(resident for _, resident in self._list_yielded(place))], task)

    def can_compute(self, place: Place, task: QueuedTask) -> bool:
        """Whether what computes on the place's processor leaves it to the task, as far as the place is free."""
        return not self.count_computing(place) or find_share(task, place) is Share.MEMORY

    def count_computing(self, place: Place) -> int:
        """How many other places compute on a free place's processor, where it has one that others use too."""
        if place.processor is None:
            return 0
        computing = self.table.processors[place.processor].computing + self._computing[place.processor]
        return computing - (place.id in self.lanes.shared)

    def has_an_option(self, task: QueuedTask) -> bool:
        """Whether a free place fits the task, avoided ones included."""
        free = self.eligible(task).free
        return any(name in self.free and self.can_hold(place, task) for name, place in free.items())

    def list_options(self, task: QueuedTask) -> list[Place]:
        """Free places that the task fits, by id; without those that it stays away from."""
        free = self.eligible(task).free
        fitting = [place for name, place in sorted(free.items()) if name in self.free and self.can_hold(place, task)]
        avoided = self.find_avoided(task) if fitting else ()
        return [place for place in fitting if place.id not in avoided] if avoided else fitting

    def is_option(self, place: Place, task: QueuedTask) -> bool:
        """Whether the place is among the task's options."""
        return (
            place.id in self.free
            and place.id in self.eligible(task).free
            and self.can_hold(place, task)
            and place.id not in self.find_avoided(task)
        )

    def find_avoided(self, task: QueuedTask) -> frozenset[SlotId]:
        """Places that the task stays away from: those that refused it; those that failed it, while others are open."""
        if not task.avoid_slots and not task.refused_slots:
            return frozenset()
        key = (*self._key(task), task.memory, task.gpus, task.avoid_slots, task.refused_slots)
        avoided = self._avoided.get(key)
        if avoided is None:
            members = self.eligible(task).members.values()
            refused = frozenset(place.id for place in members if place.is_among(task.refused_slots, task.engine))
            failed = frozenset(place.id for place in members if place.is_among(task.avoid_slots, task.engine))
            others = (
                place
                for place in members
                if place.id not in refused | failed
                and place.gate_for(task.engine) is Gate.OPEN
                and self.can_ever_hold(place, task)
            )
            avoided = refused | failed if has_node_with(others, task.gpus) else refused
            self._avoided[key] = avoided
        return avoided

    def find_preferred(self, task: QueuedTask) -> Place | None:
        """Find the place that the task prefers; None when it is not free, or it prefers none."""
        if task.prefer_slot is None:
            return None
        free = self.eligible(task).free
        return next((place for name, place in free.items() if name in self.free and is_preferred(place, task)), None)

    def ends_at(self, place: Place) -> datetime:
        """When a busy place is expected to be wholly free; now for a free one and for one that is late."""
        return max(self.now, self._end_of(place, Share.MEMORY))

    def ready_at(self, place: Place, task: QueuedTask) -> datetime:
        """When the task could compute on the place, if nothing else starts there; memory apart."""
        return max(self.now, self._end_of(place, find_share(task, place), task))

    def lane_ready_at(self, place: Place, lane_ends_at: datetime) -> datetime:
        """When a lane of a busy place that ends by then can be had, as far as what computes alone leaves it."""
        return max(self.now, lane_ends_at, max(self._list_ends_of_others(place, Share.MEMORY), default=self.now))

    def is_late(self, place: Place, task: QueuedTask) -> bool:
        """Whether what keeps the task from computing on the place takes longer than was expected."""
        return self._end_of(place, find_share(task, place), task) < self.now

    def is_taken(self, place: Place) -> bool:
        """Whether a task of any kind could not have the place now."""
        return place.id not in self.free or place.id in self.lanes.shared

    def was_taken(self, place: Place, task: QueuedTask) -> bool:
        """Whether the task could have had the place before this decision, which gave it to others."""
        was_free = place.id in self.table.free and (not place.running or self.lanes.is_alike(place, task))
        is_given = self.lanes.is_given(place.id) and not self.lanes.is_alike(place, task)
        return was_free and (place.id not in self.free or is_given)

    def is_busy_for(self, place: Place, task: QueuedTask) -> bool:
        """Whether the place, or what computes next to it, works on something that the task must wait for."""
        if place.id not in self.free or not self.can_compute(place, task):
            return True
        return place.id in self.lanes.shared and not self.fits(place, task)

    def list_side_by_side(self, place: Place) -> list[Place]:
        """All places that compute on the place's processor, itself included, by id."""
        if place.processor is None:
            return [place]
        return [other for _, other in sorted(self.table.processors[place.processor].places.items())]

    def find_alone(self, place: Place) -> Place | None:
        """Find the other place on the same processor whose running task computes alone."""
        others = (other for other in self.list_side_by_side(place) if other.id != place.id)
        return next(filter(computes_alone, others), None)

    def _end_of(self, place: Place, share: Share, task: QueuedTask | None = None) -> datetime:
        """When the last of what is in the way of a task that shares the place so should end; now where nothing is.

        Without a task, the place is wanted as a whole.
        """
        own = self.lanes.find_end(place, task)
        others = self._list_ends_of_others(place, share)
        return max(others if own is None else [*others, own], default=self.now)

    def _list_ends_of_others(self, place: Place, share: Share) -> list[datetime]:
        """When what other places of the processor do ends, as far as it is in the way of a task that shares so."""
        ends = (
            self.lanes.find_end(other)
            for other in self.list_side_by_side(place)
            if other.id != place.id and (share is not Share.MEMORY or self._is_alone(other))
        )
        return [end for end in ends if end is not None]

    def _is_alone(self, place: Place) -> bool:
        return place.id in self._alone or computes_alone(place)

    def neighbours(self, place: Place) -> list[Place]:
        """All places on the place's device, itself included, by id."""
        places = self.table.devices[place.device].places
        return list(places.values()) if len(places) == 1 else [neighbour for _, neighbour in sorted(places.items())]

    def alike(self, place: Place) -> Hashable:
        """The properties by which free places are chosen, except their names; equal where the choice is the same."""
        alike = self._alike.get(place.id)
        if alike is None:
            others = tuple(sorted((held.engine, held.model, held.memory or 0) for _, held in self._list_yielded(place)))
            computing = self.count_computing(place)
            starts = tuple(sorted(place.starts.items()))
            taken = self.lanes.find_part_taken(place)
            residents = tuple(self._residents_of(place))
            alike = place.device_model, self.left(place), computing, taken, residents, others, starts
            self._alike[place.id] = alike
        return alike

    def touch(self, places: Iterable[SlotId]) -> None:
        """Note that free places are another choice than before."""
        for place in places:
            if place in self.free:
                self.stamps[place] = self.stamps.get(place, 0) + 1
                self._alike.pop(place, None)
                self.touched.append(place)

    def take(self, places: Sequence[Place], task: QueuedTask, expected_s: float) -> tuple[Eviction, ...]:
        """Give free places that hold the task together to it, or a lane; return what must be given up first."""
        evictions: list[Eviction] = []
        ends_at = self.now + timedelta(seconds=expected_s)
        for position, place in enumerate(places, start=1):
            same_device = sum(later.device == place.device for later in places[position:])
            evicted, load = self.plan_evictions(place, task, still_needed=same_device * (task.memory or 0))
            for loser, resident in evicted:
                self._give_up(loser, resident)
            device = self.table.devices[place.device]
            self._held[place.device] = self._held.get(place.device, device.held) + load
            if place.processor is not None:
                self._compute(place, place.processor, task)
            if self.lanes.take(Given(place, task, ends_at)):
                self.touch([place.id])
            else:
                del self.free[place.id]
            if device.capacity < inf and len(device.places) > 1:
                self.touch(device.places)
            evictions += evicted
        self._started[task.queue, task.owner] += 1
        return tuple(evictions)

    def _compute(self, place: Place, processor: str, task: QueuedTask) -> None:
        """Let a task compute; next to one that computes alone no other place is free."""
        if place.id not in self.lanes.shared:
            self._computing[processor] += 1
        if find_share(task, place) is not Share.MEMORY:
            self._alone.add(place.id)
            for neighbour in self.table.processors[processor].places:
                if neighbour != place.id:
                    self.free.pop(neighbour, None)
                    self.lanes.shared.pop(neighbour, None)

    def plan_evictions(
        self, place: Place, task: QueuedTask, *, still_needed: int = 0
    ) -> tuple[tuple[Eviction, ...], int]:
        """Choose what to give up so that the task fits on the place, and return the bytes the place then holds too.

        What costs least to bring back goes first (`giving_up`), and what stays for a person not for a batch task.
        Where a model is loaded onto a processor that others use, what could be in its way goes too
        (`_list_unsure`). `still_needed` bytes of the device are left for other places. For a lane nothing is given up.
        """
        if place.id in self.lanes.shared:
            return (), 0
        left = self.left(place) - still_needed
        own = self._residents_of(place)
        if task.share is Share.WHOLE:
            kept = [resident for resident in own if is_model_of(resident, task)]
            if load_of(task, kept) > left:  # what was measured is more than others leave
                kept = []
            lost = [(place.id, resident) for resident in own if resident not in kept]
            return (*lost, *self._list_yielded(place)), load_of(task, kept)
        load = load_of(task, own)
        unsure = self._list_unsure(place, task)
        if left == inf or task.memory is None:
            return unsure, load
        others = [eviction for eviction in self._list_yielded(place) if eviction not in unsure]
        if not others and load <= left:
            return unsure, load
        candidates = [*((place.id, resident) for resident in own), *others]
        if self.stays.until and task.task_class is TaskClass.BATCH:
            staying = self.stays.select([resident for _, resident in candidates], task)
            candidates = [eviction for eviction in candidates if eviction[1] not in staying]

        def fits_without(evicted: Sequence[Eviction]) -> bool:
            lost = list(evicted)
            kept = [resident for resident in own if (place.id, resident) not in lost]
            beside = sum(eviction[1].memory or 0 for eviction in others if eviction not in lost)
            return load_of(task, kept) + beside <= left

        evicted = choose(candidates, lambda eviction: self.losses.rate(place.id, task, eviction), fits_without)
        kept = [resident for resident in own if (place.id, resident) not in evicted]
        return (*unsure, *evicted), load_of(task, kept)

    def _list_unsure(self, place: Place, task: QueuedTask) -> tuple[Eviction, ...]:
        """List neighbours' models that could leave too little memory for a load: all, or those of unknown size.

        All are in the way of a model whose own need is unknown: it is measured while it is alone.
        """
        if place.processor is None or task.model is None or is_resident(place, task):
            return ()
        others = self._list_yielded(place)
        return tuple(eviction for eviction in others if task.memory is None or eviction[1].memory is None)

    def _residents_of(self, place: Place) -> Sequence[ResidentModel]:
        """The models that an idle place could still give up."""
        return self._residents.get(place.id, place.resident)

    def _give_up(self, place: SlotId, resident: ResidentModel) -> None:
        if place not in self._residents:
            self._residents[place] = list(self.table[place].resident)
        self._residents[place].remove(resident)

    def _list_yielded(self, place: Place) -> list[Eviction]:
        """Residents of the other idle places on the device."""
        places = self.table.devices[place.device].places
        if len(places) == 1:
            return []
        return [
            (name, resident)
            for name, neighbour in places.items()
            if name != place.id and is_idle(neighbour) and not self.lanes.is_given(name)
            for resident in self._residents_of(neighbour)
        ]


def _lets_guests_in(place: Place) -> bool:
    return place.hours is not None and place.hours.guests


def to_table(snapshot: Snapshot) -> PlaceTable:
    """The table of a snapshot's places: its own, or one made of them."""
    places, unknown_s = snapshot.places, snapshot.bounds.unknown_duration_s
    if isinstance(places, PlaceTable) and places.unknown_s == unknown_s:
        return places
    return PlaceTable(places, unknown_s=unknown_s)


def is_preferred(place: Place, task: QueuedTask) -> bool:
    """Whether the place is the one that the task prefers."""
    return task.prefer_slot is not None and place.is_among((task.prefer_slot,), task.engine)


def load_of(task: QueuedTask, residents: Iterable[ResidentModel]) -> int:
    """Bytes that the task takes next to these residents of its place; its own model is not counted twice."""
    own = others = 0
    for resident in residents:
        if is_model_of(resident, task):
            own += resident.memory or 0
        else:
            others += resident.memory or 0
    return others + max(own, task.memory or 0)


def has_node_with(places: Iterable[Place], count: int) -> bool:
    """Whether one node has at least this many of the places."""
    on_node: Counter[str] = Counter()
    for place in places:
        on_node[place.node] += 1
        if on_node[place.node] >= count:
            return True
    return count <= 0
