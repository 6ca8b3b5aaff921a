"""Tasks that need several GPUs: N places of one node at once, or a reservation that others may only backfill around.

A reservation takes the N places of one node that are expected to be free together first. Until then a task may still
use them, if it is expected to end before; a place that shares a device with a reserved one is bound too where memory
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
from corral.scheduling.values import Gate, Place, QueuedTask
from corral.work import SlotId
from doubles.policy_before.choosing import choice_of
from doubles.policy_before.floor import Floor


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """Places of one node that are kept for a task, and when all of them should be free."""

    task: int
    places: tuple[SlotId, ...]
    ready_at: datetime


class Reservations:
    """What is reserved in one decision; made anew each time from the same facts."""

    def __init__(self, floor: Floor) -> None:
        self.held: dict[int, Reservation] = {}
        self._floor = floor
        self._places: dict[SlotId, Reservation] = {}
        self._devices: dict[str, datetime] = {}

    def reserve(self, task: QueuedTask) -> Reservation | None:
        """Keep places for a task that cannot gather them now; None when no node could ever give them."""
        plans = [plan for plan in self._plans(task) if plan]
        if not plans:
            return None
        ready_at, _, _, chosen = min(plans, key=lambda plan: plan[:3])
        reservation = Reservation(task=task.id, places=tuple(place.id for place in chosen), ready_at=ready_at)
        self.held[task.id] = reservation
        for place in chosen:
            self._places[place.id] = reservation
            if self._floor.capacity(place) < inf:
                self._devices[place.device] = min(ready_at, self._devices.get(place.device, ready_at))
        return reservation

    def allows(self, place: Place, expected_s: float) -> bool:
        """Whether a task of this length may use the place: not reserved, or it ends before the reservation is ready."""
        if not self._places:
            return True
        ready_at = self.ready_at(place)
        return ready_at is None or self._floor.now + timedelta(seconds=expected_s) <= ready_at

    def ready_at(self, place: Place) -> datetime | None:
        """When the reservation that binds the place should be ready; None when none does."""
        reservation = self._places.get(place.id)
        bounds = [reservation.ready_at] if reservation is not None else []
        if place.device in self._devices:
            bounds.append(self._devices[place.device])
        return min(bounds, default=None)

    def _plans(self, task: QueuedTask) -> Iterable[tuple[datetime, str, tuple[SlotId, ...], list[Place]]]:
        """For each node that could run the task: when, on which places."""
        avoided = self._floor.avoided(task)
        able = [
            place
            for place in self._floor.able(task.queue, task.engine)
            if place.gate is Gate.OPEN and place.id not in self._places and place.id not in avoided
        ]
        for node, places in by_node(able).items():
            ready = {place.id: self._ready(place, task) for place in places}
            in_time = sorted(places, key=lambda place: (ready[place.id], place.id))
            chosen = side_by_side(in_time, task, self._floor.capacity)
            if chosen:
                yield max(ready[place.id] for place in chosen), node, tuple(place.id for place in chosen), chosen

    def _ready(self, place: Place, task: QueuedTask) -> datetime:
        floor = self._floor
        if place.id not in floor.free or floor.fits(place, task):
            return floor.ends_at(place)
        busy = [floor.ends_at(neighbour) for neighbour in floor.neighbours(place) if neighbour.id not in floor.free]
        return min(busy, default=floor.now)


def gather(options: Sequence[Place], task: QueuedTask, floor: Floor, expectations: Expectations) -> list[Place]:
    """Choose N free places of one node, the best by the order of `choosing`; empty when no node has them."""
    choices = {place.id: choice_of(place, task, floor, expectations) for place in options}
    in_order = sorted(options, key=lambda place: choices[place.id])
    sets = [side_by_side(places, task, floor.room) for places in by_node(in_order).values()]
    complete = [places for places in sets if places]
    return min(complete, key=lambda places: [choices[place.id] for place in places]) if complete else []


def side_by_side(places: Iterable[Place], task: QueuedTask, room: Callable[[Place], float]) -> list[Place]:
    """Take the first N places that hold the task together; empty when they do not. A device's places share its room."""
    chosen: list[Place] = []
    taken: Counter[str] = Counter()
    need = task.memory or 0
    for place in places:
        if task.memory is None or taken[place.device] + need <= room(place):
            taken[place.device] += need
            chosen.append(place)
            if len(chosen) == task.gpus:
                return chosen
    return []


def by_node(places: Iterable[Place]) -> dict[str, list[Place]]:
    """Places of each node, in the order given."""
    nodes: defaultdict[str, list[Place]] = defaultdict(list)
    for place in places:
        nodes[place.node].append(place)
    return nodes
