"""What hours mean for a running dispatcher: what they interrupt goes back as it was, and closed slots are emptied."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from builders import a_submission, a_task
from corral.hours import DAY_MINUTES, DAYS, Hours, make_hours
from corral.scheduling.values import Queue, Rule
from corral.slots.registry import Registry
from corral.slots.values import Wanted
from corral.tasks.dispatch_rules import DispatchRules
from corral.tasks.hours import HoursKeeper
from corral.tasks.lifecycle import TaskState
from corral.tasks.picture import Picture
from corral.tasks.store import story
from corral.tasks.store.submitting import submit
from corral.work import Produced, Reporter, Resident, Work
from doubles.engines import Script, ScriptedEngine
from doubles.yard import make_slots

if TYPE_CHECKING:
    from conftest import Yard


def closed_today(*, interrupt: bool = False) -> Hours:
    """Hours of a day three days ahead alone."""
    day = DAYS[(datetime.now(UTC) + timedelta(days=3)).weekday()]
    return make_hours({day: ((0, DAY_MINUTES),)}, zone="UTC", interrupt=interrupt)


def with_hours(wanted: Wanted, hours: Hours | None) -> Wanted:
    return replace(wanted, devices=tuple(replace(device, hours=hours) for device in wanted.devices))


class ReleasedEngine(ScriptedEngine):
    """Shows when it was asked to give up its memory."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.released = asyncio.Event()

    async def release(self) -> None:
        await super().release()
        self.released.set()


async def hang(work: Work, report: Reporter) -> Produced:
    await asyncio.Event().wait()
    return Produced()


async def test_what_hours_interrupt_goes_back_as_it_was_and_runs_when_they_begin(yard: Yard) -> None:
    engine = ScriptedEngine(hang)
    dispatcher = yard.start(engine)
    wanted = yard.slots.wanted
    (id,) = (await submit(yard.pool, a_submission(), queued_limits={})).tasks
    await engine.started.wait()
    dispatcher.change_slots(with_hours(wanted, closed_today(interrupt=True)))
    (task,) = await yard.until(lambda task: task.state is TaskState.QUEUED, id)
    assert (task.attempts, task.losses, task.error) == (0, 0, None)
    async with asyncio.timeout(30):  # the story is heard before the decision that follows it
        while (explanation := dispatcher.explain(id)) is None:  # noqa: ASYNC110 (it has no event)
            await asyncio.sleep(0.01)
    assert explanation.rule is Rule.OUTSIDE_HOURS
    (line,) = await story.read(yard.pool, kinds=("released",), limit=9)
    assert line.data["because"] == "the hours of node/cpu0/sleep or of queue default are over"
    engine.script = ScriptedEngine().script
    dispatcher.change_slots(wanted)
    (task,) = await yard.ended(id)
    assert (task.state, len(engine.runs)) == (TaskState.SUCCEEDED, 2)


async def test_without_interrupt_a_task_goes_on_to_its_end_and_then_the_slot_gives_up_its_models(yard: Yard) -> None:
    go_on = asyncio.Event()

    async def wait(work: Work, report: Reporter) -> Produced:
        await go_on.wait()
        return Produced()

    engine = ReleasedEngine(wait)
    dispatcher = yard.start(engine)
    ids = (await submit(yard.pool, a_submission(a_task("a"), a_task("b")), queued_limits={})).tasks
    await engine.started.wait()
    dispatcher.change_slots(with_hours(yard.slots.wanted, closed_today()))
    engine.held = (Resident(model="m"),)
    go_on.set()
    (first,) = await yard.ended(ids[0])
    assert first.state is TaskState.SUCCEEDED
    async with asyncio.timeout(30):
        await engine.released.wait()
    (second,) = await yard.until(lambda task: True, ids[1])
    assert second.state is TaskState.QUEUED


async def test_the_hours_of_a_queue_interrupt_its_tasks_alone(yard: Yard) -> None:
    night, day = ScriptedEngine(hang), ScriptedEngine(hang)
    dispatcher = yard.start(night, day, queues=[Queue(name="night")])
    (first,) = (await submit(yard.pool, a_submission(a_task(queue="night")), queued_limits={})).tasks
    await night.started.wait()
    (second,) = (await submit(yard.pool, a_submission(a_task("other")), queued_limits={})).tasks
    await day.started.wait()
    closed = Queue(name="night", hours=closed_today(interrupt=True))
    dispatcher.change_rules(DispatchRules(queues={"default": Queue(name="default"), "night": closed}))
    await yard.until(lambda task: task.state is TaskState.QUEUED, first)
    (other,) = await yard.until(lambda task: True, second)
    assert other.state is TaskState.RUNNING


def test_the_dispatcher_wakes_when_hours_begin_or_end() -> None:
    hours = make_hours({"daily": ((22 * 60, 31 * 60),)}, zone="UTC")
    clock = [datetime(2026, 3, 1, 21, 59, tzinfo=UTC)]
    keeper = HoursKeeper(
        Picture(
            Registry(with_hours(make_slots(ScriptedEngine()), hours)), {"default": Queue(name="default")}, unknown_s=60
        ),
        read_clock=lambda: clock[0],
    )
    keeper.keep()
    assert keeper.count_seconds_left() == 60
    clock[0] += timedelta(seconds=60)
    keeper.keep()
    assert keeper.count_seconds_left() == 9 * 3600
    clock[0] -= timedelta(hours=1)  # the clock is put back
    keeper.keep()
    assert keeper.count_seconds_left() == 3600
