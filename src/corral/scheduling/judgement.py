"""The policy with its memory: durations of tasks, charges of owners, tasks that were passed over.

The policy itself (`corral.scheduling.policy`) is a function; what it needs from one decision to the next is kept here.
It is learnt anew at each start from the newest successes; what owners were charged starts even. The dispatcher and the
simulator both decide through this class, so that a forecast rests on what production does and not on a copy of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import NamedTuple

from corral.scheduling import durations, fairness
from corral.scheduling.backlog import Backlog
from corral.scheduling.deadlines import Deadline, DeadlineId
from corral.scheduling.estimating import WaitingWork, estimate
from corral.scheduling.explaining import explain, explain_waits
from corral.scheduling.giving_up import is_resident
from corral.scheduling.model_use import ModelUses
from corral.scheduling.model_waits import ModelWaits
from corral.scheduling.place_table import PlaceTable, Work
from corral.scheduling.policy import decide
from corral.scheduling.processor_time import ProcessorTime
from corral.scheduling.room import Room, to_table
from corral.scheduling.values import (
    Assignment,
    Decision,
    DurationKey,
    Explanation,
    FairShare,
    Place,
    PolicyBounds,
    Queue,
    QueuedTask,
    Snapshot,
    Turn,
)
from corral.units import Bytes, format_duration
from corral.work import SlotId, TaskClass

CANDIDATES = 512
"""How many queued tasks one decision looks at; see `corral.scheduling.backlog` for why that is enough."""
_AT_ANY_TIME = datetime(1970, 1, 2, tzinfo=UTC)
"""An instant for questions to whose answer none matters; hours can be looked up around it."""


class _Started(NamedTuple):
    """The facts of an attempt that what it teaches of its model rests on."""

    task_class: TaskClass
    without_model: bool
    """Whether its model was not in memory."""
    memory: Bytes | None


class Judgement:
    """Decides which tasks start where, and explains why others wait."""

    def __init__(
        self,
        bounds: PolicyBounds,
        *,
        history: durations.History | None = None,
        policy: Callable[[Snapshot], Decision] = decide,
    ) -> None:
        self._bounds = bounds
        self._policy = policy
        self._history = history or durations.History()
        self._fair = FairShare()
        self._passed_since: Mapping[int, datetime] = {}
        self._turns: Mapping[SlotId, Turn] = {}
        self.deadlines: Mapping[DeadlineId, Deadline] = {}
        """Deadlines of batches as they were estimated last; set by the owner."""
        self._model_waits = ModelWaits()
        self._processor_time = ProcessorTime()
        self._uses = ModelUses()
        self._kept_since: Mapping[Work, datetime] = {}
        self._started: dict[int, _Started] = {}
        self.ask_again_at: datetime | None = None
        """When the last decision would be another one although nothing happens; None where it would not."""
        self._table = PlaceTable(unknown_s=bounds.unknown_duration_s)

    @property
    def history(self) -> durations.History:
        """Durations measured so far."""
        return self._history

    def change_bounds(self, bounds: PolicyBounds) -> None:
        """Decide by other bounds from now on; what was learnt stays."""
        self._bounds = bounds

    def recall(self, measured: Iterable[tuple[DurationKey, float]]) -> None:
        """Forget all durations and learn these instead, in seconds, oldest first."""
        self._history = durations.History()
        for key, seconds in measured:
            self._history = durations.observe(self._history, key, seconds)

    def can_start_guest(self, backlog: Backlog, now: datetime) -> bool:
        """Whether a guest can start where it finds all that it needs, since nothing waits that could go first."""
        return not backlog.can_precede_guest(now, self._bounds)

    def start_guest(self, guest: QueuedTask, place: Place, because: str, now: datetime) -> Assignment:
        """Let a guest start on a place without a decision, and charge its owner."""
        key = DurationKey(guest.engine, guest.model, place.device_model)
        seconds = guest.lasts_s
        if seconds is None:
            seconds = durations.expected_seconds(self._history.expected, key, self._bounds)
        self._fair = fairness.settle(self._fair, guest.owner, 0.0, seconds)
        self._note_use(guest, place, now)
        return Assignment(task=guest.id, places=(place.id,), expected_s=seconds, because=because)

    def has_measured(self, place: Place) -> bool:
        """Whether the like of all tasks on a place was measured, so that it is known when it is free; guests apart."""
        keys = (DurationKey(task.engine, task.model, place.device_model) for task in place.running if task.task > 0)
        return all(durations.find_measured(self._history.expected, key) is not None for key in keys)

    def begin(self, task: int, processors: Iterable[str | None], at: float) -> None:
        """Note that a task computes on processors (`Place.processor`); `at` is in seconds of a monotonic clock."""
        self._processor_time.begin(task, processors, at)

    def end(self, task: int, at: float) -> None:
        """Note that a task computes no more; what its owner was charged stays."""
        self._processor_time.end(task, at)
        self._started.pop(task, None)

    def learn(
        self,
        key: DurationKey,
        assignment: Assignment,
        owner: str,
        seconds: float,
        *,
        at: float,
        now: datetime,
        starting_s: float = 0.0,
    ) -> None:
        """Take in how long an attempt that ends now really took, and correct what its owner was charged.

        `at` is on the clock of `begin`, `now` on that of decisions. `starting_s` of the seconds were the start of its
        engine's server: that counts as a load of the model, and is not part of what such tasks take.
        """
        self._history = durations.observe(self._history, key, seconds - starting_s)
        self.settle(key, assignment, owner, seconds, at=at, now=now)

    def settle(
        self, key: DurationKey, assignment: Assignment, owner: str, seconds: float, *, at: float, now: datetime
    ) -> None:
        """Correct what the owner of an attempt or a guest that ends now was charged, and note the use of its model.

        Of a processor that others computed on at the same time, the owner is charged a part. What a guest took teaches
        nothing of tasks: that a chat is short says little about a batch with the same model.
        """
        started = self._started.pop(assignment.task, None)
        if started is not None:
            self._uses.end(
                (key.engine, key.model),
                started.task_class,
                now,
                seconds=seconds,
                loaded=started.without_model,
                memory=started.memory,
            )
        places = len(assignment.places)
        shared = self._processor_time.end(assignment.task, at)
        had_s = sum(shared) + seconds * (places - len(shared))
        self._fair = fairness.settle(self._fair, owner, assignment.expected_s * places, had_s)

    def estimate_deadline(
        self,
        by: datetime,
        waiting: Sequence[WaitingWork],
        places: Collection[Place],
        queues: Mapping[str, Queue],
        now: datetime,
        *,
        waits_for_cheap: bool,
    ) -> Deadline:
        """Estimate when what is left of something with a deadline would be done, if all of it went first."""
        if not waiting:
            return Deadline(by=by, seen_at=now, ready_at=now, ready_cheap_at=now)
        known = self._history.expected
        cheap = self._bounds.cheap_hours if waits_for_cheap else None
        return Deadline(
            by=by,
            seen_at=now,
            ready_at=estimate(waiting, places, queues, known, now).ends_at,
            ready_cheap_at=cheap and estimate(waiting, places, queues, known, now, within=cheap).ends_at,
        )

    def assign(
        self,
        backlog: Backlog,
        places: Collection[Place],
        queues: Mapping[str, Queue],
        free: int,
        now: datetime,
        *,
        most_starts: int | None = None,
    ) -> tuple[Assignment, ...]:
        """Choose what to start now; `free` is how many of the places can take a task.

        With as many assignments as `most_starts`, places can be left that the next decision fills.
        The decision costs nothing for places that are the same objects as the last time. A `PlaceTable` that the caller
        keeps saves the comparison too.
        """
        snapshot = self._make_snapshot(backlog, places, queues, free, now)
        decision = self._policy(replace(snapshot, most_starts=most_starts))
        self._fair = decision.fair
        self._passed_since = decision.passed_since
        self._turns = decision.turns
        self._kept_since = decision.kept_since
        self.ask_again_at = decision.ask_again_at
        self._note_uses(decision.assignments, backlog, snapshot)
        return decision.assignments

    def _note_uses(self, assignments: Iterable[Assignment], backlog: Backlog, snapshot: Snapshot) -> None:
        """Note which models are asked for, and which of them have to be loaded."""
        table = to_table(snapshot)
        for assignment in assignments:
            task = backlog.get(assignment.task)
            if task is not None:
                self._note_use(task, table[assignment.places[0]], snapshot.now)

    def _note_use(self, task: QueuedTask, place: Place, now: datetime) -> None:
        """Note that a task starts, and whether its model has to be loaded for it."""
        if task.model is not None:
            self._started[task.id] = _Started(task.task_class, not is_resident(place, task), task.memory)
            self._uses.begin((task.engine, task.model), task.task_class, now)

    def explain(
        self, task: int, backlog: Backlog, places: Collection[Place], queues: Mapping[str, Queue], now: datetime
    ) -> Explanation | None:
        """Explain why a task of the backlog waits; None when it is not in the backlog."""
        queued = backlog.get(task)
        if queued is None:
            return None
        snapshot = self._make_snapshot(backlog, places, queues, len(places), now)
        if all(candidate.id != task for candidate in snapshot.tasks):
            snapshot = replace(snapshot, tasks=(*snapshot.tasks, queued))
        return explain(snapshot, task)

    def explain_several(
        self,
        waiting: Collection[int],
        backlog: Backlog,
        places: Collection[Place],
        queues: Mapping[str, Queue],
        now: datetime,
    ) -> dict[int, Explanation]:
        """Explain why tasks and guests of the backlog wait, at the cost of one.

        Those that would start now are left out; `slots` is empty.
        """
        snapshot = self._make_snapshot(backlog, places, queues, len(places), now)
        shown = {candidate.id for candidate in snapshot.tasks}
        others = (backlog.get(task) for task in waiting if task not in shown)
        tasks = (*snapshot.tasks, *(task for task in others if task is not None))
        return explain_waits(replace(snapshot, tasks=tasks), waiting)

    def find_given_up(
        self, backlog: Backlog, places: PlaceTable, queues: Mapping[str, Queue], *, now: float
    ) -> Iterator[QueuedTask]:
        """Find tasks that have waited for their model as long as they can; `now` is in seconds of a monotonic clock."""
        room = Room(Snapshot(now=_AT_ANY_TIME, tasks=(), places=places, queues=queues))
        return self._model_waits.find_given_up(backlog, room, wait_s=self._bounds.model_wait.total_seconds(), now=now)

    def describe_model_wait(self) -> str:
        """Print how long a task waits for a model that no server has."""
        return format_duration(self._bounds.model_wait.total_seconds())

    def _make_snapshot(
        self, backlog: Backlog, places: Collection[Place], queues: Mapping[str, Queue], free: int, now: datetime
    ) -> Snapshot:
        keep = self._passed_since.keys()
        return Snapshot(
            now=now,
            tasks=backlog.select_candidates(now, self._bounds, CANDIDATES, free=free, keep=keep),
            places=self._update_table(places),
            queues=queues,
            durations=self._history.expected,
            fair=self._fair,
            deadlines=self.deadlines,
            passed_since=self._passed_since,
            turns=self._turns,
            uses=self._uses,
            kept_since=self._kept_since,
            bounds=self._bounds,
        )

    def _update_table(self, places: Collection[Place]) -> PlaceTable:
        """The caller's table, or the one kept here, brought up to date."""
        if isinstance(places, PlaceTable):
            return places
        self._table.replace(places)
        return self._table
