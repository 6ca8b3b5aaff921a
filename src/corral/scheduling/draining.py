"""Lets the lanes of a place run empty for a task that goes first and needs the place, or its device, without them.

While one lane after the other is filled again, a place is never empty: a task of another model, one that computes alone
next to it, or one that needs its memory would wait for ever. So what goes on a shared place after such a task in order
must be expected to end before what is there, which delays nothing, or pass it within the bounds of `affinity`: as long
as the turn of the place's model lasts, and only what is of the same class and priority, and of no lower precedence
where it is of the same owner.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from corral.scheduling.affinity import Affinity
from corral.scheduling.durations import Expectations
from corral.scheduling.opening import Openings
from corral.scheduling.room import Room
from corral.scheduling.values import Gate, Owner, Place, Priority, QueuedTask, TaskClass
from corral.work import SlotId


@dataclass(slots=True)
class _Claim:
    """The tasks that go first and need a place without its lanes, and the bounds for what passes all of them."""

    looked_at: int = 0
    """How many of the tasks that wait were looked at."""
    tasks: list[int] = field(default_factory=list[int])
    ranks: set[tuple[TaskClass, Priority]] = field(default_factory=set[tuple[TaskClass, Priority]])
    precedences: dict[Owner, int] = field(default_factory=dict[Owner, int])
    """The highest of each owner's."""
    left: timedelta = timedelta.max
    latest: datetime | None = None


class Draining:
    """The places whose lanes run empty, over one decision."""

    def __init__(self, room: Room, expectations: Expectations, affinity: Affinity, openings: Openings) -> None:
        self._room = room
        self._expectations = expectations
        self._affinity = affinity
        self._openings = openings
        self._waiting: list[QueuedTask] = []
        self._claims: dict[SlotId, _Claim] = {}

    def note(self, task: QueuedTask) -> None:
        """Note that a task, the first in order, finds nothing free."""
        self._waiting.append(task)

    def allows(self, place: Place, task: QueuedTask) -> bool:
        """Whether a task can have a place, as far as those before it are concerned that need it without its lanes."""
        if place.id not in self._room.lanes.shared:
            return True
        claim = self._find_claim(place)
        return not claim.tasks or self._ends_before(place, task) or self._passes(claim, place, task)

    def list_passed(self, place: Place, task: QueuedTask) -> Collection[int]:
        """List the tasks that wait longer for the place where this one gets a lane of it."""
        if place.id not in self._room.lanes.shared:
            return ()
        claim = self._find_claim(place)
        return () if self._ends_before(place, task) else claim.tasks

    def _ends_before(self, place: Place, task: QueuedTask) -> bool:
        """Whether a task should end before what has the other lanes."""
        seconds = self._expectations.of_place(task, place)
        return self._room.now + timedelta(seconds=seconds) <= max(self._room.lanes.list_ends(place))

    def _passes(self, claim: _Claim, place: Place, task: QueuedTask) -> bool:
        return (
            claim.ranks == {(task.task_class, task.priority)}
            and claim.precedences.get(task.owner, task.precedence) <= task.precedence
            and timedelta(seconds=self._expectations.of_place(task, place)) <= claim.left
            and (claim.latest is None or task.queued_at <= claim.latest)
        )

    def _find_claim(self, place: Place) -> _Claim:
        """The claim on a shared place, with the tasks that were noted since the last look."""
        claim = self._claims.setdefault(place.id, _Claim())
        for task in self._waiting[claim.looked_at :]:
            if self.needs_empty(task, place):
                left, latest = self._affinity.find_limits(task, place)
                claim.tasks.append(task.id)
                claim.ranks.add((task.task_class, task.priority))
                highest = claim.precedences.get(task.owner, task.precedence)
                claim.precedences[task.owner] = max(highest, task.precedence)
                claim.left = min(claim.left, left)
                claim.latest = min(latest, claim.latest or latest)
        claim.looked_at = len(self._waiting)
        return claim

    def needs_empty(self, task: QueuedTask, place: Place) -> bool:
        """Whether a task could have the place, or one that shares its device, if no lane of it were taken."""
        room = self._room
        members, avoided = room.eligible(task).members, room.find_avoided(task)
        return any(
            other.id in members
            and other.id not in avoided
            and other.gate_for(task.engine) is Gate.OPEN
            and room.is_within_hours(other.id)
            and room.can_ever_hold(other, task)
            and not (other.id in room.free and room.can_hold(other, task))
            and self._openings.allows(other, task)
            for other in room.neighbours(place)
        )
