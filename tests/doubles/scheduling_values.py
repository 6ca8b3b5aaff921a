"""Valid values for the policy, so that a test names only what matters to it; and a queue that is played forward."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from corral.scheduling.policy import decide
from corral.scheduling.values import (
    Decision,
    DurationKey,
    FairShare,
    Place,
    PolicyBounds,
    Queue,
    QueuedTask,
    ResidentModel,
    RunningTask,
    Snapshot,
    Turn,
)
from corral.units import Bytes
from corral.work import SlotId

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
GIB = 2**30


def gib(size: float) -> Bytes:
    """A size in GiB as bytes."""
    return Bytes(round(size * GIB))


def ago(seconds: float) -> datetime:
    """An instant before now."""
    return NOW - timedelta(seconds=seconds)


def a_queued(number: int = 1, **changes: Any) -> QueuedTask:  # changes are the fields of QueuedTask
    """A batch task of ada for `llama` that became ready ten seconds ago."""
    return QueuedTask(
        **{"id": number, "owner": "ada", "queue": "default", "engine": "llama", "queued_at": ago(10), **changes}
    )


def a_place(name: str = "node/gpu0", **changes: Any) -> Place:  # changes are the fields of Place
    """A free place with a device of its own and 24 GiB, where `llama` runs; `running` can be one task or a tuple."""
    defaults = {
        "id": SlotId(name),
        "node": name.split("/")[0],
        "device": name,
        "device_model": "RTX 4090",
        "capacity": gib(24),
        "engines": frozenset({"llama"}),
    }
    if isinstance(changes.get("running"), RunningTask):
        changes["running"] = (changes["running"],)
    return Place(**{**defaults, **changes})


def a_running(number: int = 900, **changes: Any) -> RunningTask:  # changes are the fields of RunningTask
    """A task of bob that started a minute ago."""
    defaults = {
        "task": number,
        "owner": "bob",
        "queue": "default",
        "engine": "llama",
        "model": None,
        "memory": None,
        "started_at": ago(60),
        "expected_end": NOW + timedelta(seconds=60),
    }
    return RunningTask(**{**defaults, **changes})


def a_resident(model: str, size: float | None = None, engine: str = "llama") -> ResidentModel:
    """A model in memory, its size in GiB."""
    return ResidentModel(engine=engine, model=model, memory=None if size is None else gib(size))


def a_snapshot(
    tasks: Iterable[QueuedTask] = (), places: Iterable[Place] = (), queues: Iterable[Queue] = (), **changes: Any
) -> Snapshot:  # changes are the other fields of Snapshot
    """A question to the policy, asked now."""
    known = {queue.name: queue for queue in queues}
    return Snapshot(**{"now": NOW, "tasks": tuple(tasks), "places": tuple(places), "queues": known, **changes})


def placed(decision: Decision) -> dict[int, tuple[str, ...]]:
    """Which task starts on which places."""
    return {assignment.task: tuple(assignment.places) for assignment in decision.assignments}


@dataclass
class PlayedQueue:
    """Stands for a dispatcher with engines that take exactly as long as was measured, on a clock of its own.

    Tasks arrive at their `queued_at`. A place keeps the last model that ran on it resident, as the real engines do.
    """

    places: dict[SlotId, Place]
    durations: Mapping[DurationKey, float]
    arrivals: list[QueuedTask]
    bounds: PolicyBounds = field(default_factory=PolicyBounds)
    now: datetime = NOW
    fair: FairShare = field(default_factory=FairShare)
    passed_since: Mapping[int, datetime] = field(default_factory=dict[int, datetime])
    turns: Mapping[SlotId, Turn] = field(default_factory=dict[SlotId, Turn])
    waiting: dict[int, QueuedTask] = field(default_factory=dict[int, QueuedTask])
    started: dict[int, datetime] = field(default_factory=dict[int, datetime])
    ran_on: dict[int, tuple[SlotId, ...]] = field(default_factory=dict[int, tuple[SlotId, ...]])

    def play(self, until: datetime) -> None:
        """Go from event to event, and decide at each."""
        self.arrivals.sort(key=lambda task: (task.queued_at, task.id))
        while self.now <= until:
            self._let_in()
            self._step()
            upcoming = [task.queued_at for task in self.arrivals[:1]]
            upcoming += [running.expected_end for place in self.places.values() for running in place.running]
            if not upcoming:
                return
            self.now = min(upcoming)
            self._end_tasks()

    def _let_in(self) -> None:
        while self.arrivals and self.arrivals[0].queued_at <= self.now:
            task = self.arrivals.pop(0)
            self.waiting[task.id] = task

    def _end_tasks(self) -> None:
        for place in list(self.places.values()):
            for running in place.running:
                if running.expected_end <= self.now:
                    place = self.places[place.id]
                    resident = (a_resident(running.model, None, running.engine),) if running.model else place.resident
                    left = tuple(other for other in place.running if other is not running)
                    self.places[place.id] = replace(place, running=left, resident=resident)

    def _step(self) -> None:
        decision = decide(
            Snapshot(
                now=self.now,
                tasks=tuple(self.waiting.values()),
                places=tuple(self.places.values()),
                queues={},
                durations=self.durations,
                fair=self.fair,
                passed_since=self.passed_since,
                turns=self.turns,
                bounds=self.bounds,
            )
        )
        self.fair, self.passed_since, self.turns = decision.fair, decision.passed_since, decision.turns
        for assignment in decision.assignments:
            task = self.waiting.pop(assignment.task)
            self.started[task.id] = self.now
            self.ran_on[task.id] = assignment.places
            for name in assignment.places:
                running = (*self.places[name].running, self._run(task, assignment.expected_s))
                self.places[name] = replace(self.places[name], running=running)

    def _run(self, task: QueuedTask, seconds: float) -> RunningTask:
        return a_running(
            task.id,
            owner=task.owner,
            queue=task.queue,
            engine=task.engine,
            model=task.model,
            memory=task.memory,
            started_at=self.now,
            expected_end=self.now + timedelta(seconds=seconds),
        )
