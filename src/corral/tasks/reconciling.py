"""Keeps the dispatcher's picture in step with the database: what others submitted, cancelled, paused or left behind.

Notifications lead to lines of the story, and these to tasks. A slow poll makes up for missed ones. Whatever is read at
once is bounded (`PAGE`), so that no step holds the event loop for long, however much was submitted.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from uuid import UUID

import structlog

from corral.errors import Problem
from corral.scheduling.judgement import Judgement
from corral.scheduling.values import Gate
from corral.tasks.deadlines import DeadlineKeeper
from corral.tasks.lifecycle import AttemptLost, GivenUp, StartTimeReached
from corral.tasks.picture import Picture
from corral.tasks.ready_tasks import ReadyTasks
from corral.tasks.store import dispatching, story
from corral.tasks.store.controls import find_handed_over
from corral.tasks.store.pool import Pool
from corral.tasks.store.reading import list_cancelled
from corral.tasks.store.transitions import TaskChange
from corral.tasks.values import StoryEvent
from corral.work import SlotId

log = structlog.get_logger()

PAGE = 200
"""Lines or tasks read at once: some 2 ms of the event loop."""
_MOST_RANGES = 4
"""Ranges of tasks compared in one round; free slots do not wait for more."""
LOOK_FOR_MODELS_S = 60.0
"""Between two looks for tasks whose model is nowhere; they can wait for a day."""
_READ_ANEW = ("submitted", "priority_changed")
_WATCHED = (*_READ_ANEW, "cancel_requested", "gate_changed")
"""Changes that others make; the dispatcher's own are known to it when they commit."""


class Reconciler:
    """Called by the dispatcher's loop alone."""

    def __init__(
        self,
        pool: Pool,
        picture: Picture,
        judgement: Judgement,
        *,
        holder: UUID,
        poll_s: float,
        monotonic: Callable[[], float],
        deadlines: DeadlineKeeper,
    ) -> None:
        """`holder` names this data directory, whose old leases are dead; `poll_s` is the time between two polls."""
        self._pool = pool
        self._picture = picture
        self._judgement = judgement
        self._holder = holder
        self._poll_s = poll_s
        self._monotonic = monotonic
        self._deadlines = deadlines
        self._log_due = True
        self._gates_due = False
        self._cursor = 0
        self._poll_due = 0.0
        self._models_due = 0.0

    @property
    def next_due(self) -> float:
        """When there is something to read, if no notification comes before: seconds of the monotonic clock."""
        return min(self._poll_due, self._picture.ready.find_next_due() or self._poll_due)

    def note_lines(self, kinds: str) -> None:
        """Take the kinds of lines that were appended to the story."""
        if any(kind in _WATCHED for kind in kinds.split()):
            self._log_due = True
            self._picture.wake.set()

    def poll_soon(self) -> None:
        """Compare with the database in the next round."""
        self._poll_due = self._monotonic()
        self._picture.wake.set()

    def read_gates_soon(self) -> None:
        """Read the gates in the next round: queues are new."""
        self._gates_due = True
        self._picture.wake.set()

    async def load(self) -> None:
        """Read everything anew, and free what dead attempts of this data directory held."""
        self._cursor = await story.read_horizon(self._pool)
        self._log_due = True
        self._picture.ready = ReadyTasks()
        self._judgement.recall(await dispatching.read_durations(self._pool))
        self._picture.memory = await dispatching.read_memory(self._pool)
        await self._read_gates()
        await self._rescue()
        await self._recall_jobs()
        await self.stop_cancelled()
        newest = 0
        while page := await dispatching.read_ready_tasks_after(self._pool, newest, PAGE):
            self._sort_in(page)
            newest = page[-1].task.id
        self._poll_due = self._monotonic() + self._poll_s
        self._deadlines.look_soon()

    async def catch_up(self) -> None:
        """Read what others changed, whose start time has come, and, now and then, whether anything was missed."""
        if self._gates_due:
            await self._read_gates()
        if self._log_due:
            await self._read_log()
        await self._deadlines.keep()
        await self._poll()
        await self.read(self._picture.ready.pop_due(now=self._monotonic()))

    async def read(self, tasks: Sequence[int]) -> None:
        """Read tasks that can have become ready, and sort them in."""
        for start in range(0, len(tasks), PAGE):
            self._sort_in(await dispatching.read_ready_tasks(self._pool, tasks[start : start + PAGE]))

    async def stop_cancelled(self) -> None:
        """Stop attempts whose cancel request was missed: no dispatcher led, or another did."""
        running = self._picture.running_tasks
        if running:
            for task in await list_cancelled(self._pool, running):
                self._picture.cancel(task)

    async def _read_log(self) -> None:
        """Read one page of the story; free slots do not wait for the next one."""
        self._log_due = False
        end = await story.read_horizon(self._pool)
        events = await story.read(self._pool, after=self._cursor, up_to=end, kinds=_WATCHED, limit=PAGE)
        if len(events) == PAGE:
            self._log_due = True
            self._picture.wake.set()
            self._cursor = events[-1].id
        else:  # pass the lines that are not watched, too, or each look would go through all of them again
            self._cursor = max(end, self._cursor)
        if events:
            await self._take_events(events)

    async def _take_events(self, events: Sequence[StoryEvent]) -> None:
        for event in events:
            if event.kind == "cancel_requested" and event.task is not None:
                self._picture.ready.drop(event.task)
                if not self._picture.runs(event.task):
                    self._picture.jobs.settle(event.task, None)
                self._picture.cancel(event.task)
        if any(event.kind == "gate_changed" for event in events):
            await self._read_gates()
        await self.read([event.task for event in events if event.kind in _READ_ANEW and event.task is not None])

    def _sort_in(self, tasks: Iterable[dispatching.Ready]) -> None:
        waiting = [ready for ready in tasks if not self._picture.runs(ready.task.id)]
        if {ready.task.deadline for ready in waiting} - {None, *self._judgement.deadlines}:
            self._deadlines.look_soon()
        for task in self._picture.ready.sort_in(waiting, now=self._monotonic()):
            self._picture.unwritten.append(TaskChange(task=task, event=StartTimeReached()))
            self._picture.wake.set()

    async def _read_gates(self) -> None:
        self._gates_due = False
        gates = await dispatching.read_gates(self._pool)
        self._picture.slots.note_gates({SlotId(name): gate for (kind, name), gate in gates.items() if kind == "slot"})
        self._picture.handed_over = await find_handed_over(self._pool)
        self._picture.refresh()
        for name, queue in self._picture.queues.items():
            paused = gates.get(("queue", name)) is Gate.PAUSED
            self._picture.queues[name] = replace(queue, paused=paused)

    async def _poll(self) -> None:
        """Compare the picture in memory with the database now and then."""
        if self._monotonic() < self._poll_due:
            return
        self._poll_due = self._monotonic() + self._poll_s * random.uniform(0.8, 1.2)
        self._log_due = True
        self._picture.wake.set()
        await self._rescue()
        await self.stop_cancelled()
        self._give_up_without_model()
        known, due = self._picture.ready.ranges, await dispatching.count_due(self._pool)
        different = [number for number in known.keys() | due.keys() if known.get(number) != due.get(number)]
        for number in different[:_MOST_RANGES]:
            await self._compare(number)
        if len(different) > _MOST_RANGES:
            self.poll_soon()

    def _give_up_without_model(self) -> None:
        """End tasks that have waited for their model as long as they can, some at a time."""
        now, picture = self._monotonic(), self._picture
        if now < self._models_due:
            return
        self._models_due = now + LOOK_FOR_MODELS_S
        given_up = self._judgement.find_given_up(picture.ready.backlog, picture.table, picture.queues, now=now)
        tasks = list(islice(given_up, PAGE))
        for task in tasks:
            wait = self._judgement.describe_model_wait()
            problem = Problem(
                code="task.model_missing",
                what=f"no server that the task can be sent to has had the model {task.model} for {wait}",
                hint=f"bring it to one (`corral models list --on all`), then run `corral tasks retry {task.id}`",
            )
            picture.ready.drop(task.id)
            picture.unwritten.append(TaskChange(task=task.id, event=GivenUp(), error=problem))
        if len(tasks) == PAGE:
            self._models_due = now

    async def _compare(self, number: int) -> None:
        """Compare one range of the backlog with the database, task by task."""
        due = await dispatching.list_due(self._pool, number)
        ready = self._picture.ready
        known = ready.list_backlog(number)
        for task in known - due:
            ready.drop(task)
        # Those with a timer, too: when the machine slept, or the database's clock jumped, they are due before it ends.
        await self.read([task for task in due - known if not self._picture.runs(task)])

    async def _recall_jobs(self) -> None:
        """Read which jobs of earlier attempts can still run, and end those whose task does without them."""
        for job in await dispatching.list_lost_jobs(self._pool):
            self._picture.jobs.note(job.task, job.attempt, job.slot)
            if not job.is_wanted:
                self._picture.jobs.settle(job.task, None)

    async def _rescue(self) -> None:
        """Requeue tasks whose attempt does not run: this data directory's at once, others' when they expire."""
        reported = {change.task for change in self._picture.unwritten}
        elsewhere: dict[SlotId, str] = {}
        for held in await dispatching.list_held(self._pool):
            if held.lease in self._picture.attempts or held.task in reported:
                continue
            is_ours = held.holder == self._holder
            if not is_ours and not held.expired:
                elsewhere.update(
                    dict.fromkeys((*held.takes, *held.slots), f"task {held.task} holds it for another server")
                )
                continue
            why = "the server that ran it has stopped" if is_ours else "its lease ran out"
            problem = Problem(code="attempt.lost", what=f"attempt {held.lease} was lost: {why}")
            self._picture.unwritten.append(TaskChange(task=held.task, event=AttemptLost(held.lease), error=problem))
            self._picture.jobs.note(held.task, held.lease, held.slots[0])
            log.warning("attempt_lost", task=held.task, attempt=str(held.lease), reason=why)
        self._picture.slots.note_elsewhere(elsewhere)
        self._picture.refresh()
