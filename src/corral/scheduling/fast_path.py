"""The fast path: the places where a guest can start at once, without a decision; else the policy has to look.

A guest takes it where the policy could not decide otherwise: its model is in the memory of a place that is free or has
a free lane, it fits there with nothing given up, and nothing waits that could go first. In all other cases, hours and
queues with rules among them, the guest waits for the next decision, some milliseconds.

The cost is some microseconds, however much waits: `python -m benchmarks.guests` prints that of a whole turn.
"""

from __future__ import annotations

from math import inf

from corral.scheduling.giving_up import is_resident
from corral.scheduling.lanes import suits
from corral.scheduling.place_table import PlaceTable, is_idle
from corral.scheduling.room import load_of
from corral.scheduling.values import Place, QueuedTask, Share, find_share


def find_open_places(guest: QueuedTask, places: PlaceTable) -> list[Place]:
    """Find the places where a guest can start now, of those where the fewest of the lanes are taken."""
    options = [
        (len(place.running) / place.lanes_for(guest.engine), place)
        for place in places.eligible(None, guest.engine, guest.model).free.values()
        if place.hours is None
        and (guest.model is None or is_resident(place, guest))
        and not place.is_among(guest.refused_slots, guest.engine)
        and _can_compute(guest, place, places)
        and _fits_as_it_is(guest, place, places)
    ]
    least = min((taken for taken, _ in options), default=0.0)
    return [place for taken, place in options if taken == least]


def _can_compute(guest: QueuedTask, place: Place, places: PlaceTable) -> bool:
    """Whether the place's processor is the guest's to use; `free` has no place next to one that computes alone."""
    if place.processor is None or find_share(guest, place) is Share.MEMORY:
        return True
    return places.processors[place.processor].computing == bool(place.running)


def _fits_as_it_is(guest: QueuedTask, place: Place, places: PlaceTable) -> bool:
    """Whether the guest fits next to all that is in the memory of its device now."""
    device = places.devices[place.device]
    if place.running:
        return suits(place, guest, place.running, device.capacity)
    if device.capacity == inf or guest.memory is None:
        return True
    beside = sum(
        resident.memory or 0
        for other in device.places.values()
        if other.id != place.id and is_idle(other)
        for resident in other.resident
    )
    return device.held + load_of(guest, place.resident) + beside <= device.capacity
