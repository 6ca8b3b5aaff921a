"""The policy: which tasks start now, on which places, and which rule keeps each of the others waiting.

A pure function of a snapshot. The task that goes first (`ordering`) takes the best place it can use (`floor`,
`choosing`) that is not too late for it (`finishing`), unless another's model is resident there (`affinity`); a task
that needs several GPUs gathers or reserves (`reservation`). It stops when no place is free. A task that nothing free
can run is never looked at twice, nor are those that ask for the same (`_shape`): the room only shrinks while a decision
goes on.

With one place free and 512 candidates a decision takes about half a millisecond (`python -m benchmarks.policy_cost`);
with none free it costs the look at the places.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from operator import attrgetter

from corral.scheduling.durations import Expectations
from corral.scheduling.fairness import Account
from corral.scheduling.values import Assignment, Decision, FairShare, Place, QueuedTask, Rule, Snapshot, Turn
from corral.work import SlotId
from doubles.policy_before.affinity import Affinity
from doubles.policy_before.choosing import best_place, is_resident
from doubles.policy_before.finishing import Finishing
from doubles.policy_before.floor import Floor, is_free
from doubles.policy_before.ordering import Line
from doubles.policy_before.reasons import Waiting, rule_of
from doubles.policy_before.reservation import Reservations, gather

_Shape = tuple[object, ...]

_demand: Callable[[QueuedTask], _Shape] = attrgetter("queue", "engine", "memory", "gpus")
"""What decides whether a task could use a place that is free, whatever is loaded there."""

_shape: Callable[[QueuedTask], _Shape] = attrgetter("queue", "engine", "model", "memory", "gpus", "avoid_slots")
"""What decides whether a free place can run the task; tasks of one shape stand or fall together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A decision, and how it left the places: what explanations are made of."""

    assignments: tuple[Assignment, ...] = ()
    floor: Floor
    reservations: Reservations
    passed: frozenset[int] = frozenset()
    """Tasks passed over in this decision."""
    late: frozenset[_Shape] = frozenset()
    """What waits for faster places although slower ones are free."""
    fair: FairShare
    passed_since: Mapping[int, datetime] = field(default_factory=dict[int, datetime])
    turns: Mapping[SlotId, Turn] = field(default_factory=dict[SlotId, Turn])

    def rule_of(self, task: QueuedTask) -> Rule:
        """The rule that keeps a task waiting."""
        rule = rule_of(task, self.floor, self.passed)
        return Rule.FASTER_SOON if rule is Rule.RESERVED and _shape(task) in self.late else rule


def decide(snapshot: Snapshot) -> Decision:
    """Say what to start now, what waits and why, and the state that the next decision needs."""
    if not any(map(is_free, snapshot.places)):
        return _nothing_free(snapshot)
    outcome = resolve(snapshot)
    started = frozenset(assignment.task for assignment in outcome.assignments)
    return Decision(
        assignments=outcome.assignments,
        waiting=Waiting(snapshot.tasks, started, outcome.rule_of),
        fair=outcome.fair,
        passed_since=outcome.passed_since,
        turns=outcome.turns,
    )


def resolve(snapshot: Snapshot) -> Outcome:
    """Decide, and keep how the places were left."""
    return _Round(snapshot).outcome()


def _nothing_free(snapshot: Snapshot) -> Decision:
    """Answer without a look at the tasks; rules are worked out if somebody asks."""
    left = cache(lambda: resolve(snapshot))
    return Decision(
        assignments=(),
        waiting=Waiting(snapshot.tasks, (), lambda task: left().rule_of(task)),
        fair=snapshot.fair,
        passed_since=snapshot.passed_since,
        turns=snapshot.turns,
    )


class _Round:
    """One decision while it is made."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._floor = Floor(snapshot)
        self._expectations = Expectations(snapshot.durations, snapshot.bounds)
        self._reservations = Reservations(self._floor)
        self._account = Account(snapshot.fair)
        self._affinity = Affinity(
            floor=self._floor,
            expectations=self._expectations,
            reservations=self._reservations,
            bounds=snapshot.bounds,
            passed_since=snapshot.passed_since,
            turns=snapshot.turns,
        )
        self._eligible = self._those_with_a_place()
        self._line = Line(
            self._eligible,
            account=self._account,
            queues=snapshot.queues,
            bounds=snapshot.bounds,
            now=snapshot.now,
        )
        self._blocked: set[_Shape] = set()
        self._passed: set[int] = set()
        self._turns = dict(snapshot.turns)
        self._assignments: list[Assignment] = []
        self._started: set[int] = set()
        self._finishing = Finishing(
            floor=self._floor,
            expectations=self._expectations,
            tasks=snapshot.tasks,
            has_started=self._started.__contains__,
        )
        self._late: set[_Shape] = set()

    def outcome(self) -> Outcome:
        while self._floor.free:
            task = self._line.head()
            if task is None:
                break
            self._consider(task)
        return Outcome(
            assignments=tuple(self._assignments),
            floor=self._floor,
            reservations=self._reservations,
            passed=frozenset(self._passed),
            late=frozenset(self._late),
            fair=self._account.closed() if self._assignments else self._snapshot.fair,
            passed_since=self._passed_since(),
            turns=self._turns,
        )

    def _those_with_a_place(self) -> Sequence[QueuedTask]:
        """Leave out at once what no free place can run; tasks that need several GPUs stay, for they may reserve."""
        tasks = self._snapshot.tasks
        one_of_each = dict(zip(map(_demand, tasks), tasks, strict=True))
        without = {demand for demand, task in one_of_each.items() if not self._has_a_place(task)}
        return [task for task in tasks if _demand(task) not in without] if without else tasks

    def _has_a_place(self, task: QueuedTask) -> bool:
        floor = self._floor
        if floor.queue(task.queue).paused:
            return False
        able = floor.able(task.queue, task.engine)
        return (
            bool(able) if task.gpus > 1 else any(place.id in floor.free and floor.fits(place, task) for place in able)
        )

    def _consider(self, task: QueuedTask) -> None:
        """Start the head, let another pass it, or take it out because nothing free can run it."""
        shape = _shape(task)
        if shape in self._blocked or self._floor.is_limited(task):
            self._line.remove(task)
        elif task.gpus > 1:
            self._gather(task, shape)
        else:
            self._place(task, shape)

    def _place(self, task: QueuedTask, shape: _Shape) -> None:
        allowed = self._allowed(task)
        options = self._finishing.in_time(task, allowed)
        if not options:
            if allowed:
                self._late.add(shape)
            self._blocked.add(shape)
            self._line.remove(task)
            return
        place, because = best_place(options, task, self._floor, self._expectations)
        follower = self._affinity.look_ahead(self._line, task, place)
        if follower is None:
            self._start(task, [place], because)
        else:
            self._passed.add(task.id)
            self._start(follower[0], [follower[1]], "model resident")

    def _gather(self, task: QueuedTask, shape: _Shape) -> None:
        places = gather(self._allowed(task), task, self._floor, self._expectations)
        if places:
            self._start(task, places, f"{task.gpus} slots of {places[0].node}")
            return
        self._line.remove(task)
        if self._reservations.reserve(task) is None:
            self._blocked.add(shape)

    def _allowed(self, task: QueuedTask) -> list[Place]:
        return [
            place
            for place in self._floor.options(task)
            if self._reservations.allows(place, self._expectations.of(task, place.device_model))
        ]

    def _start(self, task: QueuedTask, places: list[Place], because: str) -> None:
        if not self._assignments:
            self._account.advance({task.owner for task in self._eligible})
        expected_s = max(self._expectations.of(task, place.device_model) for place in places)
        self._note_turns(task, places)
        evicted = self._floor.take(places, task, expected_s)
        self._line.start(task, expected_s * len(places))
        self._started.add(task.id)
        self._assignments.append(
            Assignment(
                task=task.id,
                places=tuple(place.id for place in places),
                evict=evicted,
                expected_s=expected_s,
                because=because,
            )
        )

    def _note_turns(self, task: QueuedTask, places: list[Place]) -> None:
        """Let a turn begin where the task's model has to be loaded."""
        if task.model is None:
            return
        for place in places:
            if not is_resident(place, task):
                self._turns[place.id] = Turn(engine=task.engine, model=task.model, since=self._snapshot.now)

    def _passed_since(self) -> dict[int, datetime]:
        """Since when each task that still waits has been passed over; tasks that are no longer there are forgotten."""
        before = self._snapshot.passed_since
        if not before and not self._passed:
            return {}
        kept = {task.id for task in self._snapshot.tasks} - self._started
        now = self._snapshot.now
        return {task: before.get(task, now) for task in sorted({*before, *self._passed} & kept)}
