"""Plays a workload forward from event to event, and calls the policy after each instant.

Decisions go through `Judgement`, as the dispatcher's do: the same candidates, the same fair share, durations learnt
from what each success took with its loading. Time is kept in whole microseconds, which is what `datetime` holds, so
that sums of seconds which should meet do meet, and the same trace gives the same run on every machine. All events of
one instant happen before its one decision: a task that ends when its place goes away has ended.

A task whose attempt failed by itself, or was lost with its place, waits out its backoff (`corral.scheduling.retrying`)
and keeps its age; what hours interrupt waits for nothing. The random part of a backoff is a fixed sequence here
(`spreading`).

What differs from production: a decision costs no time, and a task goes back to a place that it was lost with like to
any other. Each decision costs what the policy costs; everything else is O(log n) per event.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from heapq import heappop, heappush
from math import inf

from corral.scheduling.backlog import Backlog
from corral.scheduling.deadlines import DeadlineId
from corral.scheduling.estimating import WaitingWork
from corral.scheduling.judgement import CANDIDATES, Judgement
from corral.scheduling.policy import decide
from corral.scheduling.retrying import MAX_LOSSES, backoff
from corral.scheduling.simulator.attempts import SECOND, Attempt, Processors
from corral.scheduling.simulator.checking import check
from corral.scheduling.simulator.simulated_places import SimulatedPlace, SimulatedPlaces
from corral.scheduling.simulator.spreading import spread
from corral.scheduling.simulator.values import Arrival, Load, Policy, Run, Trace
from corral.scheduling.values import (
    Assignment,
    DurationKey,
    QueuedTask,
    ResidentModel,
    Rule,
    RunningTask,
    Snapshot,
    copy_demand,
)
from corral.work import SlotId

PATIENCE_S = 86_400.0
"""A policy that wakes by itself and starts nothing for a day, though nothing else will happen, is not called again."""

_WEEKS_S = 9 * 86_400.0
"""Where for so long (a week, with a day at either end) nothing happens but that hours begin and end, nothing will."""

_LOOK_EVERY_S = 300.0
"""How often deadlines are looked at; the dispatcher does it every half minute, and a night of that costs much here."""

_ENDS, _LEAVES, _RETURNS, _RETRIES, _WAKES, _ASKS = range(6)
"""Kinds of events, in the order in which those of one instant happen."""


def simulate(trace: Trace, policy: Policy = decide, *, wake_every_s: float | None = None) -> Run:
    """Run a trace through a policy until nothing more can happen.

    `wake_every_s` calls the policy again at such intervals while something waits and a place is free; the production
    policy never needs that, a rival that puts off its decisions does. Raises: TraceError.
    """
    check(trace)
    return _Simulation(trace, policy, wake_every_s).run()


_Event = tuple[int, int, int, "Attempt | QueuedTask | SlotId | None"]


@dataclass(slots=True)
class _Agenda:
    """Events to come, in order; what was entered first goes first among equals."""

    events: list[_Event] = field(default_factory=list[_Event])
    entered: int = 0

    def add(self, at_us: int, kind: int, what: Attempt | QueuedTask | SlotId | None = None) -> None:
        self.entered += 1
        heappush(self.events, (at_us, kind, self.entered, what))


class _Simulation:
    """One run of a trace while it goes on."""

    def __init__(self, trace: Trace, policy: Policy, wake_every_s: float | None) -> None:
        self._arrivals = {arrival.id: arrival for arrival in trace.arrivals}
        self._coming = sorted(((_to_us(coming.at_s), coming.id) for coming in trace.arrivals), reverse=True)
        self._loads = {(load.engine, load.model): load for load in trace.loads}
        self._slowdown = trace.slowdown
        self._queues = trace.queues
        self._bounds = trace.bounds
        self._policy = policy
        self._deadlines = trace.deadlines
        if trace.deadlines and wake_every_s is None:
            wake_every_s = _LOOK_EVERY_S
        self._wake_us = None if wake_every_s is None else max(1, _to_us(wake_every_s))
        self._look_us = 0
        self._judgement = Judgement(trace.bounds, history=trace.history, policy=policy)
        self._places = SimulatedPlaces(trace.places, unknown_s=trace.bounds.unknown_duration_s)
        self._backlog = Backlog()
        self._needs = Needs()
        self._failures: Counter[int] = Counter()
        """Attempts of a task that failed by themselves."""
        self._losses: Counter[int] = Counter()
        """Attempts of a task that were lost with their place."""
        self._given_up: dict[int, str] = {}
        self._processors = Processors()
        self._agenda = _Agenda()
        self._attempts: list[Attempt] = []
        self._on: defaultdict[SlotId, list[Attempt]] = defaultdict(list)
        self._began = trace.start
        self._now_us, self._now = 0, trace.start
        self._wake_entered = False
        self._last_start_us = 0
        self._hours = {
            hours for holder in (*trace.places, *trace.queues.values()) if (hours := holder.hours) is not None
        }
        if trace.bounds.cheap_hours is not None:
            self._hours.add(trace.bounds.cheap_hours)
        self._hours_us = self._find_next_hours()
        self._last_event_us = 0
        for outage in trace.outages:
            self._agenda.add(_to_us(outage.from_s), _LEAVES, outage.place)
            if outage.until_s < inf:
                self._agenda.add(_to_us(outage.until_s), _RETURNS, outage.place)

    def run(self) -> Run:
        while (at := self._find_next()) is not None:
            self._now_us = at
            self._now = self._began + timedelta(microseconds=at)
            self._let_happen()
            self._decide()
        because = self._explain_left()
        return Run(
            spans=tuple([attempt.to_span() for attempt in self._attempts]),
            unfinished=tuple(sorted(because)),
            because=because,
            places=tuple(self._places.table),
            history=self._judgement.history,
        )

    # --- events ------------------------------------------------------------------------------------------------------

    def _find_next(self) -> int | None:
        """The next instant at which something happens."""
        events, coming = self._agenda.events, self._coming
        while events and _is_moved(events[0]):
            heappop(events)
        instants = [events[0][0]] if events else []
        if coming:
            instants.append(coming[-1][0])
        following = min(instants, default=None)
        if self._hours_us is None or not (self._backlog or self._on or coming):
            return following
        if following is not None:
            self._last_event_us = following
        elif self._hours_us - self._last_event_us > _WEEKS_S * SECOND:
            return None
        return self._hours_us if following is None else min(following, self._hours_us)

    def _find_next_hours(self) -> int | None:
        """The next instant at which hours begin or end."""
        changes = [change for hours in self._hours if (change := hours.find_next_change(self._now)) is not None]
        return _to_us((min(changes) - self._began).total_seconds()) if changes else None

    def _let_happen(self) -> None:
        """Let everything of this instant happen."""
        events, coming = self._agenda.events, self._coming
        while events and events[0][0] == self._now_us:
            event = heappop(events)
            _, kind, _, what = event
            if isinstance(what, Attempt):
                if not _is_moved(event):
                    self._end(what)
            elif isinstance(what, QueuedTask):
                self._backlog.add(what)
            elif what is None:
                self._wake_entered = self._wake_entered and kind != _WAKES
            elif kind == _LEAVES:
                self._leave(what)
            else:
                self._places[what].come_back()
        if self._hours_us is not None and self._hours_us <= self._now_us:
            self._close_by_hours()
        while coming and coming[-1][0] == self._now_us:
            arrival = self._arrivals[coming.pop()[1]]
            if not (arrival.needs and self._needs.hold(arrival)):
                self._backlog.add(_to_queued(arrival, self._now))

    def _end(self, attempt: Attempt) -> None:
        """Let an attempt end that was not lost."""
        self._free(attempt)
        task, first = attempt.task, self._places[attempt.assignment.places[0]]
        if task.model is not None:
            first.keep(_to_resident(task.engine, task.model, self._loads.get((task.engine, task.model))))
        if self._failures[task.id] < len(self._arrivals[task.id].fails_after_s):
            self._fail(attempt)
        else:
            self._succeed(attempt, first)
        if first.hours is not None and not first.hours.is_open(self._now):
            first.empty()

    def _succeed(self, attempt: Attempt, first: SimulatedPlace) -> None:
        task = attempt.task
        key = DurationKey(task.engine, task.model, first.device_model)
        seconds = (attempt.until_us - attempt.from_us) / SECOND
        self._judgement.learn(key, attempt.assignment, task.owner, seconds, at=attempt.until_us / SECOND, now=self._now)
        for freed in self._needs.end(task.id):
            self._backlog.add(_to_queued(self._arrivals[freed], self._now))

    def _fail(self, attempt: Attempt) -> None:
        """Let an attempt fail by itself: its task is tried again after its backoff, or has spent its attempts."""
        task = attempt.task
        attempt.lost = True
        self._judgement.end(task.id, self._now_us / SECOND)
        self._failures[task.id] += 1
        if self._failures[task.id] >= self._arrivals[task.id].max_attempts:
            self._given_up[task.id] = f"failed {self._failures[task.id]} times"
        else:
            self._retry(task, self._failures[task.id])

    def _retry(self, task: QueuedTask, failures: int) -> None:
        """Queue a task again, with its age, after the backoff of so many failures."""
        jitter = spread(task.id + failures)
        self._agenda.add(self._now_us + _to_us(backoff(failures, jitter).total_seconds()), _RETRIES, task)

    def _leave(self, place: SlotId) -> None:
        """Let a place go away; what ran there is lost, and queued again after its backoff."""
        attempts = list(self._on.get(place, ()))
        self._places[place].leave()
        for attempt in attempts:
            self._lose(attempt)
            task = attempt.task
            self._losses[task.id] += 1
            if self._losses[task.id] >= MAX_LOSSES:
                self._given_up[task.id] = f"lost {self._losses[task.id]} times"
            else:
                self._retry(task, self._losses[task.id])

    def _close_by_hours(self) -> None:
        """Interrupt what hours end for that interrupt, and let closed places give up their models."""
        for attempt in {id(attempt): attempt for attempts in self._on.values() for attempt in attempts}.values():
            queue = self._queues.get(attempt.task.queue)
            own = [self._places[place].hours for place in attempt.assignment.places]
            if any(
                hours.interrupt and not hours.is_open(self._now)
                for hours in (*own, None if queue is None else queue.hours)
                if hours is not None
            ):
                self._lose(attempt)
                self._backlog.add(attempt.task)
        for place in self._places.list_timed():
            if not place.running and place.hours is not None and not place.hours.is_open(self._now):
                place.empty()
        self._hours_us = self._find_next_hours()

    def _lose(self, attempt: Attempt) -> None:
        attempt.lost = True
        self._free(attempt)
        self._judgement.end(attempt.task.id, self._now_us / SECOND)
        attempt.until_us = self._now_us
        self._places[attempt.assignment.places[0]].give_up(attempt.task.engine)

    def _free(self, attempt: Attempt) -> None:
        attempt.ended = True
        for place in attempt.assignment.places:
            self._on[place].remove(attempt)
            if not self._on[place]:
                del self._on[place]
            self._places[place].vacate(attempt.task.id)
        self._move_ends(self._processors.end(attempt, self._now_us))

    def _move_ends(self, attempts: Iterable[Attempt]) -> None:
        """Enter the ends of attempts that have moved; the events of their old ones are passed over."""
        for attempt in attempts:
            self._agenda.add(attempt.until_us, _ENDS, attempt)

    # --- decisions ---------------------------------------------------------------------------------------------------

    def _decide(self) -> None:
        free = self._places.count_free()
        if not free or not self._backlog:
            return
        self._look_at_deadlines()
        assignments = self._judgement.assign(self._backlog, self._places.table, self._queues, free, self._now)
        for assignment in assignments:
            self._start(assignment)
        if self._judgement.ask_again_at is not None:
            self._agenda.add(_to_us((self._judgement.ask_again_at - self._began).total_seconds()), _ASKS)
        self._enter_wake(started=bool(assignments))

    def _look_at_deadlines(self) -> None:
        """Estimate anew when what has a deadline would be done, now and then, as the dispatcher does."""
        if not self._deadlines or self._now_us < self._look_us:
            return
        self._look_us = self._now_us + _to_us(_LOOK_EVERY_S)
        waiting: defaultdict[DeadlineId, list[QueuedTask]] = defaultdict(list)
        for task in self._backlog:
            if task.deadline is not None:
                waiting[task.deadline].append(task)
        self._judgement.deadlines = {
            name: self._judgement.estimate_deadline(
                self._deadlines[name],
                _count_kinds(tasks),
                self._places.table,
                self._queues,
                self._now,
                waits_for_cheap=tasks[0].waits_for_cheap,
            )
            for name, tasks in waiting.items()
            if name in self._deadlines
        }

    def _start(self, assignment: Assignment) -> None:
        task = self._backlog.remove(assignment.task)
        assert task is not None, "the policy assigns only tasks that it was given"
        simulated = [self._places[place] for place in assignment.places]
        assert len(simulated) == task.gpus, "the policy gives a task as many slots as it needs"
        assert all(place.is_free for place in simulated), "the policy assigns only free slots"
        self._evict(assignment)
        beside = self._on.get(simulated[0].id, ())
        assert not beside or len(simulated) == 1, "a task on several slots shares none"
        load_us = self._load_us(task, simulated[0])
        for other in beside:
            load_us = max(0, other.from_us + other.load_us - self._now_us)
        attempt = Attempt(
            task=task,
            assignment=assignment,
            processors={place.processor: place.id for place in simulated if place.processor is not None},
            from_us=self._now_us,
            load_us=load_us,
            loads=not beside,
            work_us=self._run_us(task, simulated),
            counted_us=self._now_us,
        )
        running = replace(_to_running(attempt, self._now), lane=simulated[0].find_free_lane())
        for place in simulated:
            place.occupy(running)
            self._on[place.id].append(attempt)
        self._attempts.append(attempt)
        self._judgement.begin(
            task.id, [place.find_processor(task.engine) for place in simulated], self._now_us / SECOND
        )
        self._move_ends(self._processors.begin(attempt, self._now_us))

    def _evict(self, assignment: Assignment) -> None:
        for name, resident in assignment.evict:
            place = self._places[name]
            if not place.running:  # a neighbour can have got work in the same decision
                place.give_up(resident.engine)

    def _load_us(self, task: QueuedTask, place: SimulatedPlace) -> int:
        """How long loading takes; what has no model cannot stay loaded, and pays at each start."""
        load = self._loads.get((task.engine, task.model))
        return 0 if load is None or place.has(task.engine, task.model) else _to_us(load.seconds)

    def _run_us(self, task: QueuedTask, places: list[SimulatedPlace]) -> int:
        """How long the work takes, until it fails where it does; several places are as fast as the slowest of them."""
        arrival = self._arrivals[task.id]
        failures = self._failures[task.id]
        if failures < len(arrival.fails_after_s):
            return _to_us(arrival.fails_after_s[failures])
        return max(
            _to_us((arrival.on(place.device_model) or 0.0) * self._slowdown.get(place.id, 1.0)) for place in places
        )

    def _enter_wake(self, *, started: bool) -> None:
        """Ask again later, where the policy wants that and there is something to decide."""
        if started:
            self._last_start_us = self._now_us
        if self._wake_us is None or self._wake_entered or not (self._backlog and self._places.count_free()):
            return
        nothing_else = not self._agenda.events and not self._coming
        if nothing_else and self._now_us - self._last_start_us > PATIENCE_S * SECOND:
            return
        self._agenda.add(self._now_us + self._wake_us, _WAKES)
        self._wake_entered = True

    # --- the end -----------------------------------------------------------------------------------------------------

    def _explain_left(self) -> Mapping[int, str]:
        """Ask the policy why each task that is left waits, as many at a time as one decision looks at."""
        left = sorted(self._backlog, key=lambda task: task.id)
        reasons: dict[int, str] = {task: f"needs task {need}" for task, need in self._needs.left()} | self._given_up
        for first in range(0, len(left), CANDIDATES):
            batch = tuple(left[first : first + CANDIDATES])
            waiting = self._policy(
                Snapshot(
                    now=self._now,
                    tasks=batch,
                    places=self._places.table,
                    queues=self._queues,
                    bounds=self._bounds,
                )
            ).waiting
            reasons.update({task.id: waiting.get(task.id, Rule.BEHIND_OTHERS) for task in batch})
        return reasons


def _is_moved(event: _Event) -> bool:
    """Whether it is the end of an attempt that ends at another time by now, or has ended."""
    at_us, _, _, what = event
    return isinstance(what, Attempt) and (what.ended or what.until_us != at_us)


def _count_kinds(tasks: Iterable[QueuedTask]) -> list[WaitingWork]:
    counts = Counter((task.queue, task.engine, task.model, task.node) for task in tasks for _ in range(task.gpus))
    return [
        WaitingWork(queue=queue, engine=engine, model=model, node=node, count=count)
        for (queue, engine, model, node), count in counts.items()
    ]


def _to_us(seconds: float) -> int:
    """Whole microseconds."""
    return round(seconds * SECOND)


def _to_queued(arrival: Arrival, now: datetime) -> QueuedTask:
    return QueuedTask(**copy_demand(arrival), id=arrival.id, queued_at=now)


def _to_running(attempt: Attempt, now: datetime) -> RunningTask:
    """The policy's view of an attempt; it expects the measured time, and does not know the true one."""
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
        share=task.share,
        gpus=task.gpus,
    )


def _to_resident(engine: str, model: str, load: Load | None) -> ResidentModel:
    return ResidentModel(engine=engine, model=model, memory=None if load is None else load.memory)


class Needs:
    """Tasks that have arrived and wait for others to end."""

    __slots__ = ("_ended", "_open", "_waiting")

    def __init__(self) -> None:
        self._ended: set[int] = set()
        self._open: dict[int, set[int]] = {}
        self._waiting: defaultdict[int, list[int]] = defaultdict(list)

    def hold(self, arrival: Arrival) -> bool:
        """Whether the task has to wait for others; it is then kept until the last of them has ended."""
        missing = set(arrival.needs) - self._ended
        if not missing:
            return False
        self._open[arrival.id] = missing
        for need in missing:
            self._waiting[need].append(arrival.id)
        return True

    def end(self, task: int) -> list[int]:
        """Note that a task has ended, and return those that waited for nothing else."""
        self._ended.add(task)
        freed: list[int] = []
        for waiting in self._waiting.pop(task, ()):
            self._open[waiting].discard(task)
            if not self._open[waiting]:
                del self._open[waiting]
                freed.append(waiting)
        return freed

    def left(self) -> Iterator[tuple[int, int]]:
        """Tasks that still wait, each with the first one that it waits for."""
        return ((task, min(missing)) for task, missing in sorted(self._open.items()))
