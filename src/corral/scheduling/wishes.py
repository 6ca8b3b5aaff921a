"""Lets a task's preferred node cost time, within a bound.

A place elsewhere counts as if the task took `PolicyBounds.node_wish` longer there. So of the free places those of the
preferred node are taken, unless others are expected to be faster by more than that. Where only places elsewhere are
free, the task waits for a busy one of its node, if it would still end no later than that: after what runs there, and
after those that wait for the same place in this decision.

The wait counts from the first decision that passed the task over (`Snapshot.passed_since`), so whatever goes first
meanwhile, a task waits no longer than the bound. Only a place whose present task is not late is waited for: what waits
always waits for an event. (Delay scheduling waits so for the node that has the data: Zaharia et al., EuroSys 2010.)

Tasks that need several GPUs are gathered where that can be done now, on their node if it has as many; where they must
wait, another node's places are reserved only if they should be ready earlier by more than the bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from corral.scheduling.durations import Expectations
from corral.scheduling.room import Room
from corral.scheduling.values import Gate, Place, PolicyBounds, QueuedTask
from corral.work import SlotId

MOST_WAITING = 32
"""Tasks that wait for their nodes in one decision; those that were passed over are shown to each later decision, and
must not keep others out of it (`PolicyBounds.affinity_window` bounds the look ahead alike)."""


class Wishes:
    """Weighs preferred nodes against others, over one decision."""

    def __init__(
        self, *, room: Room, expectations: Expectations, bounds: PolicyBounds, passed_since: Mapping[int, datetime]
    ) -> None:
        self.waiting: dict[int, datetime] = {}
        """Tasks that wait for their node, and when it should have a place for each."""
        self._room = room
        self._expectations = expectations
        self._bound = bounds.node_wish
        self._passed_since = passed_since
        self._ready: dict[SlotId, datetime] = {}
        """When places are free again after the tasks that wait for them."""

    def count_left_s(self, task: QueuedTask) -> float:
        """Seconds that its preferred node can still cost a task."""
        since = self._passed_since.get(task.id, self._room.now)
        return max(0.0, (since + self._bound - self._room.now).total_seconds())

    def is_worth(self, task: QueuedTask, near: Place, far: Place) -> bool:
        """Whether a place of the preferred node is better than one elsewhere."""
        near_s, far_s = (self._expectations.of_place(task, place) for place in (near, far))
        return near_s <= far_s + self.count_left_s(task)

    def wait(self, task: QueuedTask, far: Place) -> bool:
        """Let a task wait for its preferred node rather than have a free place elsewhere, if that is worth it."""
        if task.prefer_node is None or far.node == task.prefer_node or len(self.waiting) >= MOST_WAITING:
            return False
        left_s = self.count_left_s(task)
        near = min(self._list_busy(task), key=lambda place: (self._find_ready(place, task), place.id), default=None)
        if near is None or not left_s:
            return False
        ready_at = self._find_ready(near, task)
        ends_at = ready_at + timedelta(seconds=self._expectations.of(task, near.device_model))
        closes_at = self._room.closes_at(near.id)
        if closes_at is not None and ends_at > closes_at:
            return False
        if ends_at > self._room.now + timedelta(seconds=self._expectations.of_place(task, far) + left_s):
            return False
        self._ready[near.id] = ends_at
        self.waiting[task.id] = ready_at
        return True

    def explain_elsewhere(self, task: QueuedTask, place: Place) -> str:
        """Explain in a few words why a task gets a place that is not on its preferred node; empty where it is."""
        if task.prefer_node is None or place.node == task.prefer_node:
            return ""
        usable = list(self._list_usable(task))
        if not usable:
            reason = "has no slot that could run it"
        elif all(near.gate_for(task.engine) is not Gate.OPEN for near in usable):
            reason = "takes no new tasks"
        elif any(self._room.is_option(near, task) for near in usable):
            reason = "is slower"
        else:
            reason = "is busy for too long"
        return f"preferred node {task.prefer_node} {reason}"

    def _list_usable(self, task: QueuedTask) -> Iterator[Place]:
        """Places of the preferred node that could run the task if they were open and idle."""
        avoided = self._room.find_avoided(task)
        for place in self._room.list_on_preferred_node(task):
            if place.id not in avoided and self._room.can_ever_hold(place, task):
                yield place

    def _list_busy(self, task: QueuedTask) -> Iterator[Place]:
        """Places of the preferred node that work, on a task that is not late."""
        for place in self._list_usable(task):
            is_busy = self._room.is_busy_for(place, task)
            is_open = place.gate_for(task.engine) is Gate.OPEN and self._room.is_within_hours(place.id)
            if is_busy and is_open and not self._room.is_late(place, task):
                yield place

    def _find_ready(self, place: Place, task: QueuedTask) -> datetime:
        return self._ready.get(place.id, self._room.ready_at(place, task))


def is_elsewhere(place: Place, task: QueuedTask) -> bool:
    """Whether the task prefers another node."""
    return task.prefer_node is not None and place.node != task.prefer_node
