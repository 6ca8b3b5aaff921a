"""The attempts that run here: what is known of each, what its engine is handed, and what its end means."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import UUID

from corral.errors import CorralError, Problem
from corral.scheduling.values import Assignment, DurationKey, QueuedTask
from corral.slots.place import PlaceState
from corral.slots.registry import Registry
from corral.slots.values import Hold
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.attempt_run import Ended, Failure, Order, StopReason, StopSignal, make_failure, run_attempt
from corral.tasks.board import Board, Preview, Progress, Relayed
from corral.tasks.device_room import DeviceRoom, Follow
from corral.tasks.disk import DiskWatch
from corral.tasks.energy import EnergyBook
from corral.tasks.lifecycle import AttemptFailed, Event, Leased, Released, Started, Stopped, Succeeded
from corral.tasks.scratch import ScratchFolders
from corral.tasks.store.dispatching import Details
from corral.tasks.store.transitions import TaskChange
from corral.tasks.values import TakenLane
from corral.units import Bytes
from corral.work import FailureScope, HoldEnd, Json, LendsDevices, SlotId, Work


@dataclass(slots=True)
class Attempt:
    """One attempt, from its assignment to its end; all instants are seconds of a monotonic clock."""

    task: QueuedTask
    id: UUID
    places: tuple[PlaceState, ...]
    hold: Hold
    """Its hold on the places."""
    assignment: Assignment
    takes: tuple[TakenLane, ...]
    """The lanes that nothing else can have meanwhile, those of neighbours where it computes alone among them."""
    leased_at: float
    started_at: float = 0.0
    batch: int | None = None
    stop: StopSignal = field(default_factory=StopSignal)
    peak: Bytes | None = None
    """The most memory that it was seen to hold of its device; None where that was not seen."""
    is_cancelled: bool = False
    """Whether it ends as cancelled, once the program that has its devices has given them back."""

    @property
    def place(self) -> PlaceState:
        """The place whose engine does the work; the others of the assignment lend their devices."""
        return self.places[0]

    @property
    def goes_on_elsewhere(self) -> bool:
        """Whether its work does not end with this server."""
        return isinstance(self.place.engine(self.task.engine), LendsDevices)

    def cancel(self) -> None:
        """Stop it because its task was cancelled; a program that has its devices is asked to give them back first."""
        engine = self.place.engine(self.task.engine)
        if isinstance(engine, LendsDevices) and engine.book.is_lent(self.task.id):
            self.is_cancelled = True
            engine.book.ask_back(self.task.id, HoldEnd.RELEASED)
        else:
            self.stop.set(StopReason.CANCELLED)

    def close(self) -> None:
        """Stop it because hours are over: its task is queued again, and a program is asked to stop."""
        engine = self.place.engine(self.task.engine)
        if isinstance(engine, LendsDevices):
            engine.book.ask_back(self.task.id, HoldEnd.CLOSED)
        else:
            self.stop.set(StopReason.CLOSED)

    @property
    def key(self) -> DurationKey:
        """The key by which its duration and memory are measured."""
        return DurationKey(self.task.engine, self.task.model, self.place.device.model)

    @property
    def slots(self) -> tuple[SlotId, ...]:
        """The slots that it holds, as people know them: `node/gpu0/llama`."""
        return tuple(place.name_for(self.task.engine) for place in self.places)

    def describe_lease(self) -> TaskChange:
        """Return the change that makes this attempt the owner of its task."""
        return TaskChange(
            task=self.task.id,
            event=Leased(self.id, self.slots),
            takes=self.takes,
            device_model=self.place.device.model,
            note={"because": self.assignment.because},
        )

    def describe_start(self, *, now: float) -> TaskChange:
        """Return the change that records that the engine began; `now` is on the clock of `started_at`."""
        return TaskChange(task=self.task.id, event=Started(self.id), ago=timedelta(seconds=now - self.started_at))

    def describe_end(self, ended: Ended, *, others: bool) -> TaskChange | None:
        """Return what its end means for the task; None when it does not own the task any more.

        `others` says whether the task can still be tried on slots that have not refused it.
        """
        match ended.stopped:
            case StopReason.LOST:
                return None
            case StopReason.RELEASED:
                return TaskChange(task=self.task.id, event=Released(self.id))
            case StopReason.CLOSED:
                note = f"the hours of {self.slots[0]} or of queue {self.task.queue} are over"
                return TaskChange(task=self.task.id, event=Released(self.id), note={"because": note})
            case StopReason.PREEMPTED:
                note = "a guest goes first, as `scheduling.preempt` of the cluster file says"
                return TaskChange(task=self.task.id, event=Released(self.id), note={"because": note})
            case StopReason.ENGINE_KILLED:
                note = f"engine {self.task.engine} was killed, for another task of {self.slots[0]} did not stop"
                return TaskChange(task=self.task.id, event=Released(self.id), note={"because": note})
            case StopReason.WITHDRAWN:
                event = AttemptFailed(self.id, FailureScope.SLOT, random.random(), cut_off=True)
                return TaskChange(task=self.task.id, event=event, error=self.stop.problem)
            case StopReason.CANCELLED:
                return TaskChange(task=self.task.id, event=Stopped(self.id))
            case None if self.is_cancelled:
                return TaskChange(task=self.task.id, event=Stopped(self.id))
            case None:
                return self._describe_outcome(ended, others=others)

    def _describe_outcome(self, ended: Ended, *, others: bool) -> TaskChange:
        event: Event
        if ended.failure is None:
            event = Succeeded(self.id)
            return TaskChange(task=self.task.id, event=event, outputs=ended.files, result=ended.values)
        scope = ended.failure.scope
        is_refusal = scope is FailureScope.HERE
        if is_refusal and not others:
            scope = FailureScope.TASK
        return TaskChange(
            task=self.task.id,
            event=AttemptFailed(self.id, scope, random.random(), ended.failure.cut_off),
            error=ended.failure.problem,
            avoid_slot=self.slots[0] if ended.failure.avoid_slot else None,
            refused_slot=self.slots[0] if is_refusal else None,
            outputs=ended.files,
        )


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs attempts with the folders and the board of this server."""

    slots: Registry
    """All of this server: what is given up can be on another slot of the same device."""
    artifacts: ArtifactStore
    scratch: ScratchFolders
    board: Board
    disk: DiskWatch
    stop_grace_s: float
    """How long a cancelled engine can take to stop before it is killed."""
    changed: Callable[[PlaceState], None]
    """Called when the memory of a slot was given up."""
    room: DeviceRoom
    energy: EnergyBook
    end_others: Callable[[Attempt], None]
    """Called when the engine of an attempt is killed: what is in lanes next to it ends too."""

    async def run(self, attempt: Attempt, details: Details) -> Ended:
        """Run an attempt to its end; its failures are values."""
        await self._empty(attempt.assignment, attempt.places, attempt.hold)
        if details.missing_files:
            return _fail_without_inputs(details)
        lack = await self.room.find_lack(attempt.places, attempt.task.memory)
        if lack is not None:
            return Ended(failure=Failure(problem=lack, scope=FailureScope.WAIT))
        try:
            work = await self._make_work(attempt, details)
        except CorralError as error:
            return Ended(failure=make_failure(error))
        engine = attempt.place.engine(attempt.task.engine)
        report, end_others = _BoardReporter(attempt, self.board), partial(self.end_others, attempt)
        order = Order(work, report, attempt.stop, self.stop_grace_s, end_others)
        attempt.place.count_load(attempt.task.engine, attempt.task.model)
        ended, metered = None, self.energy.begin(attempt.places)
        try:
            with self.room.follow(attempt.places) as follow:
                ended = await run_attempt(engine, order, self.artifacts)
                attempt.peak = follow.peak
                ended = await self._judge_failure(ended, follow, attempt.places)
            return ended
        finally:
            self.energy.end_task(metered, attempt.task.id)
            await self.scratch.give_back(work.scratch, returned=ended is not None and ended.values is not None)

    async def make_room(
        self, assignment: Assignment, place: PlaceState, hold: Hold, memory: Bytes | None
    ) -> Problem | None:
        """Give up what an assignment evicts, and return why there is no room on its place nevertheless."""
        await self._empty(assignment, (place,), hold)
        return await self.room.find_lack((place,), memory)

    async def _empty(self, assignment: Assignment, places: Sequence[PlaceState], hold: Hold) -> None:
        """Give up what the assignment evicts; one that has a lane waits until what is there before it has done so."""
        await self._evict(assignment, places)
        for place in places:
            await place.lanes.wait_until_emptied(hold)

    async def _evict(self, assignment: Assignment, places: Sequence[PlaceState]) -> None:
        for name, resident in assignment.evict:
            place = self.slots.get(name)
            if place is not None and (not place.holds or place in places):  # else it got work since
                await place.evict([resident.engine])
                self.changed(place)

    def _find_files(self, details: Details) -> dict[str, Path]:
        return {name: self.artifacts.check(sha256) for name, sha256 in details.files.items()}

    async def _judge_failure(self, ended: Ended, follow: Follow, places: Sequence[PlaceState]) -> Ended:
        """Blame what brought a failure about, whatever the engine's program said of it.

        Memory that others took, a suspend, a GPU with errors, a full disk.
        """
        failure = ended.failure
        if failure is None or failure.scope not in (FailureScope.ATTEMPT, FailureScope.SLOT):
            return ended
        outside = follow.describe_rise() if failure.out_of_memory else None
        if outside is None and follow.slept:
            outside = "the machine slept while it ran"
        if outside is None:
            outside = await self.room.find_fault(places)
        if outside is not None:
            problem = replace(
                failure.problem, code="attempt.disturbed", what=f"{outside}; it ended with: {failure.problem.what}"
            )
            return replace(ended, failure=replace(failure, problem=problem, scope=FailureScope.SLOT))
        full = await self.disk.try_writing()
        if full is None or failure.problem.code == full.code:
            return ended
        problem = replace(full, what=f"{full.what}; the attempt ended with: {failure.problem.what}")
        return replace(ended, failure=replace(failure, problem=problem, scope=FailureScope.SLOT))

    async def _make_work(self, attempt: Attempt, details: Details) -> Work:
        devices = (place.device.visible for place in attempt.places)
        return Work(
            attempt=attempt.id,
            earlier=details.lost,
            task=attempt.task.id,
            engine=attempt.task.engine,
            model=attempt.task.model,
            inputs=details.inputs,
            files=await asyncio.to_thread(self._find_files, details),
            scratch=self.scratch.take(),
            timeout_s=details.timeout_s,
            slots=attempt.slots,
            memory=attempt.task.memory,
            devices=tuple(device for device in devices if device is not None),
        )


def _fail_without_inputs(details: Details) -> Ended:
    problem = Problem(
        code="attempt.input_missing",
        what=f"input files do not exist: {', '.join(details.missing_files)}",
        where=f"task {details.task}.files",
        hint="name an output that the other task makes (`corral tasks show ID` lists them)",
    )
    return Ended(failure=Failure(problem=problem, scope=FailureScope.TASK))


@dataclass(frozen=True, slots=True)
class _BoardReporter:
    """Shows an attempt's progress on the board."""

    attempt: Attempt
    board: Board

    def progress(self, fraction: float | None, note: str = "") -> None:
        attempt = self.attempt
        self.board.publish(
            Progress(
                task=attempt.task.id,
                batch=attempt.batch,
                attempt=attempt.id,
                slot=attempt.slots[0],
                fraction=None if fraction is None else min(1.0, max(0.0, fraction)),
                note=note,
                at=datetime.now(UTC),
            )
        )

    def preview(self, media_type: str, data: bytes) -> None:
        attempt = self.attempt
        self.board.publish(
            Preview(
                task=attempt.task.id,
                batch=attempt.batch,
                attempt=attempt.id,
                media_type=media_type,
                data=data,
                at=datetime.now(UTC),
            )
        )

    def relay(self, event: str, data: Mapping[str, Json]) -> None:
        attempt = self.attempt
        self.board.publish(
            Relayed(
                task=attempt.task.id,
                batch=attempt.batch,
                attempt=attempt.id,
                event=event,
                data=data,
                at=datetime.now(UTC),
            )
        )
