"""Lets a task whose model is resident go before others, within a window, and for a bounded time.

Loading a model can take longer than the work, so A B A B is better run as A A B B. llama-swap reorders so without a
bound, and a stream to the resident model starves the others; InvokeAI looks 32 tasks ahead and has no bound in time.

Here models take *turns*. A task whose model is on no place waits while the free place's model is in its turn, or that
of another place of the device that would have to be given up for it. A turn lasts for `PolicyBounds.affinity_delay`, or
for `PART_OF_WAIT` of what the task has waited already if that is longer, from the time at which the model was loaded. A
task whose model is on a busy place that should be free in time waits for that place instead, but is passed only by
tasks that came little later than itself, so that a model which needs a second place gets it. In either case what passes
is of the same class and priority, of no lower precedence where it is of the same owner, and is expected to end within
the bound from the first time the task was passed over. Tasks that need several GPUs are never passed over, and those
that prefer another node pass nothing.

So no task starves. What takes a place when a turn is over is the first task in order. A turn serves its model's tasks
in order too: tasks that came after a waiting one are served only when those of their model that came before are, and
then this model has no claim to another turn before it. So of M models on S places at most (M - 1) x S such turns
overtake a task, which delays it by at most (M - 1) turns and their loads (in addition to what came within the bound
after it and passed while it waited for a place with its model).

The bound is relative because a swap costs the same whatever the length of the queue: where all wait for an
hour, a turn of two minutes spends a tenth of all time on loading and makes every wait longer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

from corral.scheduling.choosing import Choosing
from corral.scheduling.durations import Expectations
from corral.scheduling.giving_up import is_resident
from corral.scheduling.ordering import Line, yields_to
from corral.scheduling.place_table import Work
from corral.scheduling.room import Room, is_preferred
from corral.scheduling.values import Gate, Place, PolicyBounds, QueuedTask, Turn
from corral.scheduling.wishes import is_elsewhere
from corral.work import SlotId

PART_OF_WAIT = 0.5
"""How much longer a wait can become for one turn of another model; `python -m benchmarks.policies` shows the effect."""


def find_patience(task: QueuedTask, now: datetime, bounds: PolicyBounds) -> timedelta:
    """How long a task whose turn has come can be passed over for one turn of another model."""
    return max(bounds.affinity_delay, (now - task.queued_at) * PART_OF_WAIT)


class Affinity:
    """Looks for tasks whose model is resident, over one decision."""

    def __init__(
        self,
        *,
        room: Room,
        expectations: Expectations,
        choosing: Choosing,
        bounds: PolicyBounds,
        passed_since: Mapping[int, datetime],
        turns: Mapping[SlotId, Turn],
    ) -> None:
        self._room = room
        self._expectations = expectations
        self._choosing = choosing
        self._bounds = bounds
        self._passed_since = passed_since
        self._turns = turns

    def look_ahead(self, line: Line, head: QueuedTask, place: Place) -> tuple[QueuedTask, Place] | None:
        """Find a task behind the head that should go first, because its model is loaded and the head's is not.

        It goes on the head's place, or on another of the device whose model would have to be given up for the head.
        """
        if is_resident(place, head) or is_preferred(place, head) or place.id in self._room.lanes.shared:
            return None
        for other, models in self._list_losing(place, head):
            passing = self._find_passing(line, head, other, models)
            if passing is not None:
                return passing, other
        return None

    def _list_losing(self, place: Place, head: QueuedTask) -> Iterator[tuple[Place, set[Work]]]:
        """The head's place with its models, then others with those that they give up for it, in the order of that."""
        if place.resident:
            yield place, {(resident.engine, resident.model) for resident in place.resident}
        losing: dict[SlotId, set[Work]] = {}
        for loser, resident in self._room.plan_evictions(place, head)[0]:
            if loser != place.id and loser in self._room.free:
                losing.setdefault(loser, set()).add((resident.engine, resident.model))
        for loser, models in losing.items():
            yield self._room.free[loser], models

    def _find_passing(self, line: Line, head: QueuedTask, place: Place, models: set[Work]) -> QueuedTask | None:
        """Find a task behind the head that needs one of these models, and can have the place where they are."""
        if not line.is_wanted(models):
            return None
        left, latest = self.find_limits(head, place)
        left_s = left.total_seconds()
        expect_seconds = self._expectations.on(place.device_model)
        for task in line.look_behind_head(self._bounds.affinity_window, expect_seconds):
            if task.gpus > 1:
                if place.id in self._room.eligible(task).members:
                    return None
            elif (
                (task.engine, task.model) in models
                and not is_elsewhere(place, task)
                and task.queued_at <= latest
                and not yields_to(task, head)
                and expect_seconds(task) <= left_s
                and not self._room.is_limited(task)
                and self._choosing.can_have(task, place)
            ):
                return task
        return None

    def find_limits(self, head: QueuedTask, place: Place) -> tuple[timedelta, datetime]:
        """How long what passes the head on the place can take, and the latest time at which it came."""
        now, delay = self._room.now, self._bounds.affinity_delay
        since = self._passed_since.get(head.id, now)
        turn = self._turns.get(place.id)
        if turn is None or not _is_in_turn(place, turn):
            return since + delay - now, now
        delay = find_patience(head, now, self._bounds)
        if self._has_a_place_soon(head, since + delay):
            return since + delay - now, head.queued_at + delay
        return min(since, turn.since) + delay - now, now

    def _has_a_place_soon(self, head: QueuedTask, until: datetime) -> bool:
        """Whether a busy place with the head's model should be free in time."""
        if until < self._room.now:
            return False
        able = self._room.eligible(head).members
        return any(
            place.id in able and place.gate_for(head.engine) is Gate.OPEN and self._room.is_within_hours(place.id)
            for place in self._room.lanes.find_free_by((head.engine, head.model), until)
        )


def _is_in_turn(place: Place, turn: Turn) -> bool:
    """Whether the place still works with the model whose turn it is."""
    work = (turn.engine, turn.model)
    return place.work == work or any((held.engine, held.model) == work for held in place.resident)
