"""Guests: interactive requests take slots by the policy of tasks, and nothing of them is stored.

A guest waits in the backlog as an interactive task of its owner, one for each of its choices, under a negative number,
and holds its place while its turn lasts. Where the policy could not decide otherwise it has its turn at once
(`corral.scheduling.fast_path`). It lives as long as its connection: the context that the door opens ends the wait, the
turn and the hold. Only a server that leads serves guests, since no other knows of them; all end when it does not lead.

The dispatcher's loop gives turns (`seat`) and looks after those that wait (`review`); doors call the rest.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import NoReturn

import structlog

from corral.errors import Problem
from corral.scheduling.explaining import NO_START
from corral.scheduling.fast_path import find_open_places
from corral.scheduling.judgement import Judgement
from corral.scheduling.values import Assignment, DurationKey, Explanation, Place, QueuedTask
from corral.slots.guests import (
    Choice,
    GuestAsk,
    GuestEndedError,
    GuestLateError,
    GuestRefusedError,
    GuestView,
    GuestWait,
)
from corral.slots.place import PlaceState
from corral.slots.values import Hold
from corral.tasks.attempt_run import StopReason
from corral.tasks.dispatch_rules import GuestRules
from corral.tasks.energy import EnergyBook
from corral.tasks.guest_counts import GuestCounts
from corral.tasks.guest_turns import Reason, Turn, TurnContext, find_turn
from corral.tasks.picture import Picture
from corral.tasks.preempting import choose_interrupted, list_batch
from corral.tasks.prompts import RecentPrompts
from corral.tasks.turn_lengths import TurnLengths
from corral.units import Bytes, format_duration
from corral.work import FailureScope, SlotId, TaskClass

log = structlog.get_logger()

QUEUE = "guests"
"""The queue whose rules guests follow (its pool, hours, limit per owner), where the cluster file has one by that name;
without it they can have every slot."""
REVIEW_PART = 0.05
"""The part of the event loop's time that reviews of the waits can take."""
SHOW_LAG_S = 0.1
"""So much later guests that came and went are shown, together."""
REVIEW_EVERY_S = 1.0
"""How often waits are estimated anew although nothing happens."""
_READ_LOG = "`corral doctor` shows what is wrong"
_GONE = Reason("the guest went away", "")
STOPS = Reason("this server stops", "ask again once it runs, or ask another server")
NOT_LEADING = Reason(
    "this server does not lead, so it gives no turns",
    "ask the server that leads, or try again in some seconds: another takes the lead when that one stops",
)


@dataclass(slots=True, eq=False)
class _Guest:
    """A guest that waits."""

    ask: GuestAsk
    note: Callable[[GuestWait], None]
    asked_at: datetime
    asked_s: float
    """On the monotonic clock."""
    within_s: float
    choices: dict[int, tuple[QueuedTask, Choice]]
    """By number in the backlog."""
    turn: asyncio.Future[Turn]
    wait: GuestWait | None = None
    has_preempted: bool = False


class Guests:
    """Gives guests their turns; the dispatcher owns it."""

    def __init__(
        self,
        picture: Picture,
        judgement: Judgement,
        rules: GuestRules,
        make_room: Callable[[Assignment, PlaceState, Hold, Bytes | None], Awaitable[Problem | None]],
        show: Callable[[], None],
        monotonic: Callable[[], float],
        silent_s: float,
        energy: EnergyBook,
    ) -> None:
        """`silent_s` is how long after the last sign of its lead this server must take another to lead.

        `show` is called a little after guests came or went; `make_room` gives up what an assignment evicts, and returns
        why there is no room nevertheless.
        """
        self.rules = rules
        self.explain_start: Callable[[str, str | None], str | None] = lambda _engine, _model: None
        """Why work for an engine and a model waits for the start of a service; None where none is started for it."""
        self.counts = GuestCounts()
        self._picture = picture
        self._judgement = judgement
        self._make_room = make_room
        self._monotonic = monotonic
        self._closed: Reason | None = NOT_LEADING
        self._silent_s = silent_s
        self._energy = energy
        self._led_at = -math.inf
        self._numbers = count(1)
        self._waiting: dict[int, _Guest] = {}
        """By the number of each choice."""
        self._lengths = TurnLengths()
        self._prompts = RecentPrompts()
        self._review_due = 0.0
        self._show = show
        self._is_show_due = False

    # --- for doors ---------------------------------------------------------------------------------------------------

    def take_turn(self, ask: GuestAsk, note: Callable[[GuestWait], None] = lambda _: None) -> TurnContext:
        """Return a context that waits for a turn, and holds its slot while it lasts.

        To enter it raises GuestEndedError, GuestLateError and GuestRefusedError.
        """
        return TurnContext(partial(self._enter, ask, note), self._leave)

    async def _enter(self, ask: GuestAsk, note: Callable[[GuestWait], None]) -> Turn:
        """Wait for a turn. Raises: GuestEndedError, GuestLateError, GuestRefusedError."""
        if self._closed is not None:
            self._refuse(*self._closed)
        if self._monotonic() - self._led_at > self._silent_s:  # this process stood still, and another leads by now
            self._refuse(*NOT_LEADING)
        turn = self._start_at_once(ask) or await self._wait(ask, note)
        try:
            turn.begin_work()
            await self._prepare(turn)
        except BaseException as error:
            try:
                turn.end_work(type(error))
            finally:
                self._leave(turn)
            raise
        turn.is_prepared = True
        return turn

    def list_guests(self) -> tuple[GuestView, ...]:
        """List the guests that wait and those that have their turn, the oldest first."""
        waiting = [
            GuestView(owner=guest.ask.owner, label=guest.ask.label, asked_at=guest.asked_at, wait=guest.wait)
            for guest in dict.fromkeys(self._waiting.values())
        ]
        turns = [
            GuestView(
                owner=turn.ask.owner,
                label=turn.ask.label,
                asked_at=turn.asked_at,
                slot=turn.slot,
                started_at=turn.hold.since,
            )
            for turn in self._picture.turns.values()
        ]
        return tuple(sorted((*turns, *waiting), key=lambda guest: guest.asked_at))

    # --- for the dispatcher ------------------------------------------------------------------------------------------

    @property
    def running(self) -> int:
        """How many guests have their turn."""
        return len(self._picture.turns)

    @property
    def next_due(self) -> float:
        """When the waits are estimated anew: seconds of the monotonic clock."""
        return self._review_due if self._waiting else math.inf

    def open(self) -> None:
        """Serve guests: this server leads. One that stops serves none."""
        if self._closed is not STOPS:
            self._closed = None

    def note_lead(self) -> None:
        """Note that this server was seen to lead just now."""
        self._led_at = self._monotonic()

    def close(self, reason: Reason) -> None:
        """Serve no guests any more, and end those that wait."""
        self._closed = self._closed if self._closed is STOPS else reason
        for guest in dict.fromkeys(self._waiting.values()):
            self._withdraw(guest)
            if not guest.turn.done():
                guest.turn.set_exception(GuestEndedError(reason.what, hint=reason.hint))

    def end_turns(self, reason: Reason) -> None:
        """Take the turns from all guests that have one, and serve no others."""
        self.close(reason)
        for turn in self._picture.turns.values():
            turn.end(reason)

    def seat(self, assignment: Assignment) -> None:
        """Give a guest its turn as the policy assigned it."""
        guest = self._waiting[assignment.task]
        task, choice = guest.choices[assignment.task]
        self._withdraw(guest)
        try:
            turn = self._begin(guest.ask, guest.asked_at, task, choice, assignment)
        except BaseException:
            if not guest.turn.done():
                guest.turn.set_exception(GuestEndedError("this server failed to give the turn", hint=_READ_LOG))
            raise
        if guest.turn.done():  # it goes away just now
            turn.ended = _GONE
            self._leave(turn)
            return
        self.counts.note_wait(task.engine, self._monotonic() - guest.asked_s)
        guest.turn.set_result(turn)

    def review(self) -> None:
        """Estimate the waits anew when that is due: show them, and refuse the guests for which they are too long."""
        now_s = self._monotonic()
        if not self._waiting or now_s < self._review_due:
            return
        picture = self._picture
        explained = self._judgement.explain_several(
            self._waiting.keys(), picture.ready.backlog, picture.table, picture.queues, datetime.now(UTC)
        )
        for guest in dict.fromkeys(self._waiting.values()):
            self._look_at(guest, [explained[number] for number in guest.choices if number in explained])
        took_s = self._monotonic() - now_s
        self._review_due = now_s + max(took_s / REVIEW_PART, REVIEW_EVERY_S)

    # --- one guest ---------------------------------------------------------------------------------------------------

    def _start_at_once(self, ask: GuestAsk) -> Turn | None:
        """Start a guest without a decision where nothing that waits could go first."""
        picture, now = self._picture, datetime.now(UTC)
        if picture.ready.returning or QUEUE in picture.queues:
            return None
        if not self._judgement.can_start_guest(picture.ready.backlog, now):
            return None
        for task, choice in self._list_choices(ask, now):
            places = find_open_places(task, picture.table)
            if places:
                place = self._choose(places, task, ask.prefix)
                assignment = self._judgement.start_guest(task, place, "model resident", now)
                self.counts.note_wait(task.engine, 0.0)
                return self._begin(ask, now, task, choice, assignment)
        return None

    def _choose(self, places: list[Place], task: QueuedTask, prefix: str) -> Place:
        """Choose the place whose server read the most of the prompt lately, then the fastest for the model."""
        if len(places) == 1:
            return places[0]
        known = self._judgement.history.expected

        def rate(place: Place) -> tuple[int, float, SlotId]:
            key = DurationKey(task.engine, task.model, place.device_model)
            return -self._prompts.count_common(place.id, prefix), known.get(key, math.inf), place.id

        return min(places, key=rate)

    async def _wait(self, ask: GuestAsk, note: Callable[[GuestWait], None]) -> Turn:
        """Wait for a turn that the policy gives."""
        now, loop = datetime.now(UTC), asyncio.get_running_loop()
        guest = _Guest(
            ask=ask,
            note=note,
            asked_at=now,
            asked_s=self._monotonic(),
            within_s=self.rules.wait_s if ask.within_s is None else ask.within_s,
            choices={task.id: (task, choice) for task, choice in self._list_choices(ask, now)},
            turn=loop.create_future(),
        )
        for number, (task, _) in guest.choices.items():
            self._waiting[number] = guest
            self._picture.ready.add_guest(task)
        self._show_soon()
        self._review_due = min(self._review_due, self._monotonic() + self._find_haste())
        self._picture.wake.set()
        try:
            async with asyncio.timeout(guest.within_s):
                return await guest.turn
        except TimeoutError:
            if (turn := find_turn(guest.turn)) is not None:  # it got it just in time
                return turn
            self.counts.note_refusal(GuestLateError.code)
            raise self._make_late(guest, f"it waited {format_duration(guest.within_s)}") from None
        except BaseException:
            if (turn := find_turn(guest.turn)) is not None:  # it went away just as it got its turn
                self._leave(turn)
            raise
        finally:
            self._withdraw(guest)

    async def _prepare(self, turn: Turn) -> None:
        """Make room for the guest's model, where it is not in memory. Raises: GuestRefusedError."""
        model, place = turn.task.model, turn.place
        if model is None or any(held.model == model for held in place.resident(turn.task.engine)):
            await place.lanes.wait_until_emptied(turn.hold)
            return
        lack = await self._make_room(turn.assignment, place, turn.hold, turn.task.memory)
        if lack is not None:
            turn.fail(lack.what, FailureScope.WAIT)
            self._refuse(lack.what, lack.hint)
        place.count_load(turn.task.engine, model)

    def _list_choices(self, ask: GuestAsk, now: datetime) -> Iterable[tuple[QueuedTask, Choice]]:
        """Return what the guest asks for in the words of the policy, in its order of preference."""
        numbers = [next(self._numbers) for _ in ask.choices]
        choice_of = numbers[0] if len(numbers) > 1 else None
        return [
            (self._make_task(ask, choice, -number, choice_of, now), choice)
            for choice, number in zip(ask.choices, reversed(numbers), strict=True)  # of one age, the lowest goes first
        ]

    def _make_task(
        self, ask: GuestAsk, choice: Choice, number: int, choice_of: int | None, now: datetime
    ) -> QueuedTask:
        return QueuedTask(
            id=number,
            owner=ask.owner,
            queue=QUEUE,
            engine=choice.engine,
            model=choice.model,
            task_class=TaskClass.INTERACTIVE,
            memory=self._picture.find_memory(choice.engine, choice.model),
            lasts_s=self._lengths.expect(choice),
            refused_slots=ask.avoid if ask.only is None else ask.avoid | self._list_others(choice.engine, ask.only),
            queued_at=now,
            choice_of=choice_of,
        )

    def _list_others(self, engine: str, only: frozenset[SlotId]) -> frozenset[SlotId]:
        """The slots of an engine that are not among those that will do."""
        return frozenset(place.name_for(engine) for place in self._picture.table if not place.is_among(only, engine))

    def _begin(
        self, ask: GuestAsk, asked_at: datetime, task: QueuedTask, choice: Choice, assignment: Assignment
    ) -> Turn:
        """Hold the place of the turn."""
        picture, now_s = self._picture, self._monotonic()
        place = picture.slots[assignment.places[0]]
        turn = Turn(
            ask=ask,
            asked_at=asked_at,
            choice=choice,
            task=task,
            assignment=assignment,
            place=place,
            hold=picture.seat(task, assignment, f"guest ({ask.label})" if ask.label else "guest"),
            slot=place.name_for(task.engine),
            engine=place.engine(task.engine),
            started_s=now_s,
            metered=self._energy.begin([place]),
        )
        self._picture.turns[task.id] = turn
        self._judgement.begin(task.id, [place.find_processor(task.engine)], now_s)
        self._prompts.note(place.id, ask.prefix)
        self._show_soon()
        return turn

    def _leave(self, turn: Turn) -> None:
        """End a turn: charge it, and free its place."""
        del self._picture.turns[turn.task.id]
        self._energy.end(turn.metered, turn.tell_energy)
        now_s, task, place = self._monotonic(), turn.task, turn.place
        took_s = now_s - turn.started_s
        key = DurationKey(task.engine, task.model, place.device.model)
        self._judgement.settle(key, turn.assignment, task.owner, took_s, at=now_s, now=datetime.now(UTC))
        self._judgement.end(task.id, now_s)
        has_changed = turn.failure is not None
        if turn.failure is not None:
            place.note_failure(task.engine, turn.failure, now=now_s)
        elif turn.ended is None and turn.is_prepared:
            has_changed = place.note_use(task.engine, task.model)
            self._lengths.note(turn.choice, took_s)
        self._picture.vacate_guest(place, turn.hold, has_changed=has_changed)
        if self._closed is STOPS:  # the dispatcher ends with the last of them
            self._picture.wake.set()
        self._show_soon()

    def _withdraw(self, guest: _Guest) -> None:
        """Take a guest out of those that wait."""
        for number in guest.choices:
            if self._waiting.pop(number, None) is not None:
                self._picture.ready.drop(number)
        self._show_soon()

    def _show_soon(self) -> None:
        """Show many changes together: each look is at all slots."""
        if not self._is_show_due:
            self._is_show_due = True
            asyncio.get_running_loop().call_later(SHOW_LAG_S, self._show_now)

    def _show_now(self) -> None:
        self._is_show_due, self._picture.news = False, True
        self._show()

    # --- waits -------------------------------------------------------------------------------------------------------

    def _find_haste(self) -> float:
        """Return the seconds until a guest that comes now is looked at: at once, unless many others wait."""
        return 0.0 if len(self._waiting) < 8 else REVIEW_EVERY_S / 4

    def _look_at(self, guest: _Guest, explanations: list[Explanation]) -> None:
        """Show a guest its wait, or refuse it where that is too long."""
        if guest.turn.done() or not explanations:
            return
        now, waited_s = datetime.now(UTC), self._monotonic() - guest.asked_s
        able = [explanation for explanation in explanations if explanation.rule not in NO_START]
        if not able:
            starts = [self.explain_start(task.engine, task.model) for task, _ in guest.choices.values()]
            if because := next(filter(None, starts), None):
                self._note_wait(guest, GuestWait(ahead=None, expected_s=None, because=because))
            elif not any(self._is_unchecked(task.engine) for task, _ in guest.choices.values()):
                self._refuse_waiting(guest, explanations[0].summary)
            return
        best = min(able, key=lambda explanation: (explanation.may_start_at is None, explanation.may_start_at or now))
        expected_s = None if best.may_start_at is None else max(0.0, (best.may_start_at - now).total_seconds())
        self._note_wait(guest, GuestWait(ahead=best.ahead, expected_s=expected_s, because=best.summary))
        if self._must_preempt(guest, waited_s, expected_s):
            self._preempt(guest, now)
        left_s = None if guest.has_preempted else expected_s
        if left_s is not None and waited_s + left_s > guest.within_s and self._is_measured(guest):
            self.counts.note_refusal(GuestLateError.code)
            self._end_wait(guest, self._make_late(guest, f"it would wait {format_duration(left_s)} more"))

    def _is_measured(self, guest: _Guest) -> bool:
        """Whether it is known how long the tasks take that a guest waits for: a guess refuses no guest."""
        table, queue = self._picture.table, self._picture.queues.get(QUEUE)
        eligible = (table.eligible(queue and queue.pool, task.engine, task.model) for task, _ in guest.choices.values())
        return all(self._judgement.has_measured(place) for some in eligible for place in some.members.values())

    def _note_wait(self, guest: _Guest, wait: GuestWait) -> None:
        if guest.wait is None or wait.differs_from(guest.wait, by_s=REVIEW_EVERY_S):
            guest.wait = wait
            guest.note(wait)

    def _must_preempt(self, guest: _Guest, waited_s: float, expected_s: float | None) -> bool:
        """Whether a guest would wait for so long that a batch task is interrupted for it; it is once."""
        after_s = self.rules.preempt_after_s
        return after_s is not None and not guest.has_preempted and waited_s + (expected_s or 0.0) > after_s

    def _preempt(self, guest: _Guest, now: datetime) -> None:
        """Interrupt what has a slot that the guest could have, if that is a batch task."""
        picture = self._picture
        going = {
            attempt.task.id: attempt
            for attempt in picture.attempts.values()
            if attempt.stop.reason is None and not attempt.goes_on_elsewhere
        }
        batch = list_batch(attempt.task for attempt in going.values())
        choices = [task for task, _ in guest.choices.values()]
        interrupted = choose_interrupted(choices, picture.table, picture.queues.get(QUEUE), batch, now)
        for task in interrupted:
            log.info("task_preempted", task=task, guest_of=guest.ask.owner)
            going[task].stop.set(StopReason.PREEMPTED)
        guest.has_preempted = bool(interrupted)
        self.counts.note_preempted(len(interrupted))

    def _is_unchecked(self, engine: str) -> bool:
        return any(place.is_unchecked(engine) for place in self._picture.slots)

    def _refuse_waiting(self, guest: _Guest, what: str) -> None:
        self.counts.note_refusal(GuestRefusedError.code)
        hint = "`corral slots list` shows the slots and their state"
        self._end_wait(guest, GuestRefusedError(what, where=guest.ask.label, hint=hint))

    def _end_wait(self, guest: _Guest, error: GuestLateError | GuestRefusedError) -> None:
        self._withdraw(guest)
        guest.turn.set_exception(error)

    def _make_late(self, guest: _Guest, how_long: str) -> GuestLateError:
        wait = guest.wait
        expected_s = None if wait is None else wait.expected_s
        because = f": {wait.because}" if wait is not None else ""
        turn_s = min(self._lengths.expect(choice) for _, choice in guest.choices.values())
        return GuestLateError(
            f"{how_long}, and {format_duration(guest.within_s)} is the longest that it can{because}",
            where=guest.ask.label,
            hint="try again later; `scheduling.guestWait` of the cluster file says how long guests can wait",
            retry_after_s=max(1.0, turn_s if expected_s is None else expected_s),
        )

    def _refuse(self, what: str, hint: str | None) -> NoReturn:
        self.counts.note_refusal(GuestRefusedError.code)
        raise GuestRefusedError(what, hint=hint)
