"""The policy: which tasks start now, on which places, and which rule keeps each of the others waiting.

A pure function of a snapshot. The task that goes first (`ordering`) takes the best place it can use (`room`,
`choosing`) that is not too late for it (`finishing`), unless its preferred node should soon have one (`wishes`), or
another's model is resident there (`affinity`); a task
that needs several GPUs gathers or reserves (`reservation`). It stops when no place is free. A task that nothing free
can run is never looked at twice, nor are those that ask for the same (`_shape`): the room only shrinks while a decision
goes on.

The cost of a decision grows with the candidates and with what is free, not with places on which nothing changed: those
are in a table that is kept between decisions (`place_table`). `python -m benchmarks.policy_cost` prints the times.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cache, cached_property
from operator import attrgetter

from corral.scheduling.affinity import Affinity
from corral.scheduling.choosing import Choosing
from corral.scheduling.deadlines import list_urgent
from corral.scheduling.draining import Draining
from corral.scheduling.durations import Expectations
from corral.scheduling.fairness import Account
from corral.scheduling.finishing import Finishing
from corral.scheduling.giving_up import is_resident
from corral.scheduling.opening import Openings
from corral.scheduling.ordering import Line
from corral.scheduling.place_table import Work
from corral.scheduling.reservation import Reservations, gather
from corral.scheduling.room import Room, has_node_with, to_table
from corral.scheduling.values import Assignment, Decision, FairShare, Gate, Place, QueuedTask, Rule, Snapshot, Turn
from corral.scheduling.wishes import Wishes
from corral.work import SlotId

_Shape = tuple[object, ...]

_demand: Callable[[QueuedTask], _Shape] = attrgetter("queue", "engine", "memory", "gpus", "node", "share", "task_class")
"""The properties that decide whether a task could use a free place, whatever is loaded there."""

_demand_with_model: Callable[[QueuedTask], _Shape] = attrgetter(
    "queue", "engine", "model", "memory", "gpus", "node", "share", "task_class"
)
"""The same where an engine has not every model everywhere, or models stay for a person."""

_shape: Callable[[QueuedTask], _Shape] = attrgetter(
    "queue",
    "engine",
    "model",
    "memory",
    "gpus",
    "node",
    "prefer_node",
    "avoid_slots",
    "refused_slots",
    "share",
    "lasts_s",
    "task_class",
)
"""The properties that decide whether a free place can run the task; all tasks of one shape can run, or none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A decision, and how it left the places: what explanations are made of."""

    assignments: tuple[Assignment, ...] = ()
    room: Room
    openings: Openings
    reservations: Reservations
    passed: frozenset[int] = frozenset()
    """Tasks passed over in this decision."""
    late: frozenset[_Shape] = frozenset()
    """Tasks that wait for faster places although slower ones are free, by shape."""
    drained: frozenset[_Shape] = frozenset()
    """Tasks that wait although lanes next to their like are free, for others need the place without them, by shape."""
    wishing: Mapping[int, datetime] = field(default_factory=dict[int, datetime])
    """Tasks that wait for their preferred node although places elsewhere are free, and when it should have one."""
    fair: FairShare
    passed_since: Mapping[int, datetime] = field(default_factory=dict[int, datetime])
    turns: Mapping[SlotId, Turn] = field(default_factory=dict[SlotId, Turn])
    kept_since: Mapping[Work, datetime] = field(default_factory=dict[Work, datetime])

    def find_rule(self, task: QueuedTask) -> Rule:
        """Find the rule that keeps a task waiting."""
        rule = find_rule(task, self.room, self.openings, self.passed)
        if rule is Rule.RESERVED and task.id in self.wishing:
            return Rule.PREFERRED_NODE
        if rule is Rule.RESERVED and _shape(task) in self.drained:
            return Rule.LANES_DRAIN
        return Rule.FASTER_SOON if rule is Rule.RESERVED and _shape(task) in self.late else rule


def decide(snapshot: Snapshot) -> Decision:
    """Decide what starts now, what waits and why, and the state that the next decision needs."""
    table = to_table(snapshot)
    if table is not snapshot.places:
        snapshot = replace(snapshot, places=table)
    if not table.free:
        return _answer_without_tasks(snapshot)
    outcome = resolve(snapshot)
    started = frozenset(assignment.task for assignment in outcome.assignments)
    return Decision(
        assignments=outcome.assignments,
        waiting=Waiting(snapshot.tasks, started, outcome.find_rule),
        fair=outcome.fair,
        passed_since=outcome.passed_since,
        turns=outcome.turns,
        kept_since=outcome.kept_since,
        ask_again_at=outcome.room.stays.find_next_end(),
    )


def resolve(snapshot: Snapshot) -> Outcome:
    """Decide, and keep how the places were left."""
    return _Round(snapshot).run()


def _answer_without_tasks(snapshot: Snapshot) -> Decision:
    """Answer without a look at the tasks; rules are worked out when they are read."""
    left = cache(lambda: resolve(snapshot))
    return Decision(
        assignments=(),
        waiting=Waiting(snapshot.tasks, (), lambda task: left().find_rule(task)),
        fair=snapshot.fair,
        passed_since=snapshot.passed_since,
        turns=snapshot.turns,
        kept_since=snapshot.kept_since,
    )


class _Round:
    """One decision while it is made."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._room = Room(snapshot)
        self._expectations = Expectations(snapshot.durations, snapshot.bounds)
        self._wishes = Wishes(
            room=self._room,
            expectations=self._expectations,
            bounds=snapshot.bounds,
            passed_since=snapshot.passed_since,
        )
        self._openings = Openings(self._room, self._expectations, snapshot.bounds, snapshot.deadlines)
        self._reservations = Reservations(self._room, self._expectations, self._wishes, self._openings)
        self._choosing = Choosing(
            self._room, self._expectations, self._wishes, allows=self._allows, may_join=self._may_join
        )
        self._account = Account(snapshot.fair)
        self._affinity = Affinity(
            room=self._room,
            expectations=self._expectations,
            choosing=self._choosing,
            bounds=snapshot.bounds,
            passed_since=snapshot.passed_since,
            turns=snapshot.turns,
        )
        self._draining = Draining(self._room, self._expectations, self._affinity, self._openings)
        self._passed: set[int] = set()
        self._turns = dict(snapshot.turns)
        self._assignments: list[Assignment] = []
        self._started: set[int] = set()
        self._line_up()
        self._finishing = Finishing(
            room=self._room, expectations=self._expectations, wishes=self._wishes, tasks=snapshot.tasks
        )
        self._late: set[_Shape] = set()
        self._drained: set[_Shape] = set()

    def _line_up(self) -> None:
        """Line up what has not started and could."""
        self._blocked: set[_Shape] = set()
        self._eligible = self._select_eligible()
        self._line = Line(
            self._eligible,
            account=self._account,
            queues=self._snapshot.queues,
            bounds=self._snapshot.bounds,
            now=self._snapshot.now,
            urgent=list_urgent(self._snapshot.deadlines, self._snapshot.now, self._snapshot.bounds.deadline_slack),
        )

    def run(self) -> Outcome:
        self._fill()
        if self._room.stays.let_go_where_idle(self._room.is_idle):
            self._line_up()
            self._fill()
        return Outcome(
            assignments=tuple(self._assignments),
            room=self._room,
            openings=self._openings,
            reservations=self._reservations,
            passed=frozenset(self._passed),
            late=frozenset(self._late),
            drained=frozenset(self._drained),
            wishing=self._wishes.waiting,
            fair=self._account.closed() if self._assignments else self._snapshot.fair,
            passed_since=self._update_passed(),
            turns=self._turns,
            kept_since=self._room.stays.list_kept_since(
                {(lost.engine, lost.model) for given in self._assignments for _, lost in given.evict}
            ),
        )

    def _fill(self) -> None:
        """Start what can start, as many tasks as the decision is asked for at most."""
        most_starts = self._snapshot.most_starts
        while self._room.free and (most_starts is None or len(self._assignments) < most_starts):
            task = self._line.find_head()
            if task is None:
                break
            self._consider(task)

    def _select_eligible(self) -> Sequence[QueuedTask]:
        """Leave out at once what no free place can run; tasks that need several GPUs stay, for they can reserve."""
        tasks: Sequence[QueuedTask] = self._snapshot.tasks
        if self._started:
            tasks = [task for task in tasks if task.id not in self._started]
        if self._snapshot.bounds.cheap_hours is not None:
            tasks = [task for task in tasks if not self._openings.waits_for_cheap(task)]
        room = self._room
        demand_of = _demand_with_model if room.table.listing or room.stays.until or room.lanes.shared else _demand
        one_of_each = dict(zip(map(demand_of, tasks), tasks, strict=True))
        without = {demand for demand, task in one_of_each.items() if not self._has_a_place(task)}
        return [task for task in tasks if demand_of(task) not in without] if without else tasks

    def _has_a_place(self, task: QueuedTask) -> bool:
        room = self._room
        if room.queue(task.queue).paused or not self._openings.is_queue_open(task.queue):
            return False
        if task.gpus > 1:
            return bool(room.eligible(task).members)
        return room.has_an_option(task) or any(
            self._draining.needs_empty(task, place) for place in room.lanes.shared.values()
        )

    def _consider(self, task: QueuedTask) -> None:
        """Start the head, let another pass it, or take it out because nothing free can run it."""
        shape = _shape(task)
        if shape in self._blocked or self._room.is_limited(task):
            self._line.remove(task)
        elif task.gpus > 1:
            self._gather(task, shape)
        else:
            self._choose_place(task, shape)

    def _choose_place(self, task: QueuedTask, shape: _Shape) -> None:
        pick = self._choosing.pick(task, self._finishing.is_too_late)
        if pick.place is None:
            if pick.is_late:
                self._late.add(shape)
            else:
                self._draining.note(task)
            if pick.is_drained:
                self._drained.add(shape)
            self._blocked.add(shape)
            self._line.remove(task)
            return
        if self._wishes.wait(task, pick.place):
            self._draining.note(task)
            self._line.remove(task)
            return
        passing = self._affinity.look_ahead(self._line, task, pick.place)
        if passing is None:
            self._start(task, [pick.place], pick.because)
        else:
            self._passed.add(task.id)
            follower, place = passing
            self._start(follower, [place], "model resident")

    def _gather(self, task: QueuedTask, shape: _Shape) -> None:
        places = gather(self._list_allowed(task), task, self._room, self._expectations, self._wishes)
        if places:
            self._start(task, places, f"{task.gpus} slots of {places[0].node}")
            return
        self._line.remove(task)
        if self._reservations.reserve(task) is None:
            self._blocked.add(shape)

    def _list_allowed(self, task: QueuedTask) -> list[Place]:
        return [place for place in self._room.list_options(task) if self._allows(place, task)]

    def _allows(self, place: Place, task: QueuedTask) -> bool:
        """Whether neither a reservation nor the end of hours keeps a free place from a task."""
        return self._reservations.allows(place, task) and self._openings.allows(place, task)

    def _may_join(self, place: Place, task: QueuedTask) -> bool:
        return self._draining.allows(place, task)

    def _start(self, task: QueuedTask, places: list[Place], because: str) -> None:
        if not self._assignments:
            self._account.advance({waiting.owner for waiting in self._eligible})
        expected_s = max(self._expectations.of_place(task, place) for place in places)
        because = "; ".join(filter(None, (because, self._wishes.explain_elsewhere(task, places[0]))))
        self._note_turns(task, places)
        self._passed.update(self._draining.list_passed(places[0], task))
        evicted = self._room.take(places, task, expected_s)
        self._line.start(task, expected_s * len(places))
        self._started.add(task.id)
        self._finishing.start(task)
        if task.choice_of is not None:
            self._withdraw_other_choices(task)
        self._assignments.append(
            Assignment(
                task=task.id,
                places=tuple(place.id for place in places),
                evict=evicted,
                expected_s=expected_s,
                because=because,
            )
        )

    def _withdraw_other_choices(self, task: QueuedTask) -> None:
        """Start nothing else for the guest that a task is one choice of."""
        for other in self._snapshot.tasks:
            if other.choice_of == task.choice_of and other.id not in self._started:
                self._line.remove(other)
                self._started.add(other.id)

    def _note_turns(self, task: QueuedTask, places: list[Place]) -> None:
        """Let a turn begin where the task's model has to be loaded; not where others of its lanes do that."""
        if task.model is None:
            return
        for place in places:
            if not is_resident(place, task) and place.id not in self._room.lanes.shared:
                self._turns[place.id] = Turn(engine=task.engine, model=task.model, since=self._snapshot.now)

    def _update_passed(self) -> dict[int, datetime]:
        """Since when each task that still waits has been passed over; tasks that are no longer there are forgotten."""
        before = self._snapshot.passed_since
        passed = {*before, *self._passed, *self._wishes.waiting}
        if not passed:
            return {}
        kept = {task.id for task in self._snapshot.tasks} - self._started
        now = self._snapshot.now
        return {task: before.get(task, now) for task in sorted(passed & kept)}


class Waiting(Mapping[int, Rule]):
    """The rule of every task left waiting, by task id, found on demand."""

    def __init__(
        self, tasks: Iterable[QueuedTask], started: Collection[int], rule_of: Callable[[QueuedTask], Rule]
    ) -> None:
        self._tasks = tasks
        self._started = started
        self._rule_of = rule_of

    @cached_property
    def _left(self) -> dict[int, QueuedTask]:
        return {task.id: task for task in self._tasks if task.id not in self._started}

    def __getitem__(self, task: int) -> Rule:
        return self._rule_of(self._left[task])

    def __iter__(self) -> Iterator[int]:
        return iter(self._left)

    def __len__(self) -> int:
        return len(self._left)

    def __repr__(self) -> str:
        return repr(dict(self))


def find_rule(task: QueuedTask, room: Room, openings: Openings, passed: frozenset[int]) -> Rule:
    """Name the rule that keeps a task waiting; `room` is how the decision left the places."""
    impossible = find_impossible(task, room)
    if impossible is not None:
        return impossible
    if room.is_limited(task):
        return Rule.OWNER_LIMIT
    if openings.waits_for_cheap(task):
        return Rule.CHEAP_HOURS
    usable = [place for place in list_usable_places(task, room) if place.gate_for(task.engine) is Gate.OPEN]
    if not has_node_with(usable, task.gpus):
        return Rule.SLOTS_CLOSED
    within_hours = openings.list_open(usable, task)
    if not has_node_with(within_hours, task.gpus):
        return Rule.OUTSIDE_HOURS
    in_time = [place for place in within_hours if openings.allows(place, task)]
    if not has_node_with(in_time, task.gpus):
        return Rule.CLOSES_SOON
    return Rule.GATHERING if task.gpus > 1 else _name_competition(task, in_time, room, passed)


def list_usable_places(task: QueuedTask, room: Room) -> list[Place]:
    """Places that could run the task if they were open and idle."""
    avoided = room.find_avoided(task)
    return [place for place in room.able(task) if place.id not in avoided and room.can_ever_hold(place, task)]


def find_impossible(task: QueuedTask, room: Room) -> Rule | None:
    """Find the rule that no passing of time lifts."""
    if room.queue(task.queue).paused:
        return Rule.QUEUE_PAUSED
    if not room.able(task):
        return _name_lack(task, room)
    if not has_node_with(list_usable_places(task, room), task.gpus):
        return Rule.NO_FIT
    return None


def _name_lack(task: QueuedTask, room: Room) -> Rule:
    """Name the rule of a task that can reach no place, busy or closed ones included."""
    if room.list_without_model(task):
        return Rule.MODEL_MISSING
    if task.node is None:
        return Rule.NO_ENGINE
    has_slots = any(place.is_on(task.node) for place in room.table)
    return Rule.NODE_MISSING if not has_slots or room.able(replace(task, node=None)) else Rule.NO_ENGINE


def _name_competition(task: QueuedTask, places: list[Place], room: Room, passed: frozenset[int]) -> Rule:
    """Name the rule of a task whose places others have."""
    if task.id in passed:
        return Rule.AFFINITY
    if any(place.id in room.free and room.can_hold(place, task) for place in places):
        return Rule.RESERVED
    if any(place.id in room.free and room.fits(place, task) for place in places):
        return Rule.MODEL_STAYS
    if any(room.was_taken(place, task) for place in places):
        return Rule.BEHIND_OTHERS
    if task.node is not None and room.has_an_option(replace(task, node=None)):
        return Rule.NODE_BUSY
    return Rule.SLOTS_BUSY
