"""When a waiting task would start, if nothing else arrived: the queue played forward in order, with expected durations.

Every task takes the first place that it could have, within the hours of the place and the queue. Loading and turns of
models are left out, so it is an estimate for people; nothing is decided by it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from corral.scheduling.deadlines import list_urgent
from corral.scheduling.durations import Expectations
from corral.scheduling.fairness import Account
from corral.scheduling.lanes import may_share
from corral.scheduling.opening import Openings
from corral.scheduling.ordering import Line
from corral.scheduling.policy import list_usable_places
from corral.scheduling.reservation import group_by_node, take_side_by_side
from corral.scheduling.room import Room
from corral.scheduling.values import Gate, Place, QueuedTask, RunningTask, Share, Snapshot, find_share
from corral.scheduling.wishes import is_elsewhere
from corral.work import SlotId


def list_open_gates(task: QueuedTask, room: Room) -> list[Place]:
    """List the places that could run a task if they were idle and within their hours."""
    return [place for place in list_usable_places(task, room) if place.gate_for(task.engine) is Gate.OPEN]


Turn = tuple[int, datetime | None]
"""How many tasks go first on places that a task could have, and when it starts; None when that is unknown."""


def estimate_turns(snapshot: Snapshot, tasks: Collection[QueuedTask]) -> dict[int, Turn]:
    """Estimate when each of the tasks starts if nothing else arrives, by id; the queue is played forward once.

    The start is None when nothing open could run it, or what runs where it would go has an unknown end: a program of a
    user; and where another choice of the same guest starts first.
    """
    play = _Play(snapshot)
    usable = {task.id: frozenset(place.id for place in list_usable_places(task, play.room)) for task in tasks}
    ahead = dict.fromkeys(usable.values(), 0)
    turns: dict[int, Turn] = {}
    choices: defaultdict[int, list[QueuedTask]] = defaultdict(list)
    for queued in snapshot.tasks:
        if queued.choice_of is not None:
            choices[queued.choice_of].append(queued)
    line = Line(
        [queued for queued in snapshot.tasks if play.is_before(queued, tasks)],
        account=Account(snapshot.fair),
        queues=snapshot.queues,
        bounds=snapshot.bounds,
        now=snapshot.now,
        urgent=list_urgent(snapshot.deadlines, snapshot.now, snapshot.bounds.deadline_slack),
    )
    while len(turns) < len(usable) and (head := line.find_head()) is not None:
        places = play.find_first_free(head)
        if head.id in usable:
            is_known = bool(places) and not any(_has_unknown_end(place) for place in places)
            turns[head.id] = ahead[usable[head.id]], play.estimate_start(head, places) if is_known else None
        if places:
            for reachable in ahead:
                ahead[reachable] += any(place.id in reachable for place in places)
            line.start(head, play.run(head, places) * len(places))
            for other in choices.get(head.choice_of or 0, ()):
                line.remove(other)
        else:
            line.remove(head)
    return {task: turns.get(task, (ahead[usable[task]], None)) for task in usable}


def _has_unknown_end(place: Place) -> bool:
    return any(running.expected_end is None for running in place.running)


@dataclass(slots=True)
class _Use:
    """The lanes of a place that are taken, as the queue is played forward."""

    since: datetime
    """When the first of them was."""
    ends: list[datetime]
    task: QueuedTask | RunningTask | None = None
    """One that has a lane, all of which are of its engine and model; None where a neighbour computes alone."""


class _Play:
    """The places, and when each is free next; a task that computes alone takes its neighbours too."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.room = Room(snapshot)
        self._expectations = Expectations(snapshot.durations, snapshot.bounds)
        self._openings = Openings(self.room, self._expectations, snapshot.bounds, snapshot.deadlines)
        self._wish = snapshot.bounds.node_wish
        self._uses: dict[SlotId, _Use] = {place.id: self._make_use(place) for place in self.room.places}

    def _make_use(self, place: Place) -> _Use:
        now = self.room.now
        if not place.running:
            return _Use(now, [self.room.ends_at(place)])
        ends = [self.room.lane_ready_at(place, end) for end in self.room.lanes.list_ends(place)]
        return _Use(now, ends, place.running[0])

    def find_ready(self, place: Place, task: QueuedTask) -> datetime:
        """When the task could have the place."""
        ready = self._find_lane(place, task)
        if find_share(task, place) is Share.MEMORY:
            return ready
        others = (other for other in self.room.list_side_by_side(place) if other.id != place.id)
        return max([ready, *(max(self._uses[other.id].ends) for other in others)])

    def _find_lane(self, place: Place, task: QueuedTask) -> datetime:
        """When the place has a lane for the task."""
        use = self._uses[place.id]
        if not self._can_join(place, task):
            return max(use.ends)
        return use.since if len(use.ends) < place.lanes_for(task.engine) else min(use.ends)

    def _can_join(self, place: Place, task: QueuedTask) -> bool:
        other = self._uses[place.id].task
        return other is not None and may_share(place, task, other)

    def is_before(self, queued: QueuedTask, tasks: Iterable[QueuedTask]) -> bool:
        """Whether a task can take a place before others: what waits for its own hours is not in the way until then."""
        if self.room.queue(queued.queue).paused:
            return False
        return not self._is_held(queued) or any(map(self._is_held, tasks))

    def _is_held(self, task: QueuedTask) -> bool:
        return self._openings.waits_for_cheap(task) or not self._openings.is_queue_open(task.queue)

    def find_first_free(self, task: QueuedTask) -> list[Place]:
        """The places of one node that the task could have first; empty when no node could give them."""
        open_places = [place for place in list_open_gates(task, self.room) if self.find_start(place, task) is not None]
        in_time = sorted(open_places, key=lambda place: (self.start_on(place, task), place.id))
        sets = [take_side_by_side(places, task, self.room.capacity) for places in group_by_node(in_time).values()]
        complete = [places_of_node for places_of_node in sets if places_of_node]
        return min(complete, key=lambda places: self._rate(places[-1], task)) if complete else []

    def find_start(self, place: Place, task: QueuedTask) -> datetime | None:
        """When the task could start on the place, within its hours; None where these are too short."""
        return self._openings.find_start(place, task, self.find_ready(place, task))

    def start_on(self, place: Place, task: QueuedTask) -> datetime:
        """When the task could start on a place whose hours are long enough."""
        start = self.find_start(place, task)
        assert start is not None, "places without such hours were left out before"
        return start

    def _rate(self, place: Place, task: QueuedTask) -> datetime:
        """When the place is free; elsewhere than on the preferred node it counts as later (`wishes`)."""
        return self.start_on(place, task) + (self._wish if is_elsewhere(place, task) else timedelta(0))

    def estimate_start(self, task: QueuedTask, places: list[Place]) -> datetime:
        """When the task has all the places, and its owner's limit leaves room."""
        return max(self._estimate_limit_end(task), *(self.start_on(place, task) for place in places))

    def _estimate_limit_end(self, task: QueuedTask) -> datetime:
        """When the owner's running tasks leave room for one more; now, unless a limit holds it."""
        room = self.room
        if not room.is_limited(task):
            return room.now
        ends = [
            max(room.now, room.table.ends_at(running))
            for place in room.places
            for running in place.running
            if (running.queue, running.owner) == (task.queue, task.owner)
        ]
        return min(ends, default=room.now)

    def run(self, task: QueuedTask, places: list[Place]) -> float:
        """Let the task have the places, and return its expected seconds."""
        seconds = max(self._expectations.of(task, place.device_model) for place in places)
        start = max(self.start_on(place, task) for place in places)
        end = start + timedelta(seconds=seconds)
        for place in places:
            self._take_lane(place, task, start, end)
            if find_share(task, place) is not Share.MEMORY:
                others = (other for other in self.room.list_side_by_side(place) if other.id != place.id)
                self._uses.update({other.id: _Use(end, [end]) for other in others})
        return seconds

    def _take_lane(self, place: Place, task: QueuedTask, start: datetime, end: datetime) -> None:
        use = self._uses[place.id]
        if not self._can_join(place, task) or start >= max(use.ends):
            self._uses[place.id] = _Use(start, [end], task)
            return
        if len(use.ends) == place.lanes_for(task.engine):
            use.ends.remove(min(use.ends))
        use.ends.append(end)
