"""Tasks that need several GPUs: N places of one node at once, or a reservation that others can only backfill around.

A reservation takes the N places of one node that are expected to be free together first. Until then a task can still
use them, if it is expected to end before; a place that shares a device with a reserved one is bound too where memory is
known, for it could hold the memory that was waited for, and one that computes on the same processor always is.
Estimates are early rather than late (a late task is expected to end now), so a reservation is never put off by what was
let in. (EASY backfilling: Lifka, "The ANL/IBM SP scheduling system", 1995, with one reservation per task instead of one
in all.)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import inf

from corral.scheduling.choosing import rate_place
from corral.scheduling.durations import Expectations
from corral.scheduling.opening import Openings
from corral.scheduling.room import Room
from corral.scheduling.values import Gate, Place, QueuedTask
from corral.scheduling.wishes import Wishes
from corral.work import SlotId


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Places of one node that are kept for a task, and when all of them should be free."""

    task: int
    places: tuple[SlotId, ...]
    ready_at: datetime


class Reservations:
    """The reservations of one decision; made anew each time from the same facts."""

    def __init__(self, room: Room, expectations: Expectations, wishes: Wishes, openings: Openings) -> None:
        self.held: dict[int, Reservation] = {}
        self._room = room
        self._expectations = expectations
        self._wishes = wishes
        self._openings = openings
        self._places: dict[SlotId, Reservation] = {}
        self._devices: dict[str, datetime] = {}
        self._processors: dict[str, datetime] = {}

    def reserve(self, task: QueuedTask) -> Reservation | None:
        """Keep places for a task that cannot gather them now; None when no node could ever give them."""
        plans = [plan for plan in self._plan_on_each_node(task) if plan]
        if not plans:
            return None
        wish = timedelta(seconds=self._wishes.count_left_s(task))
        ready_at, _, _, chosen = min(
            plans,
            key=lambda plan: (
                plan[0] + wish if plan[1] != task.prefer_node else plan[0],
                plan[1] != task.prefer_node,
                *plan[1:3],
            ),
        )
        reservation = Reservation(task=task.id, places=tuple(place.id for place in chosen), ready_at=ready_at)
        self.held[task.id] = reservation
        for place in chosen:
            self._places[place.id] = reservation
            if self._room.capacity(place) < inf:
                self._devices[place.device] = min(ready_at, self._devices.get(place.device, ready_at))
            if place.processor is not None:
                self._processors[place.processor] = min(ready_at, self._processors.get(place.processor, ready_at))
            self._room.touch(neighbour.id for neighbour in self._room.neighbours(place))
        return reservation

    def allows(self, place: Place, task: QueuedTask) -> bool:
        """Whether a task can use the place: it is not reserved, or the task ends before the reservation is ready."""
        if not self._places:
            return True
        ready_at = self.ready_at(place)
        if ready_at is None:
            return True
        return self._room.now + timedelta(seconds=self._expectations.of_place(task, place)) <= ready_at

    def ready_at(self, place: Place) -> datetime | None:
        """When the reservation that binds the place should be ready; None when none does."""
        reservation = self._places.get(place.id)
        bounds = [reservation.ready_at] if reservation is not None else []
        if place.device in self._devices:
            bounds.append(self._devices[place.device])
        if place.processor in self._processors:
            bounds.append(self._processors[place.processor])
        return min(bounds, default=None)

    def _plan_on_each_node(self, task: QueuedTask) -> Iterable[tuple[datetime, str, tuple[SlotId, ...], list[Place]]]:
        """For each node that could run the task: when, on which places."""
        avoided = self._room.find_avoided(task)
        able = [
            place
            for place in self._room.able(task)
            if place.gate_for(task.engine) is Gate.OPEN and place.id not in self._places and place.id not in avoided
        ]
        for node, places in group_by_node(able).items():
            starts = {place.id: self._estimate_start(place, task) for place in places}
            ready = {name: start for name, start in starts.items() if start is not None}
            in_time = sorted(
                (place for place in places if place.id in ready), key=lambda place: (ready[place.id], place.id)
            )
            chosen = take_side_by_side(in_time, task, self._room.capacity)
            if chosen:
                yield max(ready[place.id] for place in chosen), node, tuple(place.id for place in chosen), chosen

    def _estimate_start(self, place: Place, task: QueuedTask) -> datetime | None:
        """When the task could have the place; None where its hours are too short."""
        return self._openings.find_start(place, task, self._estimate_ready(place, task))

    def _estimate_ready(self, place: Place, task: QueuedTask) -> datetime:
        room = self._room
        if room.is_busy_for(place, task) or room.can_hold(place, task):
            return room.ready_at(place, task)
        busy = [room.ends_at(other) for other in room.neighbours(place) if room.is_taken(other)]
        return min(busy, default=room.now)


def gather(
    options: Sequence[Place], task: QueuedTask, room: Room, expectations: Expectations, wishes: Wishes
) -> list[Place]:
    """Choose N free places of one node, the best by the order of `choosing`; empty when no node has them."""
    choices = {place.id: rate_place(place, task, room, expectations) for place in options}
    in_order = sorted(options, key=lambda place: choices[place.id])
    sets = [
        take_side_by_side(places, task, lambda place: room.left_for(place, task))
        for places in group_by_node(in_order).values()
    ]
    complete = sorted(filter(None, sets), key=lambda places_of_node: [choices[place.id] for place in places_of_node])
    near = next((places_of_node for places_of_node in complete if places_of_node[0].node == task.prefer_node), None)
    if near is None:
        return complete[0] if complete else []
    return near if wishes.is_worth(task, near[0], complete[0][0]) else complete[0]


def take_side_by_side(places: Iterable[Place], task: QueuedTask, memory: Callable[[Place], float]) -> list[Place]:
    """Take the first N places that hold the task together; empty when they do not. Places of a device share memory.

    Of the places that compute on one processor it takes one: a task that needs several GPUs needs different ones.
    """
    chosen: list[Place] = []
    processors: set[str | None] = set()
    taken: Counter[str] = Counter()
    need = task.memory or 0
    for place in places:
        if place.processor is not None and place.processor in processors:
            continue
        if task.memory is None or taken[place.device] + need <= memory(place):
            processors.add(place.processor)
            taken[place.device] += need
            chosen.append(place)
            if len(chosen) == task.gpus:
                return chosen
    return []


def group_by_node(places: Iterable[Place]) -> dict[str, list[Place]]:
    """Places of each node, in the order given."""
    nodes: defaultdict[str, list[Place]] = defaultdict(list)
    for place in places:
        nodes[place.node].append(place)
    return nodes
