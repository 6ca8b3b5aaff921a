"""The dispatcher's picture in memory: tasks that can start, attempts that run, slots as the policy sees them.

One task owns it, the dispatcher's loop. It is kept so that a round costs nothing for tasks and slots on which nothing
changed: each change of a slot puts its new view into the table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from corral.errors import Problem
from corral.scheduling.place_table import PlaceTable, Work
from corral.scheduling.room import Room
from corral.scheduling.values import Assignment, Queue, QueuedTask, RunningTask, Share, Snapshot, find_share
from corral.slots.place import PlaceState
from corral.slots.registry import Registry
from corral.slots.values import Hold, HoldKind
from corral.slots.yielding import HandedOver
from corral.tasks.attempt_run import StopReason
from corral.tasks.guest_turns import Reason, Turn
from corral.tasks.lifecycle import AttemptLost, GivenUp, StartTimeReached
from corral.tasks.lost_jobs import LostJobs
from corral.tasks.ready_tasks import ReadyTasks
from corral.tasks.running import Attempt
from corral.tasks.store.transitions import TaskChange
from corral.tasks.values import TakenLane
from corral.units import Bytes
from corral.work import LendsDevices, SlotId

_KILLED = Reason("its engine was killed, for a task next to it did not stop", "ask again")


class Picture:
    """All of it; `wake` is set when the dispatcher has something to do."""

    def __init__(self, slots: Registry, queues: Mapping[str, Queue], *, unknown_s: float) -> None:
        """`unknown_s` is how long a task is expected to take where nothing was measured."""
        self.slots = slots
        self.queues = dict(queues)
        self.table = PlaceTable(slots.list_places(), unknown_s=unknown_s)
        """The policy's view of every place; a decision reads it as it is."""
        self.ready = ReadyTasks()
        self.jobs = LostJobs(slots)
        self.memory: dict[Work, Bytes] = {}
        """Bytes that models were measured to take, the most on any device."""
        self.handed_over: Mapping[SlotId, HandedOver] = {}
        """Devices that users gave to other programs by hand."""
        self._unknown_s = unknown_s
        self.attempts: dict[UUID, Attempt] = {}
        self.turns: dict[int, Turn] = {}
        """Guests that have their turn, by their number."""
        self.unwritten: list[TaskChange] = []
        self.wake = asyncio.Event()
        self.news = True
        """Whether the table changed since the board was updated."""
        self._by_task: dict[int, Attempt] = {}

    # --- slots -------------------------------------------------------------------------------------------------------

    def update(self, places: Iterable[PlaceState]) -> None:
        """Put the views of places that changed into the table; those that are gone leave it."""
        for place in places:
            present = self.slots.get(place.id)
            if present is None:
                self.table.remove(place.id)
            else:
                self.table.put(present.to_place())
        self.news = True

    def refresh(self) -> None:
        """Look at all slots for what changed."""
        for gone in [place.id for place in self.table if self.slots.get(place.id) is None]:
            self.table.remove(gone)
        for place in self.slots.list_places():
            if place not in self.table:
                self.table.put(place)
        self.news = True

    def find_oldest(self, engine: str) -> datetime | None:
        """Find since when the oldest task or guest that can start waits for an engine; None when none waits."""
        lanes = self.ready.backlog.list_lanes()
        return min((task.queued_at for task, _ in lanes if task.engine == engine), default=None)

    def list_waiting(self) -> dict[str, set[str | None]]:
        """List the models of the tasks and guests that can start and wait, by engine; None for those without one."""
        waiting: dict[str, set[str | None]] = {}
        for task, _ in self.ready.backlog.list_lanes():
            waiting.setdefault(task.engine, set()).add(task.model)
        return waiting

    def find_memory(self, engine: str, model: str | None) -> Bytes | None:
        """Find the bytes that a model takes: as measured, or as an engine reports now; None when unknown."""
        measured = self.memory.get((engine, model))
        if measured is not None or model is None:
            return measured
        held = (resident for place in self.table for resident in place.resident if resident.model == model)
        return max((own.memory for own in held if own.engine == engine and own.memory is not None), default=None)

    def has_untried_slots(self, attempt: Attempt) -> bool:
        """Whether a slot of the task's pool and node, working or not, has its engine and has not refused it yet."""
        task, queue = attempt.task, self.queues.get(attempt.task.queue)
        pool = queue.pool if queue is not None else None
        refused = task.refused_slots | {attempt.slots[0]}
        return any(
            (task.engine in place.engines or task.engine in place.engine_problems)
            and place.is_on(task.node)
            and (pool is None or place.is_among(pool, task.engine))
            and not place.is_among(refused, task.engine)
            for place in self.table
        )

    def place_returning(self, most: int, *, now: float) -> list[Attempt]:
        """Start tasks where their lost jobs can still run; one whose slot cannot take it now joins the backlog.

        A slot that was not checked yet is waited for: after a start, the order of the checks must not move tasks.
        Holds come first, since their programs use the devices already. After `most` starts, others can be left for the
        next call.
        """
        attempts: list[Attempt] = []
        for task in sorted(self.ready.returning.values(), key=lambda task: not task.returns_to):
            if task.returns_to:
                attempts += self._resume(task, now=now)
                continue
            place = self.slots.find(task.prefer_slot) if task.prefer_slot is not None else None
            if place is not None and place.is_unchecked(task.engine):
                continue
            self.ready.join_backlog(task.id)
            if place is not None and self._can_return(task, place):
                assignment = Assignment(
                    task=task.id, places=(place.id,), expected_s=self._unknown_s, because="its lost attempt ran here"
                )
                attempts.append(self.occupy(assignment, now=now))
                if len(attempts) == most:
                    break
        return attempts

    def _resume(self, task: QueuedTask, *, now: float) -> list[Attempt]:
        """Give the slots of a hold back to it, whatever their gates and queues say; end it where one is not free."""
        places = [self.slots.find(slot) for slot in task.returns_to]
        present = [place for place in places if place is not None and task.engine in place.slots and not place.holds]
        if len(present) == len(places):
            ids = tuple(place.id for place in present)
            because = "its holder has them"
            return [
                self.occupy(Assignment(task=task.id, places=ids, expected_s=self._unknown_s, because=because), now=now)
            ]
        gone = [slot for slot, place in zip(task.returns_to, places, strict=True) if place not in present]
        problem = Problem(
            code="hold.device_gone",
            what=f"its holder had {', '.join(task.returns_to)}, and this server cannot give {', '.join(gone)} back",
            hint="stop the program, and take a new hold",
        )
        self.ready.drop(task.id)
        self.unwritten.append(TaskChange(task=task.id, event=GivenUp(), error=problem))
        return []

    def _can_return(self, task: QueuedTask, state: PlaceState) -> bool:
        queue, place = self.queues.get(task.queue), state.to_place()
        room = Room(Snapshot(now=datetime.now(UTC), tasks=(), places=self.table, queues=self.queues))
        return (
            task.gpus == 1
            and state.is_free
            and room.is_option(place, task)
            and not place.is_among(task.avoid_slots | task.refused_slots, task.engine)
            and (queue is None or not queue.paused)
        )

    def occupy(self, assignment: Assignment, *, now: float) -> Attempt:
        """Hold the slots of an assignment, while its lease is committed and its task runs; `now` is monotonic."""
        task = self.ready.pop(assignment.task)
        assert task is not None, "the policy assigns only tasks that it was given"
        places = tuple(self.slots[place] for place in assignment.places)
        is_lent = isinstance(places[0].engine(task.engine), LendsDevices)
        kind = HoldKind.PROGRAM if is_lent else HoldKind.TASK
        hold = self._hold(task, assignment, kind, f"{'hold' if is_lent else 'task'} {task.id}")
        takes = self._find_taken(task, assignment.places, hold)
        return Attempt(task, uuid4(), places, hold, assignment, takes, leased_at=now)

    def seat(self, guest: QueuedTask, assignment: Assignment, label: str) -> Hold:
        """Hold the place of a guest that starts; nothing of it is stored."""
        self.ready.drop(guest.id)
        return self._hold(guest, assignment, HoldKind.GUEST, label)

    def _hold(self, task: QueuedTask, assignment: Assignment, kind: HoldKind, label: str) -> Hold:
        """Hold the places of an assignment."""
        places = [self.slots[place] for place in assignment.places]
        started_at = datetime.now(UTC)
        expected = timedelta(seconds=assignment.expected_s if task.lasts_s is None else task.lasts_s)
        running = RunningTask(
            task=task.id,
            owner=task.owner,
            queue=task.queue,
            engine=task.engine,
            model=task.model,
            memory=task.memory,
            started_at=started_at,
            expected_end=None if kind is HoldKind.PROGRAM and task.lasts_s is None else started_at + expected,
            share=task.share,
            gpus=task.gpus,
            lane=places[0].lanes.find_free_lane(),
        )
        hold = Hold(kind=kind, owner=task.owner, label=label, since=started_at, task=running)
        for place in places:
            place.hold(hold)
            if any(name == place.id for name, _ in assignment.evict):
                place.lanes.begin_emptying(hold)
        self._change_running(places)
        return hold

    def _find_taken(self, task: QueuedTask, names: Iterable[SlotId], hold: Hold) -> tuple[TakenLane, ...]:
        """Return the lanes that nothing else can have meanwhile: its own, and those of a device where it is alone.

        What shares with none has all lanes of its places. Of a neighbour, a task that computes alone has its own
        lane, so that others can do so next to it.
        """
        running = hold.task
        assert running is not None, "a task holds its places"
        taken: dict[TakenLane, None] = {}
        for place in map(self.table.__getitem__, names):
            lanes = [running.lane] if running.shares_lanes else range(place.lanes_for(task.engine))
            taken |= dict.fromkeys(TakenLane(place.id, lane) for lane in lanes)
            if place.processor is not None and find_share(task, place) is not Share.MEMORY:
                neighbours = self.table.processors[place.processor].places
                taken |= dict.fromkeys(TakenLane(name, running.lane) for name in neighbours)
        return tuple(taken)

    def vacate(self, attempts: Iterable[Attempt]) -> None:
        """Free the slots of attempts."""
        for attempt in attempts:
            self.slots.release(attempt.places, attempt.hold)
            self.update(attempt.places)

    def _change_running(self, places: Iterable[PlaceState]) -> None:
        """Put what runs on places into the table; nothing else of them has changed."""
        for place in places:
            self.table.change_running(place.id, place.running)
        self.news = True

    def vacate_guest(self, place: PlaceState, hold: Hold, *, has_changed: bool) -> None:
        """Free the place of a guest, and let the dispatcher look where something waits for it.

        `has_changed` says whether the guest changed anything else of the place.
        """
        has_changed = has_changed or place.is_changing
        self.slots.release([place], hold)
        if has_changed:
            self.update([place])
        else:
            self._change_running([place])
        if self.ready.backlog or self.ready.returning:
            self.wake.set()

    def end_turns(self, places: Iterable[PlaceState], reason: Reason) -> None:
        """Take the turns from guests that hold one of these places."""
        ended = set(places)
        for turn in self.turns.values():
            if turn.place in ended:
                turn.end(reason)

    def forget_decisions(self) -> None:
        """Forget changes that only a leader decides; the outcome of an attempt is written by the server that ran it."""
        decisions = (AttemptLost, GivenUp, StartTimeReached)
        self.unwritten = [change for change in self.unwritten if not isinstance(change.event, decisions)]

    # --- attempts ----------------------------------------------------------------------------------------------------

    @property
    def running_tasks(self) -> Sequence[int]:
        """The tasks that run here."""
        return list(self._by_task)

    def runs(self, task: int) -> bool:
        """Whether an attempt at the task runs here."""
        return task in self._by_task

    def add(self, attempt: Attempt) -> None:
        """Add an attempt that starts."""
        self.attempts[attempt.id] = attempt
        self._by_task[attempt.task.id] = attempt

    def remove(self, attempt: Attempt) -> None:
        """Remove an attempt that has ended."""
        del self.attempts[attempt.id]
        del self._by_task[attempt.task.id]

    def cancel(self, task: int) -> None:
        """Stop the attempt at a cancelled task, if one runs here."""
        if attempt := self._by_task.get(task):
            attempt.cancel()

    def end_others(self, attempt: Attempt) -> None:
        """Stop the other attempts on the place of one, for their engine is killed."""
        for other in self.attempts.values():
            if other is not attempt and other.place is attempt.place and other.task.engine == attempt.task.engine:
                other.stop.set(StopReason.ENGINE_KILLED)
        self.end_turns([attempt.place], _KILLED)

    def release_lent(self) -> None:
        """Stop the attempts whose work does not end with this server."""
        for attempt in self.attempts.values():
            if attempt.goes_on_elsewhere:
                attempt.stop.set(StopReason.RELEASED)
