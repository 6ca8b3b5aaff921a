"""Slots of one device are occupied at the same time as far as what is measured or declared fits."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from builders import a_submission, a_task
from corral.scheduling.values import Gate, Rule
from corral.tasks.dispatcher import Timings
from corral.tasks.lifecycle import Leased, TaskState
from corral.tasks.store.submitting import submit
from corral.tasks.store.transitions import Lease, TaskChange, apply
from corral.tasks.values import TakenLane
from corral.units import Bytes
from corral.work import Produced, Reporter, Resident, SlotId, TaskClass, Work
from doubles.engines import ScriptedEngine
from doubles.yard import make_gpu_slots

if TYPE_CHECKING:
    from conftest import Yard

GIB = 2**30
CHAT, SPEECH = SlotId("node/gpu0/llama"), SlotId("node/gpu0/whisper")


class Together:
    """Two engines of a GPU, which go on only when the test says so."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.chat = ScriptedEngine(self._wait, name="llama")
        self.speech = ScriptedEngine(self._wait, name="whisper")

    async def _wait(self, work: Work, report: Reporter) -> Produced:
        await self.go_on.wait()
        return Produced()


async def test_tasks_of_two_engines_compute_on_one_gpu_at_the_same_time_where_their_memory_fits(yard: Yard) -> None:
    both = Together()
    yard.start().change_slots(make_gpu_slots(both.chat, both.speech))
    batch = a_submission(
        a_task("a", engine="llama", memory=Bytes(14 * GIB)), a_task("b", engine="whisper", memory=Bytes(4 * GIB))
    )
    ids = (await submit(yard.pool, batch, queued_limits={})).tasks
    await yard.until(lambda task: task.state is TaskState.RUNNING, *ids)
    rows = await yard.pool.fetch("select slot, task_id from slot_leases order by slot")
    assert [tuple(row) for row in rows] == [(CHAT, ids[0]), (SPEECH, ids[1])]
    both.go_on.set()
    tasks = await yard.ended(*ids)
    assert [task.slots for task in tasks] == [(CHAT,), (SPEECH,)]


async def test_task_whose_memory_is_unknown_computes_alone_and_the_database_keeps_the_device_for_it(yard: Yard) -> None:
    both = Together()
    dispatcher = yard.start()
    dispatcher.change_slots(make_gpu_slots(both.chat, both.speech))
    batch = a_submission(a_task("a", engine="llama"), a_task("b", engine="whisper", memory=Bytes(GIB)))
    first, second = (await submit(yard.pool, batch, queued_limits={})).tasks
    await yard.until(lambda task: task.state is TaskState.RUNNING, first)
    rows = await yard.pool.fetch("select slot, task_id from slot_leases order by slot")
    assert [tuple(row) for row in rows] == [(CHAT, first), (SPEECH, first)]
    explanation = dispatcher.explain(second)
    assert explanation is not None
    assert explanation.rule is Rule.SLOTS_BUSY
    assert explanation.slots[SPEECH].startswith(f"{CHAT} computes alone: task {first} of ada, expected to end in")
    both.go_on.set()
    await yard.ended(first, second)
    assert await yard.pool.fetchval("select count(*) from slot_leases") == 0


async def test_task_that_another_server_computes_alone_closes_every_slot_of_the_device(yard: Yard) -> None:
    (id,) = (await submit(yard.pool, a_submission(a_task("a", engine="llama")), queued_limits={})).tasks
    other = Lease(holder=uuid4(), ttl=timedelta(seconds=60))
    lease = TaskChange(task=id, event=Leased(uuid4(), (CHAT,)), takes=(TakenLane(CHAT), TakenLane(SPEECH)))
    await apply(yard.pool, [lease], lease=other)
    both = Together()
    yard.start().change_slots(make_gpu_slots(both.chat, both.speech))
    await yard.shown(lambda slots: {slot.gate for slot in slots} == {Gate.UNHEALTHY})
    assert [view.facts.gate_reason for view in yard.board.places] == [f"task {id} holds it for another server"] * 2


async def test_batch_starts_at_the_end_of_a_stay_although_nothing_else_happens(yard: Yard) -> None:
    chat, speech = ScriptedEngine(name="llama"), ScriptedEngine(name="whisper")
    chat.held = (Resident(model="m1", memory=Bytes(GIB)),)
    dispatcher = yard.start(timings=Timings(safety_poll_s=3_600))
    dispatcher.change_slots(make_gpu_slots(chat, speech))
    question = a_task("a", engine="llama", model="m1", memory=Bytes(GIB), task_class=TaskClass.INTERACTIVE)
    (first,) = (await submit(yard.pool, a_submission(question), queued_limits={})).tasks
    await yard.ended(first)
    large = a_task("b", engine="whisper", model="large", memory=Bytes(24 * GIB))
    (second,) = (await submit(yard.pool, a_submission(large), queued_limits={})).tasks
    (task,) = await yard.ended(second)
    assert task.state is TaskState.SUCCEEDED
    assert chat.held == (), "it was given up, once it had stayed for as long as two loads of a GiB should take"
