"""Lets a task whose model is resident go before others, within a window, and for a bounded time.

Loading a model can take longer than the work, so A B A B is better run as A A B B. llama-swap reorders so without a
bound, and a stream to the resident model starves the others; InvokeAI looks 32 tasks ahead and has no bound in time.

Here models take *turns*. A task whose model is on no place waits while the free place's model is in its turn, which
lasts for `PolicyBounds.affinity_delay`, or for `PART_OF_WAIT` of what the task has waited already if that is longer,
from the time at which the model was loaded. A task whose model is on a busy place that should be free in time waits for
that place instead, but is passed only by tasks that came little later than itself, so that a model which needs a second
place gets it. In either case what passes is of the same class and priority, and is expected to end within the bound
from the first time the task was passed over. Tasks that need several GPUs are never passed over.

So nobody starves. What takes a place when a turn is over is the first task in order. A turn serves its model's tasks in
order too: tasks that came after a waiting one are served only when those of their model that came before are, and
then this model has no claim to another turn before it. So of M models on S places at most (M - 1) x S such turns
overtake a task, which delays it by at most (M - 1) turns and their loads (beside what came within the bound after it
and passed while it waited for a place with its model).

The bound is relative because a swap costs the same whatever the length of the queue: where everybody waits for an
hour, a turn of two minutes spends a tenth of all time on loading and makes every wait longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from corral.scheduling.durations import Expectations
from corral.scheduling.values import Gate, Place, PolicyBounds, QueuedTask, Turn
from corral.work import SlotId
from doubles.policy_before.choosing import is_resident
from doubles.policy_before.floor import Floor
from doubles.policy_before.ordering import Line
from doubles.policy_before.reservation import Reservations

PART_OF_WAIT = 0.5
"""How much longer a wait may become for one turn of another model; `python -m benchmarks.policies` shows the effect."""


def patience_of(task: QueuedTask, now: datetime, bounds: PolicyBounds) -> timedelta:
    """How long a task whose turn has come may be passed over for one turn of another model."""
    return max(bounds.affinity_delay, (now - task.queued_at) * PART_OF_WAIT)


class Affinity:
    """Looks for tasks whose model is resident, over one decision."""

    def __init__(
        self,
        *,
        floor: Floor,
        expectations: Expectations,
        reservations: Reservations,
        bounds: PolicyBounds,
        passed_since: Mapping[int, datetime],
        turns: Mapping[SlotId, Turn],
    ) -> None:
        self._floor = floor
        self._expectations = expectations
        self._reservations = reservations
        self._bounds = bounds
        self._passed_since = passed_since
        self._turns = turns

    def look_ahead(self, line: Line, head: QueuedTask, place: Place) -> tuple[QueuedTask, Place] | None:
        """Find a task behind the head that should go first, because its model is loaded and the head's is not."""
        if is_resident(place, head) or head.prefer_slot == place.id:
            return None
        losing = {place.id: {(resident.engine, resident.model) for resident in place.resident}}
        for loser, resident in self._floor.evictions(place, head)[0]:
            if loser != place.id and loser in self._floor.free:
                losing.setdefault(loser, set()).add((resident.engine, resident.model))
        for name, models in losing.items():
            follower = self._follower(line, head, self._floor.free[name], models) if models else None
            if follower is not None:
                return follower, self._floor.free[name]
        return None

    def _follower(
        self, line: Line, head: QueuedTask, place: Place, models: set[tuple[str, str | None]]
    ) -> QueuedTask | None:
        if not line.is_wanted(models):
            return None
        left, latest = self._find_limits(head, place)
        for task in line.behind_head(self._bounds.affinity_window, lambda other: self._seconds(other, place)):
            if not self._may_have(task, place):
                continue
            if task.gpus > 1:
                return None
            if (
                (task.engine, task.model) in models
                and task.queued_at <= latest
                and not (task.owner == head.owner and task.precedence < head.precedence)
                and timedelta(seconds=self._seconds(task, place)) <= left
            ):
                return task
        return None

    def _find_limits(self, head: QueuedTask, place: Place) -> tuple[timedelta, datetime]:
        """How long what passes the head on the place may take, and until when it may have come."""
        now, delay = self._floor.now, self._bounds.affinity_delay
        since = self._passed_since.get(head.id, now)
        turn = self._turns.get(place.id)
        if turn is None or not any(
            (resident.engine, resident.model) == (turn.engine, turn.model) for resident in place.resident
        ):
            return since + delay - now, now
        delay = patience_of(head, now, self._bounds)
        if self._has_a_place_soon(head, since + delay):
            return since + delay - now, head.queued_at + delay
        return min(since, turn.since) + delay - now, now

    def _has_a_place_soon(self, head: QueuedTask, until: datetime) -> bool:
        """Whether a busy place with the head's model should be free in time."""
        return any(
            place.gate is Gate.OPEN
            and self._floor.works_with(place) == (head.engine, head.model)
            and self._floor.ends_at(place) <= until
            for place in self._floor.able(head.queue, head.engine)
        )

    def _seconds(self, task: QueuedTask, place: Place) -> float:
        return self._expectations.of(task, place.device_model)

    def _may_have(self, task: QueuedTask, place: Place) -> bool:
        """Whether the place could be given to the task now; with others, if it needs several."""
        if task.gpus > 1:
            return place in self._floor.able(task.queue, task.engine)
        return (
            not self._floor.is_limited(task)
            and any(option.id == place.id for option in self._floor.options(task))
            and self._reservations.allows(place, self._seconds(task, place))
        )
