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
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from uuid import UUID

import asyncpg
import structlog

from corral.scheduling.estimating import Estimate, WaitingWork, estimate
from corral.scheduling.explaining import NO_SLOT
from corral.scheduling.judgement import Judgement
from corral.scheduling.values import Explanation, is_guest
from corral.slots.place import PlaceState
from corral.slots.registry import Registry
from corral.slots.values import Difference, Wanted
from corral.tasks.alarms import Alarms
from corral.tasks.artifacts import ArtifactStore
from corral.tasks.attempt_run import SLOT_RESTS, Ended, StopReason
from corral.tasks.board import Board
from corral.tasks.deadlines import DeadlineKeeper
from corral.tasks.device_care import DeviceCare
from corral.tasks.device_room import DeviceRoom
from corral.tasks.disk import DiskWatch
from corral.tasks.dispatch_rules import DispatchRules, Timings
from corral.tasks.energy import EnergyBook
from corral.tasks.guests import NOT_LEADING, STOPS, Guests
from corral.tasks.hours import HoursKeeper
from corral.tasks.leadership import hold_leadership
from corral.tasks.leases import LeaseKeeper
from corral.tasks.lifecycle import TERMINAL, AttemptLost, StopAttempt
from corral.tasks.measuring import MemoryNotes
from corral.tasks.picture import Picture
from corral.tasks.reconciling import Reconciler
from corral.tasks.running import Attempt, Runner
from corral.tasks.scratch import ScratchFolders
from corral.tasks.store import dispatching
from corral.tasks.store.leading import LeadLostError
from corral.tasks.store.pool import CONNECTION_LOST, DatabaseFullError, DatabaseUnavailableError, Pool, describe_lack
from corral.tasks.store.transitions import Lease
from corral.tasks.supervision import supervise

log = structlog.get_logger()

START_LAG_S = 0.05
"""A start is written with the next outcome or lease, or this much later: a commit of its own would delay the next."""
AT_ONCE = 32
"""Attempts started or ended in one step of the event loop, which takes some 2 ms; the next step goes on."""


class Dispatcher:
    """Binds queued tasks to free slots, and writes what became of them."""

    def __init__(
        self,
        *,
        url: str,
        pool: Pool,
        holder: UUID,
        slots: Registry,
        rules: DispatchRules,
        artifacts: ArtifactStore,
        scratch: Path,
        board: Board,
        alarms: Alarms | None = None,
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
        self._board = board
        board.show_slots(slots.list_views)
        self._alarms = alarms or Alarms()
        self._note_slots()
        self._monotonic = monotonic
        self._judgement = Judgement(rules.bounds)
        self._picture = Picture(slots, rules.queues, unknown_s=rules.bounds.unknown_duration_s)
        self._hours = HoursKeeper(self._picture)
        self._reconciler = Reconciler(
            pool,
            self._picture,
            self._judgement,
            holder=holder,
            poll_s=self._timings.safety_poll_s,
            monotonic=monotonic,
            deadlines=DeadlineKeeper(pool, self._picture, self._judgement, self._alarms, monotonic),
        )
        self._keeper = LeaseKeeper(
            pool, self._lease, self._picture.attempts, heartbeat_s=self._timings.heartbeat_s, monotonic=monotonic
        )
        self._disk = DiskWatch(artifacts, self._alarms, reserve=rules.disk_reserve)
        room, grace_s = DeviceRoom(slots), self._timings.stop_grace_s
        self.energy = energy = EnergyBook(monotonic=monotonic)
        self.devices = DeviceCare(slots, self._picture, self._alarms, room, rules.yields, energy)
        note, end_others = self._note_change, self._picture.end_others
        self._runner = Runner(
            slots, artifacts, ScratchFolders(scratch), board, self._disk, grace_s, note, room, energy, end_others
        )
        make_room, silent_s, show = self._runner.make_room, self._timings.rhythm.silent_s, self._show
        self.guests = Guests(self._picture, self._judgement, rules.guests, make_room, show, monotonic, silent_s, energy)
        self._tasks = asyncio.TaskGroup()
        self._inbox: list[tuple[Attempt, Ended]] = []
        self._begun: list[Attempt] = []
        """Attempts whose start is not written yet; see `START_LAG_S`."""
        self._memory = MemoryNotes(pool, self._picture)
        self._stopping = asyncio.Event()
        self._released = False
        self._deaf = False
        self._epoch: int | None = None
        """Guards what is written while this server leads."""
        self.find_oldest, self.list_waiting = self._picture.find_oldest, self._picture.list_waiting

    # --- from outside ------------------------------------------------------------------------------------------------

    def explain(self, task: int) -> Explanation | None:
        """Explain why a task of the backlog waits; None when it is not in the backlog."""
        picture = self._picture
        return self._judgement.explain(task, picture.ready.backlog, picture.table, picture.queues, datetime.now(UTC))

    def explain_several(self, tasks: Collection[int]) -> Mapping[int, Explanation]:
        """Explain why tasks of the backlog wait, at the cost of one; others are left out."""
        picture, now = self._picture, datetime.now(UTC)
        known = [task for task in tasks if task in picture.ready.backlog]
        return self._judgement.explain_several(known, picture.ready.backlog, picture.table, picture.queues, now)

    def estimate(self, waiting: Sequence[WaitingWork], *, by: datetime | None = None) -> Estimate:
        """Estimate when this work would be done, and how much of it by an instant; unknown while standing by."""
        picture, now = self._picture, datetime.now(UTC)
        return estimate(waiting, picture.table, picture.queues, self._judgement.history.expected, now, by=by)

    @property
    def running(self) -> int:
        """How many attempts run here now."""
        return len(self._picture.attempts)

    def compare_slots(self, wanted: Wanted) -> Difference:
        """Return what `change_slots` would change."""
        return self._slots.compare(wanted)

    def change_slots(self, wanted: Wanted) -> Difference:
        """Add, change and remove slots, and return what that changes; what is held changes when its hold ends."""
        difference = self._slots.compare(wanted)
        self._slots.apply(difference)
        self._note_slots()
        self._reconciler.poll_soon()  # a slot that is new here can be held by another server
        self._picture.refresh()
        self._show()
        self._picture.wake.set()
        return difference

    def _note_slots(self) -> None:
        self._alarms.show("no_slots", None if len(self._slots) else NO_SLOT)

    def change_rules(self, rules: DispatchRules) -> None:
        """Replace the queues and the policy's bounds; a queue that is new starts nothing until its gate is read.

        Tasks of a queue that is gone go on under its old rules: without any they could start on every slot.
        """
        before = self._picture.queues
        self._picture.queues = dict(before) | {
            name: replace(queue, paused=before[name].paused if name in before else True)
            for name, queue in rules.queues.items()
        }
        self._judgement.change_bounds(rules.bounds)
        self._disk.reserve, self.devices.rules, self.guests.rules = rules.disk_reserve, rules.yields, rules.guests
        self._reconciler.read_gates_soon()

    def stop(self) -> None:
        """Take no more tasks; `run` returns once the running attempts have ended or were released.

        Holds are released at once: their programs go on, and the next server finds them again.
        """
        self._stopping.set()
        self.guests.close(STOPS)
        self._picture.release_lent()
        self._picture.wake.set()

    def release(self) -> None:
        """Stop the running attempts, and one that is just being leased; their tasks go back to the queue."""
        self._released = True
        self.guests.end_turns(STOPS)
        for attempt in self._picture.attempts.values():
            attempt.stop.set(StopReason.RELEASED)

    async def run(self) -> None:
        """Lead whenever this server can, until `stop`; then let the running attempts end and write their outcomes."""
        try:
            async with asyncio.TaskGroup() as beside:
                watch_slots = partial(self._slots.watch, self._note_change, self._monotonic)
                watch_disk = partial(self._disk.watch, self._note_disk)
                rounds = {"leases": self._keeper.run, "slots": watch_slots, "disk_watch": watch_disk}
                helpers = [beside.create_task(supervise(name, run, self._alarms)) for name, run in rounds.items()]
                async with self._tasks:
                    await self._lead_until_stopped()
                for helper in helpers:
                    helper.cancel()
        finally:
            await self._slots.close()

    def _note_disk(self) -> None:
        problem = self._disk.problem
        self._slots.note_trouble(None if problem is None else problem.what)
        self._picture.refresh()
        self._show()
        self._picture.wake.set()

    # --- leading -----------------------------------------------------------------------------------------------------

    async def _lead_until_stopped(self) -> None:
        while not self._is_finished():
            leading = asyncio.create_task(self._lead())
            stopping = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait({leading, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if self._is_finished() and not self._board.leading:
                    return
                await leading
            except (asyncpg.InsufficientResourcesError, DatabaseFullError) as error:
                lack = error if isinstance(error, DatabaseFullError) else describe_lack(error)
                self._alarms.ring("database", lack.what, hint=f"{lack.hint}; what ended here is written after")
                await asyncio.sleep(self._timings.retry_s)
            except (*CONNECTION_LOST, DatabaseUnavailableError) as error:
                log.warning("database_lost", error=str(error))
                await asyncio.sleep(self._timings.retry_s)
            except LeadLostError as error:
                log.warning("lead_lost", error=str(error))
            except asyncpg.UniqueViolationError as error:
                log.warning("slot_taken_elsewhere", error=str(error))
                await asyncio.sleep(self._timings.retry_s)
            except Exception:  # the loop's supervisor: a bug in one round must not end the server and lose the queue
                log.exception("round_failed")
                await asyncio.sleep(self._timings.retry_s)
            finally:
                leading.cancel()
                stopping.cancel()
                self._step_down()

    def _step_down(self) -> None:
        """Lead no more: what only a leader decides is forgotten, since the next one decides anew; outcomes stay."""
        self._epoch = None
        self._picture.forget_decisions()
        self.guests.end_turns(NOT_LEADING)
        self._board.set_leading(None)

    def _is_finished(self) -> bool:
        """Whether a stop was asked for and nothing is left to run or to write."""
        left = self._picture.attempts or self._inbox or self._picture.unwritten or self.guests.running
        return self._stopping.is_set() and not left

    async def _lead(self) -> None:
        async with hold_leadership(
            self._url,
            self._reconciler.note_lines,
            self._note_lost_connection,
            self._stand_by,
            self._timings.rhythm,
            self.guests.note_lead,
        ) as self._epoch:
            if self._epoch is None or self._is_finished():
                return
            self._deaf = False
            await self._reconciler.load()
            self._show()
            self._board.set_leading(self._epoch)
            self.guests.open()
            self._alarms.clear("database")
            log.info("dispatcher_leads", slots=len(self._slots), queued=len(self._picture.ready.backlog))
            while not self._is_finished():
                await self._round()
                if self._deaf:
                    raise DatabaseUnavailableError("the lead, or the connection that holds it, was lost")
                await self._sleep()

    async def _stand_by(self) -> bool:
        """While another leads, look after the attempts that still run here; return whether to go on waiting."""
        self._hours.keep()
        await self._reconciler.stop_cancelled()
        await self._collect()
        if self._begun or self._picture.unwritten:
            await self._commit([])
        return not self._is_finished()

    def _note_change(self, place: PlaceState) -> None:
        self._picture.update([place])
        self._show()
        self._picture.wake.set()

    def _note_lost_connection(self) -> None:
        self._deaf = True
        self._board.set_leading(None)
        self.guests.end_turns(NOT_LEADING)  # at once: another can lead before this round is over
        self._picture.wake.set()

    async def _sleep(self) -> None:
        """Wait for a wake-up, the next timer or the safety poll."""
        if self._is_finished():
            return
        due = min(
            self._reconciler.next_due,
            self._starts_due(),
            self._asks_due(),
            self.guests.next_due,
            self._monotonic() + self._hours.count_seconds_left(),
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, due - self._monotonic())):
                await self._picture.wake.wait()

    # --- one round ---------------------------------------------------------------------------------------------------

    async def _round(self) -> None:
        """Collect what happened, decide, commit, start."""
        self._picture.wake.clear()
        self._hours.keep()
        await self._reconciler.catch_up()
        await self._collect()
        if any(isinstance(change.event, AttemptLost) for change in self._picture.unwritten):
            await self._take_over(await self._commit([]), [])  # their tasks have the first choice of their slots
        assigned = [] if self._stopping.is_set() else await self._decide()
        if assigned or self._picture.unwritten or self._starts_due() <= self._monotonic():
            await self._take_over(await self._commit(assigned), assigned)
        self.guests.review()
        self._show()

    async def _commit(self, assigned: Sequence[Attempt]) -> dispatching.Round:
        """Write what is unwritten, and the leases of these attempts, in one transaction."""
        begun, written = len(self._begun), len(self._picture.unwritten)
        starts = (attempt.describe_start(now=self._monotonic()) for attempt in self._begun)
        changes = [*starts, *self._picture.unwritten, *(attempt.describe_lease() for attempt in assigned)]
        try:
            done = await dispatching.commit_round(self._pool, changes, self._lease, epoch=self._epoch)
        except BaseException:
            self._picture.vacate(assigned)  # whether the leases are stored is unknown; the state is loaded anew
            raise
        del self._begun[:begun]
        del self._picture.unwritten[:written]
        return done

    def _starts_due(self) -> float:
        """Return when the starts that are not written yet are written, if nothing else is before."""
        return self._begun[0].started_at + START_LAG_S if self._begun else math.inf

    def _asks_due(self) -> float:
        """Return when the last decision would be another one although nothing happens."""
        at, now = self._judgement.ask_again_at, datetime.now(UTC)
        return math.inf if at is None or at <= now else self._monotonic() + (at - now).total_seconds()

    async def _collect(self) -> None:
        """Turn ended attempts into changes, and free their slots."""
        while self._inbox:
            for attempt, ended in self._inbox[:AT_ONCE]:
                self._picture.remove(attempt)
                # Before its slots are free: then they can change their names.
                change = attempt.describe_end(ended, others=self._picture.has_untried_slots(attempt))
                self._free(attempt, ended)
                if change is not None:
                    self._picture.unwritten.append(change)
                else:  # in the database it can still own its task: look at once, not at the next poll
                    self._reconciler.poll_soon()
            del self._inbox[:AT_ONCE]
            await asyncio.sleep(0)

    def _free(self, attempt: Attempt, ended: Ended) -> None:
        self._board.forget(attempt.task.id)
        now = self._monotonic()
        if ended.failure is not None and ended.failure.scope in SLOT_RESTS:
            attempt.place.note_failure(attempt.task.engine, ended.failure.problem.what, now=now)
        elif ended.values is not None:
            attempt.place.note_use(attempt.task.engine, attempt.task.model)
            took_s, waited_s = now - attempt.started_at, attempt.place.take_waited(attempt.task.engine, attempt.id)
            self._judgement.learn(
                attempt.key,
                attempt.assignment,
                attempt.task.owner,
                took_s,
                at=now,
                now=datetime.now(UTC),
                starting_s=waited_s,
            )
        self._judgement.end(attempt.task.id, now)
        self._picture.vacate([attempt])

    async def _decide(self) -> list[Attempt]:
        """Choose what starts now, and hold its slots."""
        picture = self._picture
        assigned: list[Attempt] = []
        try:
            while returned := picture.place_returning(AT_ONCE, now=self._monotonic()):
                assigned += returned
                await asyncio.sleep(0)
            while picture.ready.backlog and picture.table.free:
                assignments = self._judgement.assign(
                    picture.ready.backlog,
                    picture.table,
                    picture.queues,
                    picture.table.free_lanes,
                    datetime.now(UTC),
                    most_starts=AT_ONCE,
                )
                now = self._monotonic()
                for assignment in assignments:  # one by one, so that those before one that raises are in the list
                    if is_guest(assignment.task):
                        self.guests.seat(assignment)
                    else:
                        assigned.append(picture.occupy(assignment, now=now))
                if len(assignments) < AT_ONCE:
                    break
                await asyncio.sleep(0)
        except BaseException:
            picture.vacate(assigned)  # nothing of them is stored: what is held for them would stay so
            raise
        return assigned

    async def _yield_before(self, attempts: Sequence[Attempt]) -> None:
        """Let others have the event loop before these attempts start; their slots are freed if that never comes."""
        try:
            await asyncio.sleep(0)
        except BaseException:
            self._picture.vacate(attempts)
            raise

    async def _take_over(self, done: dispatching.Round, assigned: Sequence[Attempt]) -> None:
        """Start the attempts whose leases were committed, and act on what else the commit changed."""
        for change, refusal in done.applied.refused:
            log.info("change_refused", task=change.task, reason=refusal.what)
        for number, attempt in enumerate(assigned, start=1):
            details = done.details.get(attempt.task.id)
            if details is None:  # it was cancelled or deleted before the lease was written
                self._judgement.end(attempt.task.id, self._monotonic())
                self._picture.vacate([attempt])
                self._picture.wake.set()
            else:
                self._start(attempt, details)
            if number % AT_ONCE == 0:
                await self._yield_before(assigned[number:])
        for life in done.applied.lives.values():
            if life.state in TERMINAL:
                self._picture.jobs.settle(life.id, None)
        for task, effect in done.applied.effects:
            if isinstance(effect, StopAttempt):
                self._picture.cancel(task)
        ready = [id for id, life in done.applied.lives.items() if life.can_start_in_time]
        if ready:
            await self._reconciler.read(ready)
            self._picture.wake.set()

    def _show(self) -> None:
        if self._picture.news:
            self._picture.news = False
            self._board.show_slots(self._slots.list_views)

    # --- attempts ----------------------------------------------------------------------------------------------------

    def _start(self, attempt: Attempt, details: dispatching.Details) -> None:
        attempt.batch = details.batch
        attempt.started_at = self._monotonic()
        processors = (place.find_processor(attempt.task.engine) for place in attempt.places)
        self._judgement.begin(attempt.task.id, processors, attempt.started_at)
        self._picture.add(attempt)
        self._picture.jobs.settle(attempt.task.id, attempt.place)
        self._begun.append(attempt)
        if self._released:
            attempt.stop.set(StopReason.RELEASED)
        self._tasks.create_task(self._run_attempt(attempt, details), name=f"attempt-{attempt.task.id}")

    async def _run_attempt(self, attempt: Attempt, details: dispatching.Details) -> None:
        ended = await self._runner.run(attempt, details)
        if ended.failure is not None:
            self._note_disk()
        if ended.values is not None:
            await self._memory.measure(attempt)
        elif ended.was_cut_off and len(attempt.place.holds) == 1:  # its slot is not free before the engine is
            await attempt.place.check(attempt.task.engine, now=self._monotonic())
            self._note_change(attempt.place)
        self._inbox.append((attempt, ended))
        self._picture.wake.set()
