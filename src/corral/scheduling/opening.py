"""Hours of places and queues: what can start now so that it ends before they do, and when what cannot could.

A task starts on a place within the hours of the place and of its queue, if it is expected to end before either closes.
Of a task of which nothing was measured, an hour must be left (`PolicyBounds.unknown_before_closing`), or half of an
opening that is shorter than two. Hours that interrupt what still runs at their end bound nothing: they are used to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from corral.hours import Hours, OpenSpan
from corral.scheduling.deadlines import Deadline, DeadlineId
from corral.scheduling.durations import Expectations
from corral.scheduling.room import Room
from corral.scheduling.values import Place, PolicyBounds, QueuedTask, is_guest

_MOST_ROUNDS = 32
"""How often the hours of a queue and of a place are looked at in turn for a time that suits both."""


class Openings:
    """The hours of one decision."""

    def __init__(
        self,
        room: Room,
        expectations: Expectations,
        bounds: PolicyBounds,
        deadlines: Mapping[DeadlineId, Deadline],
    ) -> None:
        self._room = room
        self._expectations = expectations
        self._unknown = bounds.unknown_before_closing
        self._cheap = bounds.cheap_hours
        self._is_cheap = self._cheap is None or self._cheap.is_open(room.now)
        self._deadlines = deadlines
        self._least = bounds.deadline_slack
        self._queues: dict[str, OpenSpan | None] = {}

    def is_queue_open(self, queue: str) -> bool:
        """Whether a queue is within its hours; without any it always is."""
        opening = self._find_queue_opening(queue)
        return opening is not None and opening.opens_at <= self._room.now

    def waits_for_cheap(self, task: QueuedTask) -> bool:
        """Whether a task waits for the hours of the cheapest power: they are not now, and its deadline allows it."""
        if not task.waits_for_cheap or self._is_cheap:
            return False
        deadline = None if task.deadline is None else self._deadlines.get(task.deadline)
        return deadline is None or deadline.allows_cheap(self._room.now, self._least)

    def describe_cheap(self) -> str:
        """Print when power is cheapest next."""
        assert self._cheap is not None, "only where there are such hours can a task wait for them"
        opening = self._cheap.find_opening(self._room.now)
        begins = "" if opening is None else self._cheap.describe_instant(opening.opens_at, self._room.now)
        return f"power is cheaper from {begins or 'an unknown time'}, and it waits for that"

    def list_open(self, places: Iterable[Place], task: QueuedTask) -> list[Place]:
        """List those of the places that are within their hours, while the queue of the task is within its own."""
        if not self.is_queue_open(task.queue):
            return []
        return [place for place in places if self._room.is_open_for(place, task)]

    def allows(self, place: Place, task: QueuedTask) -> bool:
        """Whether a task that starts now on a place within its hours should end before place or queue closes."""
        closes_at = self._room.closes_at(place.id)
        if closes_at is not None and place.hours is not None and not self._ends_before(place.hours, place, task):
            return False
        hours = self._room.queue(task.queue).hours
        return hours is None or self._ends_before(hours, place, task)

    def find_start(self, place: Place, task: QueuedTask, at: datetime) -> datetime | None:
        """Find when a task could start on a place, not before `at`; None where no opening of a week is long enough."""
        hours = [hours for hours in (place.hours, self._room.queue(task.queue).hours) if hours is not None]
        if self._cheap is not None and self.waits_for_cheap(task):
            hours.append(replace(self._cheap, interrupt=True))  # only its beginning counts
        for _ in range(_MOST_ROUNDS):
            start: datetime | None = at
            for own in hours:
                start = None if start is None else self._find_start(own, place, task, start)
            if start is None or start == at:
                return start
            at = start
        return None

    def describe_opening(self, places: Iterable[Place], task: QueuedTask) -> str:
        """Print what is closed and when it opens: `queue night opens at 22:00`; empty where all is open."""
        room = self._room
        hours = room.queue(task.queue).hours
        if hours is not None and not self.is_queue_open(task.queue):
            return f"queue {task.queue} {self._describe_next(hours)}"
        closed = [
            (opening.opens_at if opening else datetime.max.replace(tzinfo=room.now.tzinfo), place, place.hours)
            for place in places
            if place.hours is not None and not room.is_within_hours(place.id)
            for opening in (place.hours.find_opening(room.now),)
        ]
        if not closed:
            return ""
        _, first, hours = min(closed, key=lambda closing: (closing[0], closing[1].id))
        return f"{first.name_for(task.engine)} {self._describe_next(hours)}"

    def describe_closing(self, place: Place, task: QueuedTask) -> str:
        """Print what closes before the task should end: `queue night closes at 17:00`; empty where nothing does."""
        for name, hours in self._list_hours(place, task):
            opening = hours.find_opening(self._room.now)
            if opening is not None and opening.closes_at is not None and not self._ends_before(hours, place, task):
                return f"{name} closes at {hours.describe_instant(opening.closes_at, self._room.now)}"
        return ""

    def find_length(self, place: Place, task: QueuedTask) -> timedelta | None:
        """Return how long the task is expected to take on the place; None where nothing was measured."""
        seconds = self._expectations.find(task, place.device_model)
        return None if seconds is None else timedelta(seconds=seconds + place.start_for(task.engine))

    def _list_hours(self, place: Place, task: QueuedTask) -> Iterator[tuple[str, Hours]]:
        hours = self._room.queue(task.queue).hours
        if hours is not None:
            yield f"queue {task.queue}", hours
        if place.hours is not None:
            yield place.name_for(task.engine), place.hours

    def _describe_next(self, hours: Hours) -> str:
        opening = hours.find_opening(self._room.now)
        if opening is None:
            return "is closed"
        return f"opens at {hours.describe_instant(opening.opens_at, self._room.now)}"

    def _find_queue_opening(self, queue: str) -> OpenSpan | None:
        if queue not in self._queues:
            hours = self._room.queue(queue).hours
            always = OpenSpan(self._room.now, None)
            self._queues[queue] = always if hours is None else hours.find_opening(self._room.now)
        return self._queues[queue]

    def _ends_before(self, hours: Hours, place: Place, task: QueuedTask) -> bool:
        """Whether the task, started now within the hours, should end before they do."""
        return self._find_start(hours, place, task, self._room.now) == self._room.now

    def _find_start(self, hours: Hours, place: Place, task: QueuedTask, at: datetime) -> datetime | None:
        if hours.guests and is_guest(task.id):
            return at
        if hours.interrupt:
            return hours.find_start(at, timedelta(0))
        lasting = self.find_length(place, task)
        if lasting is not None:
            return hours.find_start(at, lasting)
        return self._find_start_of_unknown(hours, at)

    def _find_start_of_unknown(self, hours: Hours, at: datetime) -> datetime | None:
        """As soon as an hour is left, or half of an opening that is shorter than two."""
        opening = hours.find_opening(at)
        if opening is None or opening.closes_at is None:
            return opening and max(at, opening.opens_at)
        start = max(at, opening.opens_at)
        if opening.closes_at - start >= min(self._unknown, (opening.closes_at - opening.opens_at) / 2):
            return start
        following = hours.find_opening(opening.closes_at)
        return following and following.opens_at
