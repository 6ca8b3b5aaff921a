"""The policy: which tasks start now, on which slots, and which rule keeps each of the others waiting.

A pure function of a snapshot. The task that goes first (`ordering`) takes the best slot it can use (`room`,
`choosing`) that is not too late for it (`finishing`), unless another's model is resident there (`affinity`); a task
that needs several GPUs gathers or reserves (`reservation`). It stops when no slot is free. A task that nothing free can
run is never looked at twice, nor are those that ask for the same (`_shape`): the room only shrinks while a decision
goes on.

What a decision costs grows with the candidates and with what is free, not with slots on which nothing changed: those
are in a table that is kept between decisions (`slot_table`). `python -m benchmarks.policy_cost` prints the times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from operator import attrgetter

from corral.scheduling.affinity import Affinity
from corral.scheduling.choosing import Choosing, is_resident
from corral.scheduling.durations import Expectations
from corral.scheduling.fairness import Account
from corral.scheduling.finishing import Finishing
from corral.scheduling.ordering import Line
from corral.scheduling.reasons import Waiting, rule_of
from corral.scheduling.reservation import Reservations, gather
from corral.scheduling.room import Room
from corral.scheduling.slot_table import SlotTable, is_free
from corral.scheduling.values import Assignment, Decision, FairShare, QueuedTask, Rule, Slot, Snapshot, Turn
from corral.work import SlotId

_Shape = tuple[object, ...]

_demand: Callable[[QueuedTask], _Shape] = attrgetter("queue", "engine", "memory", "gpus")
"""What decides whether a task could use a slot that is free, whatever is loaded there."""

_shape: Callable[[QueuedTask], _Shape] = attrgetter("queue", "engine", "model", "memory", "gpus", "avoid_slots")
"""What decides whether a free slot can run the task; tasks of one shape stand or fall together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A decision, and how it left the slots: what explanations are made of."""

    assignments: tuple[Assignment, ...] = ()
    room: Room
    reservations: Reservations
    passed: frozenset[int] = frozenset()
    """Tasks passed over in this decision."""
    late: frozenset[_Shape] = frozenset()
    """What waits for faster slots although slower ones are free."""
    fair: FairShare
    passed_since: Mapping[int, datetime] = field(default_factory=dict[int, datetime])
    turns: Mapping[SlotId, Turn] = field(default_factory=dict[SlotId, Turn])

    def rule_of(self, task: QueuedTask) -> Rule:
        """The rule that keeps a task waiting."""
        rule = rule_of(task, self.room, self.passed)
        return Rule.FASTER_SOON if rule is Rule.RESERVED and _shape(task) in self.late else rule


def decide(snapshot: Snapshot) -> Decision:
    """Say what to start now, what waits and why, and the state that the next decision needs."""
    if not _has_a_free_slot(snapshot):
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


def _has_a_free_slot(snapshot: Snapshot) -> bool:
    slots = snapshot.slots
    return bool(slots.free) if isinstance(slots, SlotTable) else any(map(is_free, slots))


def resolve(snapshot: Snapshot) -> Outcome:
    """Decide, and keep how the slots were left."""
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
        self._room = Room(snapshot)
        self._expectations = Expectations(snapshot.durations, snapshot.settings)
        self._reservations = Reservations(self._room)
        self._choosing = Choosing(self._room, self._expectations, allows=self._reservations.allows)
        self._account = Account(snapshot.fair)
        self._affinity = Affinity(
            room=self._room,
            expectations=self._expectations,
            choosing=self._choosing,
            settings=snapshot.settings,
            passed_since=snapshot.passed_since,
            turns=snapshot.turns,
        )
        self._eligible = self._those_with_a_slot()
        self._line = Line(
            self._eligible,
            account=self._account,
            queues=snapshot.queues,
            settings=snapshot.settings,
            now=snapshot.now,
        )
        self._blocked: set[_Shape] = set()
        self._passed: set[int] = set()
        self._turns = dict(snapshot.turns)
        self._assignments: list[Assignment] = []
        self._started: set[int] = set()
        self._finishing = Finishing(room=self._room, expectations=self._expectations, tasks=snapshot.tasks)
        self._late: set[_Shape] = set()

    def outcome(self) -> Outcome:
        while self._room.free:
            task = self._line.head()
            if task is None:
                break
            self._consider(task)
        return Outcome(
            assignments=tuple(self._assignments),
            room=self._room,
            reservations=self._reservations,
            passed=frozenset(self._passed),
            late=frozenset(self._late),
            fair=self._account.closed() if self._assignments else self._snapshot.fair,
            passed_since=self._passed_since(),
            turns=self._turns,
        )

    def _those_with_a_slot(self) -> Sequence[QueuedTask]:
        """Leave out at once what no free slot can run; tasks that need several GPUs stay, for they may reserve."""
        tasks = self._snapshot.tasks
        one_of_each = dict(zip(map(_demand, tasks), tasks, strict=True))
        without = {demand for demand, task in one_of_each.items() if not self._has_a_slot(task)}
        return [task for task in tasks if _demand(task) not in without] if without else tasks

    def _has_a_slot(self, task: QueuedTask) -> bool:
        room = self._room
        if room.queue(task.queue).paused:
            return False
        if task.gpus > 1:
            return bool(room.eligible(task.queue, task.engine).members)
        return room.has_an_option(task)

    def _consider(self, task: QueuedTask) -> None:
        """Start the head, let another pass it, or take it out because nothing free can run it."""
        shape = _shape(task)
        if shape in self._blocked or self._room.is_limited(task):
            self._line.remove(task)
        elif task.gpus > 1:
            self._gather(task, shape)
        else:
            self._place(task, shape)

    def _place(self, task: QueuedTask, shape: _Shape) -> None:
        pick = self._choosing.pick(task, self._finishing.is_too_late)
        if pick.slot is None:
            if pick.is_late:
                self._late.add(shape)
            self._blocked.add(shape)
            self._line.remove(task)
            return
        passing = self._affinity.look_ahead(self._line, task, pick.slot)
        if passing is None:
            self._start(task, [pick.slot], pick.because)
        else:
            self._passed.add(task.id)
            self._start(passing, [pick.slot], "model resident")

    def _gather(self, task: QueuedTask, shape: _Shape) -> None:
        slots = gather(self._allowed(task), task, self._room, self._expectations)
        if slots:
            self._start(task, slots, f"{task.gpus} slots of {slots[0].node}")
            return
        self._line.remove(task)
        if self._reservations.reserve(task) is None:
            self._blocked.add(shape)

    def _allowed(self, task: QueuedTask) -> list[Slot]:
        return [
            slot
            for slot in self._room.options(task)
            if self._reservations.allows(slot, self._expectations.of(task, slot.device_model))
        ]

    def _start(self, task: QueuedTask, slots: list[Slot], because: str) -> None:
        if not self._assignments:
            self._account.advance({each.owner for each in self._eligible})
        expected_s = max(self._expectations.of(task, slot.device_model) for slot in slots)
        self._note_turns(task, slots)
        evicted = self._room.take(slots, task, expected_s)
        self._line.start(task, expected_s * len(slots))
        self._started.add(task.id)
        self._finishing.start(task)
        self._assignments.append(
            Assignment(
                task=task.id,
                slots=tuple(slot.id for slot in slots),
                evict=evicted,
                expected_s=expected_s,
                because=because,
            )
        )

    def _note_turns(self, task: QueuedTask, slots: list[Slot]) -> None:
        """Let a turn begin where the task's model has to be loaded."""
        if task.model is None:
            return
        for slot in slots:
            if not is_resident(slot, task):
                self._turns[slot.id] = Turn(engine=task.engine, model=task.model, since=self._snapshot.now)

    def _passed_since(self) -> dict[int, datetime]:
        """Since when each task that still waits has been passed over; tasks that are no longer there are forgotten."""
        before = self._snapshot.passed_since
        if not before and not self._passed:
            return {}
        kept = {task.id for task in self._snapshot.tasks} - self._started
        now = self._snapshot.now
        return {task: before.get(task, now) for task in sorted({*before, *self._passed} & kept)}
