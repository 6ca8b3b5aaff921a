"""The loop that gives tasks to slots.

One task owns all state: attempts, timers and notifications only put facts into its inbox and wake it. Each round
collects what happened since the last one, asks the policy, and commits outcomes and new leases in one transaction; only
then do the new attempts start. While a commit is under way the next facts gather, so under load many share one commit.

When the database goes away, running attempts go on and their outcomes wait here; when it comes back, they are written
under their leases. A lease that could not be renewed in time stops its attempt.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import structlog

from corral.errors import Problem
from corral.scheduling.judgement import Judgement
from corral.scheduling.values import (
    Assignment,
    DurationKey,
    Explanation,
    Gate,
    Queue,
    RunningTask,
    Settings,
)
from corral.slots.registry import Registry
from corral.slots.values import Difference, Hold, HoldKind, Wanted
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.attempt import Ended, StopReason
from corral.tasks.board import Board
from corral.tasks.leadership import leadership
from corral.tasks.leases import LeaseKeeper
from corral.tasks.lifecycle import AttemptLost, Life, StartTimeReached, StopAttempt, TaskState
from corral.tasks.ready import ReadyTasks
from corral.tasks.running import Attempt, Runner
from corral.tasks.scratch import ScratchFolders
from corral.tasks.store import dispatching, story
from corral.tasks.store.pool import CONNECTION_LOST, DatabaseUnavailableError, Pool
from corral.tasks.store.reading import to_be_cancelled
from corral.tasks.store.transitions import Change, Lease
from corral.tasks.values import StoryEvent
from corral.work import FailureScope, SlotId

log = structlog.get_logger()

START_LAG_S = 0.05
"""A start is written with the next outcome or lease, or this much later: a commit of its own would delay the next."""
_WATCHED = ("submitted", "cancel_requested", "gate_changed")
"""Changes that others make; the dispatcher's own are known to it when they commit."""
_PAGE = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the cluster file says about dispatching."""

    queues: Mapping[str, Queue]
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """The dispatcher's waits; tests shorten them."""

    lease_ttl: timedelta = timedelta(seconds=60)
    """Longer than a database restart or a stalled disk. A server that dies frees its tasks sooner (`Dispatcher`)."""
    heartbeat_s: float = 15.0
    safety_poll_s: float = 5.0
    """How often the picture in memory is compared with the database: a notification was lost, a clock jumped."""
    retry_s: float = 0.5
    """Wait between tries while the database does not answer."""
    stop_grace_s: float = 10.0
    """How long a cancelled engine may take to stop before it is killed."""


class Dispatcher:
    """Binds queued tasks to free slots, and writes what became of them."""

    def __init__(
        self,
        *,
        url: str,
        pool: Pool,
        holder: UUID,
        slots: Registry,
        rules: Rules,
        artifacts: ArtifactStore,
        scratch: Path,
        board: Board,
        timings: Timings | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """The dispatcher owns `slots` while it runs, and closes their engines at its end.

        `holder` names this data directory: only one server runs on it at a time, so its old leases are dead.
        """
        self._url = url
        self._pool = pool
        self._timings = timings or Timings()
        self._lease = Lease(holder=holder, ttl=self._timings.lease_ttl)
        self._slots = slots
        self._queues = dict(rules.queues)
        self._runner = Runner(slots, artifacts, ScratchFolders(scratch), board, self._timings.stop_grace_s)
        self._board = board
        self._monotonic = monotonic

        self._attempts: dict[UUID, Attempt] = {}
        self._by_task: dict[int, Attempt] = {}
        self._inbox: list[tuple[Attempt, Ended]] = []
        self._unwritten: list[Change] = []
        self._begun: list[Attempt] = []
        """Attempts whose start is not written yet; see `START_LAG_S`."""
        self._tasks = asyncio.TaskGroup()

        self._ready = ReadyTasks()
        self._judgement = Judgement(rules.settings)
        self._measured_memory: set[DurationKey] = set()

        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._released = False
        self._deaf = False
        self._log_due = True
        self._cursor = 0
        self._poll_due = 0.0
        self._keeper = LeaseKeeper(
            pool, self._lease, self._attempts, heartbeat_s=self._timings.heartbeat_s, monotonic=monotonic
        )

    # --- from outside ------------------------------------------------------------------------------------------------

    def explain(self, task: int) -> Explanation | None:
        """Say why a task of the backlog waits; None when it is not in the backlog."""
        return self._judgement.explain(task, self._ready.backlog, self._slots.views(), self._queues, datetime.now(UTC))

    @property
    def running(self) -> int:
        """How many attempts run here now."""
        return len(self._attempts)

    def change_slots(self, wanted: Wanted) -> Difference:
        """Add, change and remove slots, and return what that changes; what is held changes when its hold ends."""
        difference = self._slots.compare(wanted)
        self._slots.apply(difference)
        self._changed()
        return difference

    def stop(self) -> None:
        """Take no more tasks; `run` returns once the running attempts have ended or were released."""
        self._stopping.set()
        self._wake.set()

    def release(self) -> None:
        """Stop the running attempts, and one that is just being leased; their tasks go back to the queue."""
        self._released = True
        for attempt in self._attempts.values():
            attempt.stop.set(StopReason.RELEASED)

    async def run(self) -> None:
        """Lead whenever this server may, until `stop`; then let the running attempts end and write their outcomes."""
        try:
            async with asyncio.TaskGroup() as beside:
                helpers = [
                    beside.create_task(self._keeper.run()),
                    beside.create_task(self._slots.watch(self._changed, self._monotonic)),
                ]
                async with self._tasks:
                    await self._lead_until_stopped()
                for helper in helpers:
                    helper.cancel()
        finally:
            await self._slots.close()

    # --- leading -----------------------------------------------------------------------------------------------------

    async def _lead_until_stopped(self) -> None:
        while not self._finished():
            leading = asyncio.create_task(self._lead())
            stopping = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait({leading, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if self._finished() and not self._board.leading:
                    return
                await leading
            except (*CONNECTION_LOST, DatabaseUnavailableError) as error:
                log.warning("database_lost", error=str(error))
                await asyncio.sleep(self._timings.retry_s)
            except asyncpg.UniqueViolationError as error:
                log.warning("slot_taken_elsewhere", error=str(error))
                await asyncio.sleep(self._timings.retry_s)
            except Exception:  # the loop's supervisor: a bug in one round must not end the server and lose the queue
                log.exception("round_failed")
                await asyncio.sleep(self._timings.retry_s)
            finally:
                leading.cancel()
                stopping.cancel()
                self._board.lead(leading=False)

    def _finished(self) -> bool:
        """Whether a stop was asked for and nothing is left to run or to write."""
        return self._stopping.is_set() and not (self._attempts or self._inbox or self._unwritten)

    async def _lead(self) -> None:
        async with leadership(self._url, self._heard, self._lost_connection, self._stand_by):
            if self._finished():
                return
            self._deaf = False
            await self._load()
            self._board.lead(leading=True)
            log.info("dispatcher_leads", slots=len(self._slots), queued=len(self._ready.backlog))
            while not self._finished():
                await self._round()
                if self._deaf:
                    raise DatabaseUnavailableError("the connection that listens was lost")
                await self._sleep()

    async def _stand_by(self) -> bool:
        """While another leads, look after the attempts that still run here; return whether to go on waiting."""
        await self._heed_cancels()
        self._collect()
        if self._begun or self._unwritten:
            await self._commit([])
        return not self._finished()

    def _heard(self, kinds: str) -> None:
        if any(kind in _WATCHED for kind in kinds.split()):
            self._log_due = True
            self._wake.set()

    def _changed(self) -> None:
        self._show()
        self._wake.set()

    def _lost_connection(self) -> None:
        self._deaf = True
        self._wake.set()

    async def _load(self) -> None:
        """Read everything anew, and free what dead attempts of this data directory held."""
        self._cursor = await story.horizon(self._pool)
        self._ready = ReadyTasks()
        self._judgement.recall(await dispatching.recent_durations(self._pool))
        await self._read_gates()
        await self._rescue()
        await self._heed_cancels()
        self._sort_in(await dispatching.all_ready_tasks(self._pool))
        self._poll_due = self._monotonic() + self._timings.safety_poll_s
        self._show()

    async def _sleep(self) -> None:
        """Wait for a wake-up, the next timer or the safety poll."""
        if self._finished():
            return
        due = min(self._poll_due, self._ready.next_due() or self._poll_due, self._starts_due())
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - self._monotonic())):
                await self._wake.wait()

    # --- one round ---------------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        """Collect what happened, decide, commit, start."""
        self._wake.clear()
        await self._read_log()
        await self._poll()
        due = self._ready.due(now=self._monotonic())
        if due:
            self._sort_in(await dispatching.ready_tasks(self._pool, due))
        self._collect()
        assigned = [] if self._stopping.is_set() else self._decide()
        if not (assigned or self._unwritten or self._starts_due() <= self._monotonic()):
            return
        await self._committed(await self._commit(assigned), assigned)

    async def _commit(self, assigned: Sequence[Attempt]) -> dispatching.Round:
        """Write what is unwritten, and the leases of these attempts, in one transaction."""
        begun, written = len(self._begun), len(self._unwritten)
        starts = (attempt.begun(now=self._monotonic()) for attempt in self._begun)
        changes = [*starts, *self._unwritten, *(attempt.leased() for attempt in assigned)]
        try:
            done = await dispatching.commit_round(
                self._pool, changes, [attempt.task.id for attempt in assigned], self._lease
            )
        except BaseException:
            self._vacate(assigned)  # whether the leases stand is unknown; the state is loaded anew, and finds them
            raise
        del self._begun[:begun]
        del self._unwritten[:written]
        return done

    def _starts_due(self) -> float:
        """Return when the starts that are not written yet are written, if nothing else is before."""
        return self._begun[0].started_at + START_LAG_S if self._begun else math.inf

    def _collect(self) -> None:
        """Turn ended attempts into changes, and free their slots."""
        for attempt, ended in self._inbox:
            del self._attempts[attempt.id]
            del self._by_task[attempt.task.id]
            self._free(attempt, ended)
            change = attempt.ended(ended)
            if change is not None:
                self._unwritten.append(change)
            else:  # the database may still say that it owns its task: look at once, not at the next poll
                self._poll_due = self._monotonic()
                self._wake.set()
        self._inbox.clear()

    def _free(self, attempt: Attempt, ended: Ended) -> None:
        self._board.forget(attempt.task.id)
        now = self._monotonic()
        if ended.failure is not None and ended.failure.scope is FailureScope.SLOT:
            attempt.group.note_failure(attempt.task.engine, ended.failure.problem.what, now=now)
        elif ended.values is not None:
            attempt.group.note_use(attempt.task.engine, attempt.task.model)
            self._judgement.learn(attempt.key, attempt.assignment, attempt.task.owner, now - attempt.started_at)
        self._vacate([attempt])

    def _decide(self) -> list[Attempt]:
        free = self._slots.count_free()
        if not self._ready.backlog or not free:
            return []
        slots = self._slots.views()
        assignments = self._judgement.assign(self._ready.backlog, slots, self._queues, free, datetime.now(UTC))
        return [self._occupy(assignment) for assignment in assignments]

    def _occupy(self, assignment: Assignment) -> Attempt:
        """Hold the slots of an assignment while its lease is committed."""
        task = self._ready.backlog.remove(assignment.task)
        assert task is not None, "the policy assigns only tasks that it was given"
        groups = tuple(self._slots[slot] for slot in assignment.slots)
        now = datetime.now(UTC)
        running = RunningTask(
            task=task.id,
            owner=task.owner,
            queue=task.queue,
            engine=task.engine,
            model=task.model,
            memory=task.memory,
            started_at=now,
            expected_end=now + timedelta(seconds=assignment.expected_s),
        )
        hold = Hold(kind=HoldKind.TASK, owner=task.owner, label=f"task {task.id}", since=now, task=running)
        for group in groups:
            group.hold(hold)
        return Attempt(task, uuid4(), groups, hold, assignment, leased_at=self._monotonic())

    def _vacate(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            self._slots.release(attempt.groups, attempt.hold)

    async def _committed(self, done: dispatching.Round, assigned: Sequence[Attempt]) -> None:
        for change, refusal in done.applied.refused:
            log.info("change_refused", task=change.task, reason=refusal.what)
        for attempt in assigned:
            details = done.details.get(attempt.task.id)
            if details is None:  # it was cancelled or deleted before the lease was written
                self._vacate([attempt])
                self._wake.set()
            else:
                self._start(attempt, details)
        for task, effect in done.applied.effects:
            if isinstance(effect, StopAttempt) and (attempt := self._by_task.get(task)):
                attempt.stop.set(StopReason.CANCELLED)
        ready = [id for id, life in done.applied.lives.items() if _may_start(life)]
        if ready:
            self._sort_in(await dispatching.ready_tasks(self._pool, ready))
            self._wake.set()
        self._show()

    def _show(self) -> None:
        self._board.show_slots(self._slots.views())

    # --- attempts ----------------------------------------------------------------------------------------------------

    def _start(self, attempt: Attempt, details: dispatching.Details) -> None:
        attempt.batch = details.batch
        attempt.started_at = self._monotonic()
        self._attempts[attempt.id] = attempt
        self._by_task[attempt.task.id] = attempt
        self._begun.append(attempt)
        if self._released:
            attempt.stop.set(StopReason.RELEASED)
        self._tasks.create_task(self._attempt(attempt, details), name=f"attempt-{attempt.task.id}")

    async def _attempt(self, attempt: Attempt, details: dispatching.Details) -> None:
        ended = await self._runner.run(attempt, details)
        if ended.values is not None and attempt.key not in self._measured_memory:
            await self._measure_memory(attempt)
        self._inbox.append((attempt, ended))
        self._wake.set()

    async def _measure_memory(self, attempt: Attempt) -> None:
        """After the first task with a model, ask how much memory it takes, before another one changes that."""
        self._measured_memory.add(attempt.key)
        await attempt.group.refresh([attempt.task.engine])
        for held in attempt.group.resident(attempt.task.engine):
            if held.model == attempt.task.model and held.memory is not None:
                with suppress(*CONNECTION_LOST, asyncpg.PostgresError):  # it is measured again after the next start
                    await dispatching.note_memory(self._pool, attempt.key, held.memory)

    # --- what others changed -----------------------------------------------------------------------------------------

    async def _read_log(self) -> None:
        while self._log_due:
            self._log_due = False
            end = await story.horizon(self._pool)
            events = await story.read(self._pool, after=self._cursor, up_to=end, kinds=_WATCHED, limit=_PAGE)
            self._log_due = len(events) == _PAGE
            # The cursor also passes the lines that are not watched, or each look would go through all of them again.
            self._cursor = events[-1].id if self._log_due else max(end, self._cursor)
            if events:
                await self._take_events(events)

    async def _take_events(self, events: Sequence[StoryEvent]) -> None:
        for event in events:
            if event.kind == "cancel_requested" and event.task is not None:
                self._ready.drop(event.task)
                if attempt := self._by_task.get(event.task):
                    attempt.stop.set(StopReason.CANCELLED)
        if any(event.kind == "gate_changed" for event in events):
            await self._read_gates()
        submitted = [event.task for event in events if event.kind == "submitted" and event.task is not None]
        if submitted:
            self._sort_in(await dispatching.ready_tasks(self._pool, submitted))

    def _sort_in(self, found: Sequence[dispatching.Ready]) -> None:
        known = [ready for ready in found if ready.task.id not in self._by_task]
        for task in self._ready.take(known, now=self._monotonic()):
            self._unwritten.append(Change(task=task, event=StartTimeReached()))
            self._wake.set()

    async def _read_gates(self) -> None:
        gates = await dispatching.gates(self._pool)
        self._slots.note_gates({SlotId(name): gate for (kind, name), gate in gates.items() if kind == "slot"})
        for name, queue in self._queues.items():
            paused = gates.get(("queue", name)) is Gate.PAUSED
            self._queues[name] = replace(queue, paused=paused)
        self._show()

    async def _poll(self) -> None:
        """Compare the picture in memory with the database now and then."""
        if self._monotonic() < self._poll_due:
            return
        self._poll_due = self._monotonic() + self._timings.safety_poll_s * random.uniform(0.8, 1.2)
        self._log_due = True
        await self._rescue()
        await self._heed_cancels()
        known = self._ready.ids
        if await dispatching.due_sum(self._pool) == (len(known), sum(known)):
            return
        due = await dispatching.due_ids(self._pool)
        for task in known - due:
            self._ready.drop(task)
        missing = [task for task in due if task not in self._ready and task not in self._by_task]
        if missing:
            self._sort_in(await dispatching.ready_tasks(self._pool, missing))

    async def _heed_cancels(self) -> None:
        """Stop attempts whose cancel request was not heard: nobody led, or another did."""
        if self._by_task:
            for task in await to_be_cancelled(self._pool, self._by_task):
                self._by_task[task].stop.set(StopReason.CANCELLED)

    async def _rescue(self) -> None:
        """Requeue tasks whose attempt nobody runs: this data directory's old ones at once, others' when they expire."""
        told = {change.task for change in self._unwritten}
        elsewhere: dict[SlotId, str] = {}
        for held in await dispatching.held_by_anyone(self._pool):
            if held.lease in self._attempts or held.task in told:
                continue
            mine = held.holder == self._lease.holder
            if not mine and not held.expired:
                elsewhere.update(dict.fromkeys(held.slots, f"task {held.task} holds it for another server"))
                continue
            why = "the server that ran it has stopped" if mine else "its lease ran out"
            problem = Problem(code="attempt.lost", what=f"attempt {held.lease} was lost: {why}")
            self._unwritten.append(Change(task=held.task, event=AttemptLost(held.lease), error=problem))
            log.warning("attempt_lost", task=held.task, attempt=str(held.lease), reason=why)
        self._slots.note_elsewhere(elsewhere)


def _may_start(life: Life) -> bool:
    """Whether only a point in time, if anything, keeps a task from being assigned."""
    return life.state is TaskState.QUEUED or (life.state is TaskState.WAITING and life.open_needs == 0)
