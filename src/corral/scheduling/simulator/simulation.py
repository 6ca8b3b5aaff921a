"""Plays a workload forward from event to event, and asks the policy after each instant.

Decisions go through `Judgement`, as the dispatcher's do: the same candidates, the same fair share, durations learnt
from what each success took with its loading. Time is kept in whole microseconds, which is what `datetime` holds, so
that sums of seconds which should meet do meet, and the same trace gives the same run on every machine. All events of
one instant happen before its one decision: a task that ends when its slot goes away has ended.

What differs from production: a decision costs no time, and the backoff of about a second after a lost attempt is left
out. Each decision costs what the policy costs; everything else is O(log n) per event.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from heapq import heappop, heappush
from math import inf

from corral.scheduling.backlog import Backlog
from corral.scheduling.judgement import CANDIDATES, Judgement
from corral.scheduling.policy import decide
from corral.scheduling.simulator.bays import Bay, Bays
from corral.scheduling.simulator.checking import check
from corral.scheduling.simulator.needs import Needs
from corral.scheduling.simulator.values import Arrival, Load, Policy, Run, Span, Trace
from corral.scheduling.values import (
    Assignment,
    DurationKey,
    QueuedTask,
    ResidentModel,
    Rule,
    RunningTask,
    Snapshot,
)
from corral.work import SlotId

START = datetime(2026, 1, 1, tzinfo=UTC)
"""What the policy is told as the time at second 0; nothing depends on which instant it is."""

PATIENCE_S = 86_400.0
"""A policy that wakes by itself and starts nothing for a day, though nothing else will happen, is not asked again."""

_SECOND = 1_000_000
_ENDS, _LEAVES, _RETURNS, _WAKES = range(4)
"""Kinds of events, in the order in which those of one instant happen."""


def simulate(trace: Trace, policy: Policy = decide, *, wake_every_s: float | None = None) -> Run:
    """Run a trace through a policy until nothing more can happen.

    `wake_every_s` asks the policy again at such intervals while something waits and a slot is free; the production
    policy never needs that, a rival that puts off its decisions does. Raises: TraceError.
    """
    check(trace)
    return _Simulation(trace, policy, wake_every_s).run()


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """One run of a task on its slots, from its assignment on."""

    task: QueuedTask
    assignment: Assignment
    from_us: int
    until_us: int
    load_us: int
    lost: bool = False

    def span(self) -> Span:
        return Span(
            task=self.task.id,
            slots=self.assignment.slots,
            from_s=self.from_us / _SECOND,
            until_s=self.until_us / _SECOND,
            load_s=min(self.load_us, self.until_us - self.from_us) / _SECOND,
            lost=self.lost,
        )


_Event = tuple[int, int, int, "_Attempt | SlotId | None"]


@dataclass(slots=True)
class _Agenda:
    """What will happen, in order; what was entered first goes first among equals."""

    events: list[_Event] = field(default_factory=list[_Event])
    entered: int = 0

    def add(self, at_us: int, kind: int, what: _Attempt | SlotId | None = None) -> None:
        self.entered += 1
        heappush(self.events, (at_us, kind, self.entered, what))


class _Simulation:
    """One run of a trace while it goes on."""

    def __init__(self, trace: Trace, policy: Policy, wake_every_s: float | None) -> None:
        self._arrivals = {arrival.id: arrival for arrival in trace.arrivals}
        self._coming = sorted(((_us(each.at_s), each.id) for each in trace.arrivals), reverse=True)
        self._loads = {(load.engine, load.model): load for load in trace.loads}
        self._slowdown = trace.slowdown
        self._queues = trace.queues
        self._settings = trace.settings
        self._policy = policy
        self._wake_us = None if wake_every_s is None else max(1, _us(wake_every_s))
        self._judgement = Judgement(trace.settings, history=trace.history, policy=policy)
        self._bays = Bays(trace.slots)
        self._backlog = Backlog()
        self._needs = Needs()
        self._agenda = _Agenda()
        self._attempts: list[_Attempt] = []
        self._on: dict[SlotId, _Attempt] = {}
        self._now_us, self._now = 0, START
        self._wake_entered = False
        self._last_start_us = 0
        for outage in trace.outages:
            self._agenda.add(_us(outage.from_s), _LEAVES, outage.slot)
            if outage.until_s < inf:
                self._agenda.add(_us(outage.until_s), _RETURNS, outage.slot)

    def run(self) -> Run:
        while (at := self._next()) is not None:
            self._now_us = at
            self._now = START + timedelta(microseconds=at)
            self._let_happen()
            self._decide()
        because = self._reasons()
        return Run(
            spans=tuple([attempt.span() for attempt in self._attempts]),
            unfinished=tuple(sorted(because)),
            because=because,
            slots=self._bays.slots(),
            history=self._judgement.history,
        )

    # --- events ------------------------------------------------------------------------------------------------------

    def _next(self) -> int | None:
        """The next instant at which something happens."""
        events, coming = self._agenda.events, self._coming
        if not events:
            return coming[-1][0] if coming else None
        return min(events[0][0], coming[-1][0]) if coming else events[0][0]

    def _let_happen(self) -> None:
        """Let everything of this instant happen."""
        events, coming = self._agenda.events, self._coming
        while events and events[0][0] == self._now_us:
            _, kind, _, what = heappop(events)
            if isinstance(what, _Attempt):
                self._end(what)
            elif what is None:
                self._wake_entered = False
            elif kind == _LEAVES:
                self._leave(what)
            else:
                self._bays[what].come_back()
        while coming and coming[-1][0] == self._now_us:
            arrival = self._arrivals[coming.pop()[1]]
            if not (arrival.needs and self._needs.hold(arrival)):
                self._backlog.add(_queued(arrival, self._now))

    def _end(self, attempt: _Attempt) -> None:
        """Let an attempt end well, unless its slot went away before."""
        if attempt.lost:
            return
        self._free(attempt)
        task, first = attempt.task, self._bays[attempt.assignment.slots[0]]
        if task.model is not None:
            first.holds(_resident(task.engine, task.model, self._loads.get((task.engine, task.model))))
        key = DurationKey(task.engine, task.model, first.slot.device_model)
        seconds = (attempt.until_us - attempt.from_us) / _SECOND
        self._judgement.learn(key, attempt.assignment, task.owner, seconds)
        for freed in self._needs.end(task.id):
            self._backlog.add(_queued(self._arrivals[freed], self._now))

    def _leave(self, slot: SlotId) -> None:
        """Let a slot go away; what ran there is lost, and queued again as it was."""
        attempt = self._on.get(slot)
        self._bays[slot].leave()
        if attempt is None:
            return
        attempt.lost = True
        attempt.until_us = self._now_us
        self._free(attempt)
        self._bays[attempt.assignment.slots[0]].give_up(attempt.task.engine)
        self._backlog.add(attempt.task)

    def _free(self, attempt: _Attempt) -> None:
        for slot in attempt.assignment.slots:
            del self._on[slot]
            self._bays[slot].vacate()

    # --- decisions ---------------------------------------------------------------------------------------------------

    def _decide(self) -> None:
        free = self._bays.free()
        if not free or not self._backlog:
            return
        assignments = self._judgement.assign(self._backlog, self._bays.slots(), self._queues, free, self._now)
        for assignment in assignments:
            self._start(assignment)
        self._enter_wake(started=bool(assignments))

    def _start(self, assignment: Assignment) -> None:
        task = self._backlog.remove(assignment.task)
        assert task is not None, "the policy assigns only tasks that it was given"
        bays = [self._bays[slot] for slot in assignment.slots]
        assert len(bays) == task.gpus, "the policy gives a task as many slots as it needs"
        assert all(bay.is_free for bay in bays), "the policy assigns only free slots"
        self._evict(assignment)
        load_us = self._load_us(task, bays[0])
        until_us = self._now_us + load_us + self._run_us(task, bays)
        attempt = _Attempt(task=task, assignment=assignment, from_us=self._now_us, until_us=until_us, load_us=load_us)
        running = _running(attempt, self._now)
        for bay in bays:
            bay.occupy(running)
            self._on[bay.slot.id] = attempt
        self._attempts.append(attempt)
        self._agenda.add(until_us, _ENDS, attempt)

    def _evict(self, assignment: Assignment) -> None:
        for slot, resident in assignment.evict:
            bay = self._bays[slot]
            if bay.running is None:  # a neighbour may have got work in the same decision
                bay.give_up(resident.engine)

    def _load_us(self, task: QueuedTask, bay: Bay) -> int:
        """How long loading takes; what has no model cannot stay loaded, and pays at each start."""
        load = self._loads.get((task.engine, task.model))
        return 0 if load is None or bay.has(task.engine, task.model) else _us(load.seconds)

    def _run_us(self, task: QueuedTask, bays: list[Bay]) -> int:
        """How long the work takes; several slots are as fast as the slowest of them."""
        arrival = self._arrivals[task.id]
        return max(
            _us((arrival.on(bay.slot.device_model) or 0.0) * self._slowdown.get(bay.slot.id, 1.0)) for bay in bays
        )

    def _enter_wake(self, *, started: bool) -> None:
        """Ask again later, where the policy wants that and there is something to decide."""
        if started:
            self._last_start_us = self._now_us
        if self._wake_us is None or self._wake_entered or not (self._backlog and self._bays.free()):
            return
        nothing_else = not self._agenda.events and not self._coming
        if nothing_else and self._now_us - self._last_start_us > PATIENCE_S * _SECOND:
            return
        self._agenda.add(self._now_us + self._wake_us, _WAKES)
        self._wake_entered = True

    # --- the end -----------------------------------------------------------------------------------------------------

    def _reasons(self) -> Mapping[int, str]:
        """Ask the policy why each task that is left waits, as many at a time as one decision looks at."""
        left = sorted(self._backlog, key=lambda task: task.id)
        reasons: dict[int, str] = {task: f"needs task {need}" for task, need in self._needs.left()}
        for first in range(0, len(left), CANDIDATES):
            asked = tuple(left[first : first + CANDIDATES])
            waiting = self._policy(
                Snapshot(
                    now=self._now,
                    tasks=asked,
                    slots=self._bays.slots(),
                    queues=self._queues,
                    settings=self._settings,
                )
            ).waiting
            reasons.update({task.id: waiting.get(task.id, Rule.BEHIND_OTHERS) for task in asked})
        return reasons


def _us(seconds: float) -> int:
    """Whole microseconds."""
    return round(seconds * _SECOND)


def _queued(arrival: Arrival, now: datetime) -> QueuedTask:
    return QueuedTask(
        id=arrival.id,
        owner=arrival.owner,
        queue=arrival.queue,
        engine=arrival.engine,
        model=arrival.model,
        task_class=arrival.task_class,
        priority=arrival.priority,
        queued_at=now,
        gpus=arrival.gpus,
        memory=arrival.memory,
    )


def _running(attempt: _Attempt, now: datetime) -> RunningTask:
    """What the policy is told of an attempt; it expects the measured time, and does not know the true one."""
    task = attempt.task
    return RunningTask(
        task=task.id,
        owner=task.owner,
        queue=task.queue,
        engine=task.engine,
        model=task.model,
        memory=task.memory,
        started_at=now,
        expected_end=now + timedelta(seconds=attempt.assignment.expected_s),
    )


def _resident(engine: str, model: str, load: Load | None) -> ResidentModel:
    return ResidentModel(engine=engine, model=model, memory=None if load is None else load.memory)
