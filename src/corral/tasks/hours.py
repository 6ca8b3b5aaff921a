"""Keeps the hours of slots and queues while the server runs: what they end is interrupted, and models are given up.

The policy knows hours by itself; here is what follows of them for what runs already. Everything is looked at when hours
begin or end, when the cluster file or the clock was changed, and never in between.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

import structlog

from corral.hours import Hours
from corral.scheduling.values import Queue
from corral.slots.values import Wanted
from corral.tasks.guest_turns import Reason
from corral.tasks.picture import Picture
from corral.tasks.running import Attempt

log = structlog.get_logger()


_CLOSED = Reason("the hours of its slot are over", "`corral slots list` shows when slots open")


class HoursKeeper:
    """Called by the dispatcher's loop alone."""

    def __init__(self, picture: Picture, *, read_clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._picture = picture
        self._read_clock = read_clock
        self._looked_at: datetime | None = None
        self._next_at: datetime | None = None
        self._wanted: Wanted | None = None
        self._queues: Mapping[str, Queue] | None = None

    def keep(self) -> None:
        """Close what is outside of its hours and open what is within, if that changed since the last look."""
        now, picture = self._read_clock(), self._picture
        if self._is_current(now):
            return
        self._looked_at, self._wanted, self._queues = now, picture.slots.wanted, picture.queues
        self._next_at = min(
            (change for hours in self._list_hours() if (change := hours.find_next_change(now)) is not None),
            default=None,
        )
        for place in picture.slots:
            hours = place.device.hours
            place.is_outside_hours = hours is not None and not hours.guests and not hours.is_open(now)
            if hours is not None and hours.interrupt and place.is_outside_hours:
                picture.end_turns([place], _CLOSED)
        for attempt in picture.attempts.values():
            if any(hours.interrupt and not hours.is_open(now) for hours in self._list_hours_of(attempt)):
                log.info("attempt_interrupted_by_hours", task=attempt.task.id, slots=list(attempt.slots))
                attempt.close()

    def count_seconds_left(self) -> float:
        """Count the seconds until hours begin or end; infinite where none do."""
        if self._next_at is None:
            return math.inf
        return max(0.0, (self._next_at - self._read_clock()).total_seconds())

    def _is_current(self, now: datetime) -> bool:
        """Whether the last look still holds."""
        if self._looked_at is None or now < self._looked_at:  # the clock was put back
            return False
        if self._picture.slots.wanted is not self._wanted or self._picture.queues is not self._queues:
            return False
        return self._next_at is None or now < self._next_at

    def _list_hours(self) -> Iterator[Hours]:
        for place in self._picture.slots:
            if place.device.hours is not None:
                yield place.device.hours
        for queue in self._picture.queues.values():
            if queue.hours is not None:
                yield queue.hours

    def _list_hours_of(self, attempt: Attempt) -> Iterator[Hours]:
        queue = self._picture.queues.get(attempt.task.queue)
        for hours in (*(place.device.hours for place in attempt.places), None if queue is None else queue.hours):
            if hours is not None:
                yield hours
