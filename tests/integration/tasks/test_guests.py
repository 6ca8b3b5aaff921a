"""Guests have their turns on the slots of tasks, by the same policy, and leave nothing in the database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from builders import a_submission, a_task
from corral.hours import DAY_MINUTES, DAYS, Hours, make_hours
from corral.scheduling.values import DurationKey, Explanation
from corral.slots.guests import Choice, GuestAsk, GuestEndedError, GuestLateError, GuestRefusedError, GuestWait
from corral.slots.values import HoldKind, Wanted
from corral.tasks.dispatch_rules import DispatchRules, GuestRules, Timings
from corral.tasks.dispatcher import Dispatcher
from corral.tasks.leadership import Rhythm
from corral.tasks.lifecycle import TaskState
from corral.tasks.store.dispatching import note_memory
from corral.tasks.store.leading import LOCK
from corral.tasks.store.submitting import submit
from corral.units import Bytes
from corral.work import FailureScope, Produced, Reporter, Resident, SlotId, Work
from doubles.engines import ScriptedEngine
from doubles.yard import make_gpu_slots, make_slots

if TYPE_CHECKING:
    from conftest import Yard

SLOT = SlotId("node/cpu0/sleep")


def ask(model: str | None = None, *, owner: str = "ada", **changes) -> GuestAsk:
    return GuestAsk(**{"owner": owner, "choices": (Choice("sleep", model),), "label": "chat", **changes})


async def lead(yard: Yard, dispatcher: Dispatcher, engines: int = 1) -> None:
    """Wait until the dispatcher leads, and all engines were checked."""
    await yard.shown(lambda places: sum(bool(place.engines) for place in places) == engines)
    async with asyncio.timeout(30):
        while not yard.board.leading:
            await yard.board.wait_for_change()
    assert dispatcher.guests.list_guests() == ()


async def count_rows(yard: Yard) -> tuple[int, ...]:
    tables = "tasks", "events", "slot_leases"
    return tuple([await yard.pool.fetchval(f"select count(*) from {table}") for table in tables])


@dataclass
class Stay:
    """A guest that takes its turn and keeps it until it is told to go."""

    dispatcher: Dispatcher
    ask: GuestAsk
    got: list[str] = field(default_factory=list)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.task = asyncio.create_task(self._stay())

    async def _stay(self) -> None:
        async with self.dispatcher.guests.take_turn(self.ask) as turn:
            self.got.append(f"{self.ask.owner} {turn.choice.engine}")
            await self.done.wait()

    async def leave(self) -> None:
        self.done.set()
        await self.task


async def until(yard: Yard, holds: Callable[[], object]) -> None:
    """Wait, on changes of the board, until it is so; fail after half a minute."""
    async with asyncio.timeout(30):
        while not holds():
            await yard.board.wait_for_change()


async def explained(dispatcher: Dispatcher, id: int) -> Explanation:
    async with asyncio.timeout(30):
        while (explanation := dispatcher.explain(id)) is None:  # noqa: ASYNC110 (another task's work)
            await asyncio.sleep(0.01)
        return explanation


async def test_guest_holds_its_slot_while_its_context_lasts_and_nothing_is_stored(yard: Yard) -> None:
    engine = ScriptedEngine()
    dispatcher = yard.start(engine)
    await lead(yard, dispatcher)
    before = await count_rows(yard)
    async with dispatcher.guests.take_turn(ask()) as turn:
        assert (turn.slot, turn.choice, turn.engine) == (SLOT, Choice("sleep"), engine)
        ((place,), (guest,)) = yard.board.places, dispatcher.guests.list_guests()
        (held,) = place.holds
        assert (held.kind, held.owner, held.label) == (HoldKind.GUEST, "ada", "guest (chat)")
        assert (guest.owner, guest.label, guest.slot, guest.wait) == ("ada", "chat", SLOT, None)
        (id,) = (await submit(yard.pool, a_submission(), queued_limits={})).tasks
        await yard.until(lambda task: task.state is TaskState.QUEUED, id)
        explanation = await explained(dispatcher, id)
        assert "runs a guest of ada" in explanation.slots[SLOT]
    await yard.ended(id)
    assert dispatcher.guests.list_guests() == ()
    tasks, _, leases = await count_rows(yard)
    assert (tasks, leases) == (before[0] + 1, 0)


async def test_guest_whose_model_is_in_memory_starts_in_the_same_step(yard: Yard) -> None:
    engine = ScriptedEngine()
    engine.held = (Resident(model="m"),)
    dispatcher = yard.start(engine)
    await lead(yard, dispatcher)
    steps = 0

    async def count_steps() -> None:
        nonlocal steps
        while True:
            steps += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_steps())
    await asyncio.sleep(0)
    before = steps
    async with dispatcher.guests.take_turn(ask("m")) as turn:
        assert steps == before, "a decision of the dispatcher takes several steps of the event loop"
        assert turn.because == "model resident"
    counting.cancel()


async def test_guest_goes_before_a_night_of_tasks(yard: Yard) -> None:
    proceed = asyncio.Event()

    async def work(work: Work, report: Reporter) -> Produced:
        await proceed.wait()
        return Produced()

    engine = ScriptedEngine(work)
    dispatcher = yard.start(engine)
    await lead(yard, dispatcher)
    ids = (await submit(yard.pool, a_submission(*map(a_task, "abcd")), queued_limits={})).tasks
    await asyncio.wait_for(engine.started.wait(), 30)
    staying = Stay(dispatcher, ask())
    await until(yard, dispatcher.guests.list_guests)
    proceed.set()
    await until(yard, lambda: any(guest.slot for guest in dispatcher.guests.list_guests()))
    assert len(engine.runs) == 1, "the slot went to the guest, not to the next task"
    await staying.leave()
    tasks = await yard.ended(*ids)
    assert {task.state for task in tasks} == {TaskState.SUCCEEDED}


async def test_guest_that_goes_away_while_it_waits_leaves_nothing(yard: Yard) -> None:
    dispatcher = yard.start(ScriptedEngine())
    await lead(yard, dispatcher)
    staying = Stay(dispatcher, ask())
    await until(yard, lambda: dispatcher.guests.running == 1)
    waiting = Stay(dispatcher, ask(owner="bob"))
    await until(yard, lambda: len(dispatcher.guests.list_guests()) == 2)
    waiting.task.cancel()
    await asyncio.wait({waiting.task})
    assert [guest.owner for guest in dispatcher.guests.list_guests()] == ["ada"]
    await staying.leave()
    (id,) = (await submit(yard.pool, a_submission(), queued_limits={})).tasks
    await yard.ended(id)


async def test_guest_with_two_choices_has_one_turn_alone(yard: Yard) -> None:
    dispatcher = yard.start(ScriptedEngine(name="one"), ScriptedEngine(name="two"))
    await lead(yard, dispatcher, engines=2)
    choices = Choice("one", "m"), Choice("two", "m")
    got: list[str] = []
    stays = [Stay(dispatcher, ask(owner=owner, choices=choices), got) for owner in ("ada", "bob")]
    await until(yard, lambda: len(got) == 2)
    assert got == ["ada one", "bob two"]
    assert dispatcher.guests.running == 2
    for staying in stays:
        await staying.leave()


async def test_guests_of_one_owner_share_with_those_of_others(yard: Yard) -> None:
    dispatcher = yard.start(ScriptedEngine())
    await lead(yard, dispatcher)
    got: list[str] = []
    stays = [Stay(dispatcher, ask(), got)]
    await until(yard, lambda: got)
    stays += [Stay(dispatcher, ask(), got) for _ in range(3)]
    await until(yard, lambda: len(dispatcher.guests.list_guests()) == 4)
    stays.append(Stay(dispatcher, ask(owner="bob"), got))
    await until(yard, lambda: len(dispatcher.guests.list_guests()) == 5)
    await asyncio.gather(*(staying.leave() for staying in stays))
    assert got[1] == "bob sleep", "who had a turn goes behind who had none"


async def test_guest_that_would_wait_too_long_is_refused_at_once(yard: Yard) -> None:
    dispatcher = yard.start(ScriptedEngine())
    await lead(yard, dispatcher)
    staying = Stay(dispatcher, ask())
    await until(yard, lambda: dispatcher.guests.running == 1)
    waits: list[GuestWait] = []
    with pytest.raises(GuestLateError, match=r"would wait (10|9).*: the one slot that could run it is busy") as late:
        async with dispatcher.guests.take_turn(ask(owner="bob", within_s=8), waits.append):
            pytest.fail("it had a turn")
    assert 8 < late.value.retry_after_s <= 10
    ((ahead, because),) = ((wait.ahead, wait.because) for wait in waits)
    assert (ahead, because[:12]) == (0, "the one slot")
    await staying.leave()


async def test_guest_is_refused_when_its_time_is_over(yard: Yard) -> None:
    dispatcher = yard.start(ScriptedEngine())
    await lead(yard, dispatcher)
    async with dispatcher.guests.take_turn(ask()):
        pass  # from now on turns are expected to take no time at all
    staying = Stay(dispatcher, ask())
    await until(yard, lambda: dispatcher.guests.running == 1)
    with pytest.raises(GuestLateError, match=r"it waited 500ms, and 500ms is the longest") as late:
        async with dispatcher.guests.take_turn(ask(owner="bob", within_s=0.5)):
            pytest.fail("it had a turn")
    assert late.value.retry_after_s >= 1
    assert dispatcher.guests.counts.take_news().refused == {"guest.late": 1}
    await staying.leave()


async def test_guest_that_no_slot_can_serve_is_refused_with_the_reason(yard: Yard) -> None:
    engine = ScriptedEngine()
    engine.problem = "no answer from its server"
    dispatcher = yard.start(engine)
    await yard.shown(lambda places: "no answer from its server" in places[0].engine_problems.values())
    await until(yard, lambda: yard.board.leading)
    with pytest.raises(GuestRefusedError, match="no answer from its server"):
        async with dispatcher.guests.take_turn(ask()):
            pytest.fail("it had a turn")
    with pytest.raises(GuestRefusedError, match="engine llama runs on none of the slots"):
        async with dispatcher.guests.take_turn(ask(choices=(Choice("llama", "m"),))):
            pytest.fail("it had a turn")


async def test_guest_for_a_service_that_is_started_for_it_waits_and_has_its_turn_or_hears_why_not(yard: Yard) -> None:
    dispatcher = yard.start(ScriptedEngine())
    await lead(yard, dispatcher)
    dispatcher.guests.explain_start = lambda engine, _: "service llama is started" if engine == "llama" else None
    asked = ask(choices=(Choice("llama", "m"),))
    waits: list[GuestWait] = []
    with pytest.raises(GuestLateError, match=r"it waited 1.5s.*: service llama is started") as late:
        async with dispatcher.guests.take_turn(replace(asked, within_s=1.5), waits.append):
            pytest.fail("it had a turn")
    assert late.value.retry_after_s >= 1
    assert waits == [GuestWait(ahead=None, expected_s=None, because="service llama is started")]
    assert dispatcher.list_waiting() == {}

    staying = Stay(dispatcher, asked)
    await until(yard, lambda: dispatcher.list_waiting() == {"llama": {"m"}})
    dispatcher.change_slots(make_slots(ScriptedEngine(), ScriptedEngine(name="llama")))
    await until(yard, lambda: staying.got == ["ada llama"])
    await staying.leave()


async def test_slot_that_failed_a_guest_is_checked_and_the_next_try_goes_elsewhere(yard: Yard) -> None:
    engines = ScriptedEngine(), ScriptedEngine()
    dispatcher = yard.start(*engines)
    await lead(yard, dispatcher, engines=2)
    async with dispatcher.guests.take_turn(ask("m")) as first:
        engines[0].problem = "it died"
        first.fail("connection refused", FailureScope.SLOT)
    async with dispatcher.guests.take_turn(ask("m", avoid=frozenset({first.slot}))) as second:
        assert second.slot != first.slot
        with pytest.raises(GuestRefusedError):
            async with dispatcher.guests.take_turn(ask("m", avoid=frozenset({first.slot, second.slot}))):
                pytest.fail("it had a turn")
    await yard.shown(lambda places: places[0].engine_problems.get("sleep") == "it died")


async def test_guest_that_may_have_some_slots_gets_no_other(yard: Yard) -> None:
    dispatcher = yard.start(ScriptedEngine(), ScriptedEngine())
    await lead(yard, dispatcher, engines=2)
    for number in (1, 0, 1):
        slot = SlotId(f"node/cpu{number}/sleep")
        async with dispatcher.guests.take_turn(ask("m", only=frozenset({slot}))) as turn:
            assert turn.slot == slot


async def test_guests_end_when_the_lead_is_lost_and_are_served_again_with_it(yard: Yard) -> None:
    dispatcher = yard.start(ScriptedEngine())
    await lead(yard, dispatcher)
    staying = Stay(dispatcher, ask())
    await until(yard, lambda: dispatcher.guests.running == 1)
    waiting = Stay(dispatcher, ask(owner="bob"))
    await until(yard, lambda: len(dispatcher.guests.list_guests()) == 2)
    await yard.pool.execute(
        "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' and objid = $1 and granted", LOCK
    )
    for guest in (staying, waiting):
        with pytest.raises(GuestEndedError, match="does not lead"):
            await asyncio.wait_for(guest.task, 30)
    assert dispatcher.guests.list_guests() == ()
    async with asyncio.timeout(30):
        while True:
            with suppress(GuestRefusedError):
                async with dispatcher.guests.take_turn(ask()) as turn:
                    assert turn.slot == SLOT
                    return
            await yard.board.wait_for_change()


async def test_stopping_server_lets_turns_go_on_until_it_releases_them(yard: Yard) -> None:
    dispatcher = yard.start(ScriptedEngine())
    await lead(yard, dispatcher)
    staying = Stay(dispatcher, ask())
    await until(yard, lambda: dispatcher.guests.running == 1)
    waiting = Stay(dispatcher, ask())
    await until(yard, lambda: len(dispatcher.guests.list_guests()) == 2)
    dispatcher.stop()
    with pytest.raises(GuestEndedError, match="stops"):
        await asyncio.wait_for(waiting.task, 30)
    with pytest.raises(GuestRefusedError, match="stops"):
        async with dispatcher.guests.take_turn(ask()):
            pytest.fail("it had a turn")
    assert not staying.task.done()
    dispatcher.release()
    with pytest.raises(GuestEndedError, match="stops"):
        await asyncio.wait_for(staying.task, 30)


async def test_stopping_server_ends_at_once_with_the_turn_of_its_last_guest(yard: Yard) -> None:
    closed = asyncio.Event()

    class Closing(ScriptedEngine):
        async def close(self) -> None:
            closed.set()

    engine = Closing()
    timings = Timings(stop_grace_s=0.2, safety_poll_s=600.0)
    dispatcher = yard.start(engine, timings=timings)
    await lead(yard, dispatcher)
    staying = Stay(dispatcher, ask())
    await until(yard, lambda: dispatcher.guests.running == 1)
    dispatcher.stop()
    await asyncio.sleep(0.5)
    assert not closed.is_set()
    await staying.leave()
    await asyncio.wait_for(closed.wait(), 30)


async def test_standby_serves_no_guests(yard: Yard) -> None:
    yard.start(ScriptedEngine())
    await until(yard, lambda: yard.board.leading)
    other = yard.start(ScriptedEngine(), timings=Timings(stop_grace_s=0.2))
    with pytest.raises(GuestRefusedError, match="does not lead"):
        async with other.guests.take_turn(ask()):
            pytest.fail("it had a turn")


async def test_guest_that_would_wait_too_long_interrupts_a_batch_task_that_goes_on_after_it(yard: Yard) -> None:
    proceed = asyncio.Event()

    async def work(work: Work, report: Reporter) -> Produced:
        await proceed.wait()
        return Produced()

    engine = ScriptedEngine(work)
    dispatcher = yard.start(engine)
    await lead(yard, dispatcher)
    ids = (await submit(yard.pool, a_submission(*map(a_task, "ab")), queued_limits={})).tasks
    await yard.until(lambda task: task.state is TaskState.RUNNING, ids[0])
    dispatcher.change_rules(DispatchRules(queues={}, guests=GuestRules(preempt_after_s=5.0)))
    async with dispatcher.guests.take_turn(ask()):
        (task,) = await yard.until(lambda task: task.state is TaskState.QUEUED, ids[0])
        assert (task.attempts, task.losses) == (0, 0)
        proceed.set()
    tasks = await yard.ended(*ids)
    assert [work.task for work in engine.runs] == [ids[0], *ids], "the task that was interrupted goes first"
    assert {task.state for task in tasks} == {TaskState.SUCCEEDED}
    assert dispatcher.guests.counts.take_news().preempted == 1


async def test_guests_interrupt_nothing_unless_the_cluster_file_says_so(yard: Yard) -> None:
    proceed = asyncio.Event()

    async def work(work: Work, report: Reporter) -> Produced:
        await proceed.wait()
        return Produced()

    dispatcher = yard.start(ScriptedEngine(work))
    await lead(yard, dispatcher)
    (id,) = (await submit(yard.pool, a_submission(), queued_limits={})).tasks
    await yard.until(lambda task: task.state is TaskState.RUNNING, id)
    with pytest.raises(GuestLateError, match="it waited 500ms"):  # no task was measured: it is not refused before
        async with dispatcher.guests.take_turn(ask(within_s=0.5)):
            pytest.fail("it had a turn")
    proceed.set()
    (task,) = await yard.ended(id)
    assert task.state is TaskState.SUCCEEDED


def with_hours(yard: Yard, hours: Hours) -> Wanted:
    wanted = yard.slots.wanted
    return replace(wanted, devices=tuple(replace(device, hours=hours) for device in wanted.devices))


async def test_hours_that_interrupt_end_turns_and_refuse_guests_with_the_time_of_the_opening(yard: Yard) -> None:
    dispatcher = yard.start(ScriptedEngine())
    await lead(yard, dispatcher)
    day = DAYS[(datetime.now(UTC) + timedelta(days=3)).weekday()]
    closed = make_hours({day: ((0, DAY_MINUTES),)}, zone="UTC", interrupt=True)
    staying = Stay(dispatcher, ask())
    await until(yard, lambda: dispatcher.guests.running == 1)
    dispatcher.change_slots(with_hours(yard, closed))
    with pytest.raises(GuestEndedError, match="hours of its slot are over"):
        await asyncio.wait_for(staying.task, 30)
    with pytest.raises(GuestLateError, match=r"opens at \w+ 00:00") as late:
        async with dispatcher.guests.take_turn(ask()):
            pytest.fail("it had a turn")
    assert late.value.retry_after_s > 24 * 3600
    dispatcher.change_slots(with_hours(yard, replace(closed, guests=True)))
    async with dispatcher.guests.take_turn(ask()) as turn:
        assert turn.slot == SLOT


async def test_leader_that_stood_still_gives_no_turn_before_it_has_seen_that_it_still_leads(yard: Yard) -> None:
    stood_still_s = 0.0
    timings = Timings(stop_grace_s=0.2, rhythm=Rhythm(beat_s=1.0, silent_s=15.0))
    dispatcher = yard.start(ScriptedEngine(), timings=timings, monotonic=lambda: time.monotonic() + stood_still_s)
    await lead(yard, dispatcher)
    stood_still_s = 16.0
    with pytest.raises(GuestRefusedError, match="does not lead"):
        async with dispatcher.guests.take_turn(ask()):
            pytest.fail("it had a turn")
    async with asyncio.timeout(30):
        while True:
            with suppress(GuestRefusedError):
                async with dispatcher.guests.take_turn(ask()) as turn:
                    assert turn.slot == SLOT
                    return
            await asyncio.sleep(0.1)


async def test_guests_share_the_lanes_of_a_slot_with_tasks_of_their_model(yard: Yard) -> None:
    proceed = asyncio.Event()

    async def work(work: Work, report: Reporter) -> Produced:
        await proceed.wait()
        return Produced()

    engine = ScriptedEngine(work)
    engine.held = (Resident(model="m"),)
    wanted = make_slots(engine)
    dispatcher = yard.start(wanted=replace(wanted, slots=tuple(replace(slot, lanes=2) for slot in wanted.slots)))
    await lead(yard, dispatcher)
    (id,) = (await submit(yard.pool, a_submission(a_task("a", model="m")), queued_limits={})).tasks
    await yard.until(lambda task: task.state is TaskState.RUNNING, id)
    beside = Stay(dispatcher, ask("m"))
    await until(yard, lambda: dispatcher.guests.running == 1)
    third = Stay(dispatcher, ask("m", owner="bob"))
    await until(yard, lambda: len(dispatcher.guests.list_guests()) == 2)
    ((place,), lanes) = yard.board.places, lambda: sorted(run.lane for run in yard.board.places[0].facts.running)
    assert [hold.kind for hold in place.holds] == [HoldKind.TASK, HoldKind.GUEST]
    assert lanes() == [0, 1]
    await beside.leave()
    await until(yard, lambda: third.got)
    assert lanes() == [0, 1]
    proceed.set()
    await yard.ended(id)
    await third.leave()


async def test_guest_that_leaves_while_room_is_made_for_its_model_did_not_use_it(yard: Yard) -> None:
    making_room = asyncio.Event()

    class Slow(ScriptedEngine):
        async def release(self) -> None:
            making_room.set()
            await asyncio.Event().wait()

    engine = Slow()
    engine.held = (Resident(model="old", memory=Bytes(20 * 2**30)),)
    await note_memory(yard.pool, DurationKey("sleep", "new", "RTX"), Bytes(16 * 2**30))
    dispatcher = yard.start()
    dispatcher.change_slots(make_gpu_slots(engine))
    await yard.shown(lambda places: [held.model for held in places[0].resident] == ["old"])
    await lead(yard, dispatcher)
    leaves = Stay(dispatcher, ask("new"))
    await asyncio.wait_for(making_room.wait(), 30)
    leaves.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaves.task
    (place,) = yard.slots
    assert [held.model for held in place.resident("sleep")] == ["old"]
    assert not place.holds
