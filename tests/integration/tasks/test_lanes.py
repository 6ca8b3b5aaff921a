"""Tasks of one model share the lanes of a slot: at once, never more than there are, and each lane has one task."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg
import pytest

from builders import a_submission, a_task
from corral.scheduling.values import Rule
from corral.slots.values import Wanted
from corral.tasks.dispatcher import Timings
from corral.tasks.lifecycle import CancelRequested, Leased, TaskState
from corral.tasks.store.submitting import submit
from corral.tasks.store.transitions import Lease, TaskChange, apply
from corral.tasks.values import TakenLane
from corral.units import Bytes
from corral.work import Produced, Reporter, Resident, SlotId, Work
from doubles.engines import ScriptedEngine
from doubles.yard import make_gpu_slots, make_slots

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conftest import Yard

SLOT = SlotId("node/cpu0/sleep")


def with_lanes(wanted: Wanted, lanes: int) -> Wanted:
    return replace(wanted, slots=tuple(replace(slot, lanes=lanes) for slot in wanted.slots))


class Sharing:
    """An engine that ends a run when the test says so, and counts how many go on at once, by model."""

    def __init__(self) -> None:
        self.engine = ScriptedEngine(self._run)
        self.now: list[str | None] = []
        self.most = 0
        self.mixed = False
        self._ends: dict[int, asyncio.Event] = {}

    async def _run(self, work: Work, report: Reporter) -> Produced:
        self.now.append(work.model)
        self.most = max(self.most, len(self.now))
        self.mixed = self.mixed or len(set(self.now)) > 1
        try:
            await self._ends.setdefault(work.task, asyncio.Event()).wait()
        finally:
            self.now.remove(work.model)
        return Produced(values={"ok": True})

    def end(self, tasks: Iterable[int]) -> None:
        for task in tasks:
            self._ends.setdefault(task, asyncio.Event()).set()


async def test_four_lanes_run_four_tasks_of_a_model_the_fifth_waits_and_another_model_waits_for_all(yard: Yard) -> None:
    sharing = Sharing()
    dispatcher = yard.start(wanted=with_lanes(make_slots(sharing.engine), 4))
    tasks = [a_task(f"a{number}", model="a") for number in range(5)]
    *same, fifth = (await submit(yard.pool, a_submission(*tasks), queued_limits={})).tasks
    other = a_submission(a_task("b", model="b"), batch="other")
    (another,) = (await submit(yard.pool, other, queued_limits={})).tasks
    await yard.until(lambda task: task.state is TaskState.RUNNING, *same)
    rows = await yard.pool.fetch("select slot, lane, task_id from slot_leases order by lane")
    assert [tuple(row) for row in rows] == [("node/cpu0", lane, task) for lane, task in enumerate(same)]
    explanation = dispatcher.explain(another)
    assert explanation is not None
    assert explanation.rule is Rule.SLOTS_BUSY
    assert explanation.slots[SLOT].endswith("; 4 of 4 lanes taken")
    sharing.end(same[1:2])
    await yard.until(lambda task: task.state is TaskState.RUNNING, fifth)
    assert await yard.pool.fetchval("select lane from slot_leases where task_id = $1", fifth) == 1
    sharing.end([*same, fifth, another])
    ended = await yard.ended(*same, fifth, another)
    assert {task.state for task in ended} == {TaskState.SUCCEEDED}
    assert (sharing.most, sharing.mixed) == (4, False)
    assert [work.task for work in sharing.engine.runs] == [*same, fifth, another]
    assert await yard.pool.fetchval("select count(*) from slot_leases") == 0


async def test_lanes_that_a_killed_server_left_are_run_once_more_each_and_none_twice(yard: Yard) -> None:
    sharing = Sharing()
    wanted = with_lanes(make_slots(sharing.engine), 3)
    yard.start(wanted=wanted)
    tasks = [a_task(f"a{number}", model="a") for number in range(4)]
    ids = (await submit(yard.pool, a_submission(*tasks), queued_limits={})).tasks
    await yard.until_some(lambda task: task.state is TaskState.RUNNING, 3, *ids)
    await yard.crash()
    after = Sharing()
    yard.start(wanted=with_lanes(make_slots(after.engine), 3))
    after.end(ids)
    ended = await yard.ended(*ids)
    assert {task.state for task in ended} == {TaskState.SUCCEEDED}
    assert sorted(work.task for work in after.engine.runs) == sorted(ids)
    assert after.most <= 3
    assert await yard.pool.fetchval("select count(*) from slot_leases") == 0


async def test_a_lane_is_not_given_twice(yard: Yard) -> None:
    first, second, third = (await submit(yard.pool, a_submission(*map(a_task, "abc")), queued_limits={})).tasks
    here = Lease(holder=uuid4(), ttl=Timings().lease_ttl)

    def take(task: int, lane: int) -> TaskChange:
        return TaskChange(task=task, event=Leased(uuid4(), (SLOT,)), takes=(TakenLane(SLOT, lane),))

    await apply(yard.pool, [take(first, 0), take(second, 1)], lease=here)
    with pytest.raises(asyncpg.UniqueViolationError):
        await apply(yard.pool, [take(third, 1)], lease=here)
    await apply(yard.pool, [take(third, 2)], lease=here)


async def test_what_joins_a_slot_waits_until_the_models_that_were_there_are_given_up(yard: Yard) -> None:
    """Or the engine would give up the memory of a run that has begun."""
    sharing = Sharing()
    released, may_release = asyncio.Event(), asyncio.Event()

    class Slow(ScriptedEngine):
        async def release(self) -> None:
            await may_release.wait()
            self.held = ()
            released.set()

    engine = Slow(sharing._run)
    engine.held = (Resident(model="old", memory=Bytes(20 * 2**30)),)
    yard.start().change_slots(with_lanes(make_gpu_slots(engine), 2))
    await yard.shown(lambda places: [held.model for held in places[0].resident] == ["old"])
    tasks = [a_task(name, model="new", memory=16 * 2**30) for name in "ab"]
    ids = (await submit(yard.pool, a_submission(*tasks), queued_limits={})).tasks
    await yard.shown(lambda places: len(places[0].running) == 2)
    await asyncio.sleep(0.1)
    assert not engine.runs
    may_release.set()
    await yard.until(lambda task: task.state is TaskState.RUNNING, *ids)
    sharing.end(ids)
    await yard.ended(*ids)
    assert released.is_set()


async def test_an_engine_that_is_killed_for_one_task_costs_its_neighbours_no_attempt(yard: Yard) -> None:
    hanging = asyncio.Event()

    async def run(work: Work, report: Reporter) -> Produced:
        while work.task == first and not engine.kills:
            try:
                hanging.set()
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                continue
        if not engine.kills:
            await asyncio.sleep(30)
        return Produced(values={"ok": True})

    engine = ScriptedEngine(run)
    first = 0
    dispatcher = yard.start(wanted=with_lanes(make_slots(engine), 2))
    first, second = (await submit(yard.pool, a_submission(a_task("a"), a_task("b")), queued_limits={})).tasks
    await yard.until(lambda task: task.state is TaskState.RUNNING, first, second)
    await apply(yard.pool, [TaskChange(task=first, event=CancelRequested())])
    cancelled, other = await yard.ended(first, second)
    assert (cancelled.state, other.state, other.attempts) == (TaskState.CANCELLED, TaskState.SUCCEEDED, 0)
    assert engine.kills == 1
    assert len([work for work in engine.runs if work.task == second]) == 2
    assert dispatcher.running == 0


async def test_a_server_that_says_how_much_it_does_at_once_has_as_many_lanes(yard: Yard) -> None:
    class Server(ScriptedEngine):
        async def count_lanes(self) -> int | None:
            return 3

    yard.start(wanted=make_slots(Server()))
    await yard.shown(lambda places: places[0].lanes == {"sleep": 3})


async def test_a_change_of_lanes_waits_for_all_holds_and_no_task_joins_meanwhile(yard: Yard) -> None:
    sharing = Sharing()
    wanted = with_lanes(make_slots(sharing.engine), 2)
    dispatcher = yard.start(wanted=wanted)
    tasks = [a_task(f"a{number}", model="a") for number in range(3)]
    *two, third = (await submit(yard.pool, a_submission(*tasks), queued_limits={})).tasks
    await yard.until(lambda task: task.state is TaskState.RUNNING, *two)
    difference = dispatcher.change_slots(with_lanes(wanted, 1))
    assert [change.what for change in difference.changed] == [("lanes: 2 -> 1",)]
    sharing.end(two[:1])
    await yard.ended(two[0])
    await asyncio.sleep(0.1)
    assert [work.task for work in sharing.engine.runs] == two
    sharing.end([*two, third])
    await yard.ended(*two, third)


async def test_a_server_that_comes_to_do_fewer_at_once_disturbs_no_decision_while_it_is_looked_at(yard: Yard) -> None:
    sharing = Sharing()
    looked, may_answer = asyncio.Event(), asyncio.Event()

    class Shrinking(ScriptedEngine):
        lanes = 2

        async def count_lanes(self) -> int:
            return self.lanes

        async def resident(self) -> tuple[Resident, ...]:
            if self.lanes == 1:
                looked.set()
                await may_answer.wait()
            return ()

    engine = Shrinking(sharing._run)
    dispatcher = yard.start(wanted=make_slots(engine))
    await yard.shown(lambda places: places[0].lanes_for("sleep") == 2)
    engine.lanes = 1
    (place,) = yard.slots
    checking = asyncio.create_task(place.check("sleep", now=0.0))
    await looked.wait()
    tasks = [a_task(name, model="a") for name in "abc"]
    *both, third = (await submit(yard.pool, a_submission(*tasks), queued_limits={})).tasks
    await yard.until(lambda task: task.state is TaskState.RUNNING, *both)
    may_answer.set()
    await checking
    sharing.end([*both, third])
    await yard.ended(*both, third)
    assert (sharing.most, [work.task for work in engine.runs]) == (2, [*both, third])
    assert place.count_lanes("sleep") == 1
    assert dispatcher.running == 0
