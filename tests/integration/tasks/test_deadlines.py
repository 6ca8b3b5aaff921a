"""Deadlines in a running dispatcher: a near one goes first, and one that cannot be met is reported once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING

from builders import a_submission, a_task
from corral.requests import BatchFields
from corral.scheduling.deadlines import LOOK_EVERY_S
from corral.scheduling.judgement import Judgement
from corral.scheduling.values import DurationKey, PolicyBounds, Queue
from corral.slots.registry import Registry
from corral.tasks.alarms import Alarms
from corral.tasks.deadlines import ALARM, DeadlineKeeper
from corral.tasks.picture import Picture
from corral.tasks.store import story
from corral.tasks.store.submitting import submit
from corral.tasks.values import Submission
from doubles import queue_life
from doubles.engines import ScriptedEngine
from doubles.yard import make_slots

if TYPE_CHECKING:
    from conftest import Yard


def due(by: timedelta, *names: str) -> Submission:
    fields = BatchFields(name="due", by=datetime.now(UTC) + by)
    return Submission(owner="ada", batch=fields, tasks=tuple(map(a_task, names)))


async def test_a_batch_with_a_near_deadline_goes_before_what_waited_longer(yard: Yard) -> None:
    others = (await submit(yard.pool, a_submission(*map(a_task, "abc")), queued_limits={})).tasks
    urgent = (await submit(yard.pool, due(timedelta(minutes=20), "d", "e"), queued_limits={})).tasks
    engine = ScriptedEngine()
    yard.start(engine)
    await yard.ended(*others, *urgent)
    assert [work.task for work in engine.runs] == [*urgent, *others]


async def test_a_deadline_that_cannot_be_met_is_in_the_story_once_and_an_alarm_until_its_batch_ends(yard: Yard) -> None:
    accepted = await submit(yard.pool, due(timedelta(hours=1), "a"), queued_limits={})
    clock = count(step=LOOK_EVERY_S)
    judgement, alarms = Judgement(PolicyBounds()), Alarms()
    picture = Picture(Registry(make_slots(ScriptedEngine())), {}, unknown_s=60)
    keeper = DeadlineKeeper(yard.pool, picture, judgement, alarms, lambda: next(clock))
    await keeper.keep()
    assert accepted.batch is not None
    assert judgement.deadlines[accepted.batch].ready_at is None  # nothing like it was measured
    assert alarms.raised == ()

    await yard.pool.execute("update batches set by = now() - interval '1 minute'")
    await keeper.keep()
    await keeper.keep()
    (alarm,) = alarms.raised
    assert (alarm.name, alarm.what) == (ALARM, "batch 1 (due) cannot be done by the deadline any more")
    (line,) = await story.read(yard.pool, kinds=(ALARM,))
    assert (line.batch, line.data["open"]) == (accepted.batch, 1)

    await queue_life.succeed(yard.pool, accepted.tasks[0])
    await keeper.keep()
    assert (alarms.raised, judgement.deadlines) == ((), {})


async def test_what_is_left_of_a_batch_is_estimated_from_what_was_measured(yard: Yard) -> None:
    accepted = await submit(yard.pool, due(timedelta(hours=1), "a", "b"), queued_limits={})
    judgement = Judgement(PolicyBounds())
    judgement.recall([(DurationKey("sleep", None, "cpu"), 3600.0)])
    registry = Registry(make_slots(ScriptedEngine()))
    for place in registry:
        await place.check("sleep", now=0)
    alarms = Alarms()
    keeper = DeadlineKeeper(
        yard.pool, Picture(registry, {"default": Queue(name="default")}, unknown_s=60), judgement, alarms, lambda: 1.0
    )
    await keeper.keep()
    assert accepted.batch is not None
    deadline = judgement.deadlines[accepted.batch]
    assert deadline.need == timedelta(hours=2)
    assert [alarm.name for alarm in alarms.raised] == [ALARM]
