"""The dispatcher binds tasks to free slots and writes each outcome once, whatever engines and servers do."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from structlog.testing import capture_logs

from builders import a_submission, a_task
from corral.scheduling.values import Gate, Queue, Rule
from corral.slots.values import DeviceSpec, Hold, HoldKind, Wanted
from corral.tasks.dispatch_rules import DispatchRules, Timings
from corral.tasks.lifecycle import CancelRequested, Leased, TaskState
from corral.tasks.reconciling import PAGE
from corral.tasks.store import story
from corral.tasks.store.reading import Filter, list_tasks
from corral.tasks.store.submitting import submit
from corral.tasks.store.transitions import Lease, TaskChange, apply
from corral.tasks.values import OutputRef
from corral.work import (
    EngineError,
    EngineUnavailableError,
    OutputFile,
    Produced,
    Reporter,
    Resident,
    SlotId,
    TaskInvalidError,
    Work,
)
from doubles.engines import ScriptedEngine
from doubles.yard import make_slot, make_slots

if TYPE_CHECKING:
    from conftest import Yard


async def test_submitted_tasks_run_to_their_end(yard: Yard) -> None:
    engine = ScriptedEngine()
    yard.start(engine, ScriptedEngine())
    ids = (await submit(yard.pool, a_submission(*map(a_task, "abcdef")), queued_limits={})).tasks
    tasks = await yard.ended(*ids)
    assert {task.state for task in tasks} == {TaskState.SUCCEEDED}
    assert {task.attempts for task in tasks} == {0}
    assert await yard.pool.fetchval("select count(*) from slot_leases") == 0


async def test_batch_that_is_read_in_several_pages_runs_to_its_end(yard: Yard) -> None:
    yard.start(*(ScriptedEngine() for _ in range(16)))
    names = [f"task-{number}" for number in range(PAGE + 1)]
    ids = (await submit(yard.pool, a_submission(*map(a_task, names)), queued_limits={})).tasks
    tasks = await yard.ended(*ids)
    assert {task.state for task in tasks} == {TaskState.SUCCEEDED}


async def test_tasks_of_an_unheard_submission_are_found(yard: Yard) -> None:
    ids = (await submit(yard.pool, a_submission(*map(a_task, "ab")), queued_limits={})).tasks
    await yard.pool.execute("update tasks set state = 'waiting', open_needs = 1")
    yard.start(ScriptedEngine(), timings=Timings(safety_poll_s=0.05))
    async with asyncio.timeout(10):
        while not yard.board.leading:
            await yard.board.wait_for_change()
    await yard.pool.execute("update tasks set state = 'queued', open_needs = 0")  # without a line of the story
    tasks = await yard.ended(*ids)
    assert {task.state for task in tasks} == {TaskState.SUCCEEDED}


async def test_outputs_are_stored_and_handed_to_the_task_that_needs_them(yard: Yard) -> None:
    async def speak(work: Work, report: Reporter) -> Produced:
        if work.files:
            return Produced(values={"heard": work.files["in"].read_text()})
        path = work.scratch / "said.txt"
        path.write_text("hello")
        return Produced(files=(OutputFile(name="said.txt", path=path, media_type="text/plain"),))

    yard.start(ScriptedEngine(speak))
    say, hear = a_task("say"), a_task("hear", files={"in": OutputRef("say", "said.txt")})
    first, second = await yard.ended(*(await submit(yard.pool, a_submission(say, hear), queued_limits={})).tasks)
    assert first.outputs[0].size == 5
    assert yard.artifacts.verify(first.outputs[0].sha256)
    assert second.result == {"heard": "hello"}


async def test_failed_attempt_is_tried_again_until_attempts_are_spent(yard: Yard) -> None:
    async def fail(work: Work, report: Reporter) -> Produced:
        raise EngineError("broke")

    engine = ScriptedEngine(fail)
    yard.start(engine)
    (id,) = (await submit(yard.pool, a_submission(a_task(max_attempts=2)), queued_limits={})).tasks
    (task,) = await yard.ended(id)
    assert (task.state, task.attempts, len(engine.runs)) == (TaskState.FAILED, 2, 2)
    assert task.error is not None
    assert task.error.what == "broke"


async def test_task_that_cannot_succeed_is_tried_once(yard: Yard) -> None:
    async def refuse(work: Work, report: Reporter) -> Produced:
        raise TaskInvalidError("no such voice")

    engine = ScriptedEngine(refuse)
    yard.start(engine)
    (id,) = (await submit(yard.pool, a_submission(), queued_limits={})).tasks
    (task,) = await yard.ended(id)
    assert (task.state, len(engine.runs)) == (TaskState.FAILED, 1)


async def test_engine_that_is_down_costs_no_attempt_and_the_task_goes_elsewhere(yard: Yard) -> None:
    down, up = ScriptedEngine(), ScriptedEngine()

    async def vanish(work: Work, report: Reporter) -> Produced:
        down.problem = "connection refused"
        raise EngineUnavailableError("connection refused")

    down.script = vanish
    yard.start(down, up)
    ids = (await submit(yard.pool, a_submission(a_task("a"), a_task("b")), queued_limits={})).tasks
    tasks = await yard.ended(*ids)
    assert [task.state for task in tasks] == [TaskState.SUCCEEDED] * 2
    assert sum(task.attempts for task in tasks) == 0
    assert sum(task.losses for task in tasks) == 1
    assert len(up.runs) == 2


async def test_hung_engine_is_killed_at_the_deadline_and_the_task_runs_elsewhere(yard: Yard) -> None:
    hung, sound = ScriptedEngine(), ScriptedEngine()
    hung.script = hung.hang_until_killed
    yard.start(hung)
    (id,) = (await submit(yard.pool, a_submission(a_task(timeout_s=0.1)), queued_limits={})).tasks
    await asyncio.wait_for(hung.started.wait(), 10)
    await yard.until(lambda task: task.attempts == 1, id)
    assert hung.kills == 1
    hung.script = sound.script
    (task,) = await yard.ended(id)
    assert task.state is TaskState.SUCCEEDED


async def test_cancel_of_a_running_task_stops_its_engine(yard: Yard) -> None:
    stopped = asyncio.Event()

    async def wait_for_ever(work: Work, report: Reporter) -> Produced:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError("unreachable")

    engine = ScriptedEngine(wait_for_ever)
    yard.start(engine)
    (id,) = (await submit(yard.pool, a_submission(), queued_limits={})).tasks
    await asyncio.wait_for(engine.started.wait(), 10)
    await apply(yard.pool, [TaskChange(task=id, event=CancelRequested())])
    (task,) = await yard.ended(id)
    assert task.state is TaskState.CANCELLED
    assert stopped.is_set()


async def test_task_waits_for_its_start_time(yard: Yard) -> None:
    yard.start(ScriptedEngine())
    at = datetime.now(UTC) + timedelta(seconds=0.5)
    (id,) = (await submit(yard.pool, a_submission(a_task(not_before=at)), queued_limits={})).tasks
    (task,) = await yard.ended(id)
    assert task.started_at is not None
    assert task.started_at >= at


async def test_crashed_servers_tasks_are_run_again_at_once_by_its_successor(yard: Yard) -> None:
    async def wait_for_ever(work: Work, report: Reporter) -> Produced:
        await asyncio.Event().wait()
        raise AssertionError("unreachable")

    first = ScriptedEngine(wait_for_ever)
    yard.start(first)
    (id,) = (await submit(yard.pool, a_submission(), queued_limits={})).tasks
    await asyncio.wait_for(first.started.wait(), 10)
    await yard.crash()
    second = ScriptedEngine()
    yard.start(second)
    (task,) = await yard.ended(id)
    assert (task.state, task.losses, task.attempts) == (TaskState.SUCCEEDED, 1, 0)
    assert second.runs[0].earlier == (first.runs[0].attempt,)


async def test_second_dispatcher_stands_by_until_the_first_is_gone(yard: Yard) -> None:
    first, second = ScriptedEngine(), ScriptedEngine()
    yard.start(first)
    (id,) = (await submit(yard.pool, a_submission(a_task("a")), queued_limits={})).tasks
    await yard.ended(id)
    dispatchers = list(yard._running)
    yard._running.clear()
    yard.start(second)
    (id,) = (await submit(yard.pool, a_submission(a_task("b")), queued_limits={})).tasks
    await yard.ended(id)
    assert (len(first.runs), len(second.runs)) == (2, 0)
    for dispatcher, running in dispatchers:
        dispatcher.stop()
        await running
    (id,) = (await submit(yard.pool, a_submission(a_task("c")), queued_limits={})).tasks
    await yard.ended(id)
    assert (len(first.runs), len(second.runs)) == (2, 1)


async def test_story_tells_every_change_in_order(yard: Yard) -> None:
    yard.start(ScriptedEngine())
    (id,) = (await submit(yard.pool, a_submission(), queued_limits={})).tasks
    await yard.ended(id)
    events = await story.read(yard.pool, task=id)
    assert [event.kind for event in events] == ["submitted", "leased", "started", "succeeded"]
    assert events[1].data["slots"] == ["node/cpu0/sleep"]


async def test_output_outside_the_attempts_folder_is_refused(yard: Yard) -> None:
    async def escape(work: Work, report: Reporter) -> Produced:
        outside = work.scratch.parent / "outside.txt"
        outside.write_text("x")
        return Produced(files=(OutputFile(name="outside.txt", path=outside),))

    yard.start(ScriptedEngine(escape))
    (id,) = (await submit(yard.pool, a_submission(a_task(max_attempts=1)), queued_limits={})).tasks
    (task,) = await yard.ended(id)
    assert task.state is TaskState.FAILED
    assert task.outputs == ()


async def test_drained_slot_gives_up_its_models_and_takes_no_task(yard: Yard) -> None:
    engine = ScriptedEngine()
    engine.held = (Resident(model="m"),)
    yard.start(engine)
    await yard.pool.execute("insert into gates (kind, name, gate) values ('slot', 'node/cpu0', 'draining')")
    await yard.tell_gates_changed()
    await yard.shown(lambda slots: slots[0].gate is Gate.DRAINING and not slots[0].resident)
    assert engine.held == ()
    assert engine.runs == []


async def test_paused_queue_starts_nothing_until_it_is_resumed(yard: Yard) -> None:
    engine = ScriptedEngine()
    await yard.pool.execute("insert into gates (kind, name, gate) values ('queue', 'default', 'paused')")
    (id,) = (await submit(yard.pool, a_submission(), queued_limits={})).tasks
    dispatcher = yard.start(engine)
    await yard.shown(lambda slots: yard.board.leading and "sleep" in slots[0].engines)
    explanation = dispatcher.explain(id)
    assert explanation is not None
    assert explanation.rule is Rule.QUEUE_PAUSED
    assert engine.runs == []
    await yard.pool.execute("delete from gates")
    await yard.tell_gates_changed()
    (task,) = await yard.ended(id)
    assert task.state is TaskState.SUCCEEDED


async def test_failed_attempts_log_is_kept_with_the_task(yard: Yard) -> None:
    async def fail(work: Work, report: Reporter) -> Produced:
        path = work.scratch / "log.txt"
        path.write_text("it broke here")
        raise EngineError("broke", files=(OutputFile(name="log.txt", path=path, media_type="text/plain"),))

    yard.start(ScriptedEngine(fail))
    (id,) = (await submit(yard.pool, a_submission(a_task(max_attempts=2)), queued_limits={})).tasks
    (task,) = await yard.ended(id)
    assert [output.name for output in task.outputs] == ["log.txt"]
    assert yard.artifacts.locate(task.outputs[0].sha256).read_text() == "it broke here"


async def test_slots_are_added_while_tasks_wait_for_their_engine(yard: Yard) -> None:
    first, second = ScriptedEngine(), ScriptedEngine(name="llama")
    dispatcher = yard.start(first)
    (id,) = (await submit(yard.pool, a_submission(a_task(engine="llama")), queued_limits={})).tasks
    await yard.shown(lambda slots: bool(slots[0].engines))
    difference = dispatcher.change_slots(make_slots(first, second))
    assert [slot.id for slot in difference.added] == ["node/cpu1/llama"]
    (task,) = await yard.ended(id)
    assert task.state is TaskState.SUCCEEDED
    assert len(second.runs) == 1


async def test_task_of_a_queue_that_is_removed_goes_on_under_its_old_rules(yard: Yard) -> None:
    elsewhere = Queue(name="night", pool=frozenset({SlotId("node/cpu9")}))
    dispatcher = yard.start(ScriptedEngine(), queues=[elsewhere])
    (night,) = (await submit(yard.pool, a_submission(a_task(queue="night")), queued_limits={})).tasks
    dispatcher.change_rules(DispatchRules(queues={"default": Queue(name="default")}))
    (later,) = (await submit(yard.pool, a_submission(a_task("later")), queued_limits={})).tasks
    await yard.ended(later)
    (task,) = await yard.until(lambda task: True, night)
    assert task.state is TaskState.QUEUED


async def test_task_waits_for_its_node_and_says_so_when_a_reload_removes_it(yard: Yard) -> None:
    here, there = ScriptedEngine(), ScriptedEngine()
    device = DeviceSpec(name=SlotId("attic/cpu0"), node="attic", provider="attic/cpu0", model="cpu")
    attic = Wanted(devices=(device,), slots=(make_slot(device.name, there),))
    both = Wanted(devices=(*make_slots(here).devices, device), slots=(*make_slots(here).slots, *attic.slots))
    dispatcher = yard.start()
    dispatcher.change_slots(both)
    (first,) = (await submit(yard.pool, a_submission(a_task(node="attic")), queued_limits={})).tasks
    (task,) = await yard.ended(first)
    assert task.slots == ("attic/cpu0/sleep",)

    dispatcher.change_slots(make_slots(here))
    batch = a_submission(a_task("bound", node="attic"), a_task("wish", prefer_node="attic"))
    bound, wish = (await submit(yard.pool, batch, queued_limits={})).tasks
    await yard.ended(wish)
    explanation = dispatcher.explain(bound)
    assert explanation is not None
    assert explanation.rule is Rule.NODE_MISSING
    assert explanation.summary == "it must run on node attic, and no slot is on it (nodes with slots: node)"
    because = await story.read_choice(yard.pool, wish)
    assert because == "only slot free; preferred node attic has no slot that could run it"

    dispatcher.change_slots(both)
    (task,) = await yard.ended(bound)
    assert task.slots == ("attic/cpu0/sleep",)


async def test_a_server_without_a_slot_says_so_until_a_reload_gives_it_one(yard: Yard) -> None:
    dispatcher = yard.start()
    (alarm,) = yard.alarms.raised
    assert (alarm.name, alarm.what) == ("no_slots", "this server has no slot, so nothing starts")
    assert alarm.hint is not None
    assert "corral reload" in alarm.hint
    dispatcher.change_slots(make_slots(ScriptedEngine()))
    assert yard.alarms.raised == ()
    dispatcher.change_slots(Wanted(devices=(), slots=()))
    assert [alarm.name for alarm in yard.alarms.raised] == ["no_slots"]


async def test_task_ends_on_a_slot_that_leaves_and_the_next_goes_elsewhere(yard: Yard) -> None:
    go_on = asyncio.Event()

    async def wait(work: Work, report: Reporter) -> Produced:
        await go_on.wait()
        return Produced()

    leaving, staying = ScriptedEngine(wait), ScriptedEngine()
    dispatcher = yard.start(leaving)
    ids = (await submit(yard.pool, a_submission(a_task("a"), a_task("b")), queued_limits={})).tasks
    await leaving.started.wait()
    slots = make_slots(ScriptedEngine(name="llama"), staying)
    difference = dispatcher.change_slots(slots)
    assert difference.held == {"node/cpu0/sleep": f"task {ids[0]} of ada"}
    await yard.ended(ids[1])
    assert (len(leaving.runs), len(staying.runs)) == (1, 1)
    go_on.set()
    (task,) = await yard.ended(ids[0])
    assert (task.state, task.attempts, task.losses) == (TaskState.SUCCEEDED, 0, 0)
    await yard.shown(lambda slots: {"llama"} in [slot.engines for slot in slots])


async def test_slots_held_for_a_decision_that_failed_are_free_for_the_next(yard: Yard) -> None:
    yard.start(ScriptedEngine(), ScriptedEngine(), timings=Timings(retry_s=0.01))
    await yard.shown(lambda slots: yard.board.leading and all(slot.engines for slot in slots))
    # The dispatcher does not know of this hold: its decision counts on both slots, and fails on the second.
    hold = Hold(kind=HoldKind.PROGRAM, owner="eve", label="train.py", since=datetime.now(UTC))
    yard.slots[SlotId("node/cpu1")].hold(hold)
    with capture_logs() as logs:
        ids = (await submit(yard.pool, a_submission(a_task("a"), a_task("b")), queued_limits={})).tasks
        tasks = await yard.ended(*ids)
    assert [line["event"] for line in logs].count("round_failed") == 1
    assert [(task.state, task.slots) for task in tasks] == [(TaskState.SUCCEEDED, ("node/cpu0/sleep",))] * 2


async def test_slot_that_failed_a_task_is_avoided_under_the_name_that_it_had(yard: Yard) -> None:
    go_on = asyncio.Event()

    async def vanish(work: Work, report: Reporter) -> Produced:
        await go_on.wait()
        raise EngineUnavailableError("connection refused")

    failing, next_ = ScriptedEngine(vanish), ScriptedEngine()
    next_.problem = "not there yet"
    dispatcher = yard.start(failing)
    (id,) = (await submit(yard.pool, a_submission(), queued_limits={})).tasks
    await failing.started.wait()
    device = DeviceSpec(name=SlotId("node/cpu0"), node="node", provider="node/cpu0", model="cpu")
    renamed = replace(make_slot(device.name, next_), id=SlotId("node/cpu0/sleep/a"), instance="a")
    dispatcher.change_slots(Wanted(devices=(device,), slots=(renamed,)))
    go_on.set()
    await yard.until(lambda task: task.losses == 1, id)
    assert await yard.pool.fetchval("select avoid_slots from tasks") == ["node/cpu0/sleep"]
    await yard.shown(lambda slots: slots[0].names == {"sleep": "node/cpu0/sleep/a"})


async def test_task_is_on_the_slot_of_its_engine_and_the_database_keeps_the_device_for_it(yard: Yard) -> None:
    go_on = asyncio.Event()

    async def wait(work: Work, report: Reporter) -> Produced:
        report.progress(0.5)
        await go_on.wait()
        return Produced()

    engine = ScriptedEngine(wait)
    yard.start(engine)
    (id,) = (await submit(yard.pool, a_submission(), queued_limits={})).tasks
    await engine.started.wait()
    await yard.until(lambda task: task.state is TaskState.RUNNING, id)
    assert yard.board.progress[id].slot == "node/cpu0/sleep"
    assert await yard.pool.fetchval("select slot from slot_leases") == "node/cpu0"
    go_on.set()
    (task,) = await yard.ended(id)
    assert task.slots == ("node/cpu0/sleep",)
    assert engine.runs[0].slots == ("node/cpu0/sleep",)
    for name in ("node/cpu0", "node/cpu0/sleep"):
        assert [task.id for task in (await list_tasks(yard.pool, Filter(slot=SlotId(name)))).tasks] == [id]
    assert not (await list_tasks(yard.pool, Filter(slot=SlotId("node/cpu")))).tasks


async def test_paused_slot_leaves_the_other_engines_of_its_device_to_work(yard: Yard) -> None:
    paused, working = ScriptedEngine(name="llama"), ScriptedEngine()
    await yard.pool.execute("insert into gates (kind, name, gate) values ('slot', 'node/cpu0/llama', 'paused')")
    dispatcher = yard.start()
    device = DeviceSpec(name=SlotId("node/cpu0"), node="node", provider="node/cpu0", model="cpu")
    slots = tuple(make_slot(device.name, engine) for engine in (paused, working))
    dispatcher.change_slots(Wanted(devices=(device,), slots=slots))
    batch = a_submission(a_task("a", engine="llama"), a_task("b"))
    first, second = (await submit(yard.pool, batch, queued_limits={})).tasks
    await yard.ended(second)
    explanation = dispatcher.explain(first)
    assert explanation is not None
    assert (explanation.rule, explanation.slots) == (Rule.SLOTS_CLOSED, {"node/cpu0/llama": "paused"})
    assert paused.runs == []
    await yard.pool.execute("update gates set gate = 'open'")
    await yard.tell_gates_changed()
    (task,) = await yard.ended(first)
    assert task.state is TaskState.SUCCEEDED


async def test_lost_attempt_of_an_older_server_is_found_again_where_it_ran(yard: Yard) -> None:
    engines = ScriptedEngine(), ScriptedEngine(), ScriptedEngine()
    (id,) = (await submit(yard.pool, a_submission(), queued_limits={})).tasks
    lease = Lease(holder=yard.holder, ttl=timedelta(seconds=60))
    await apply(yard.pool, [TaskChange(task=id, event=Leased(uuid4(), (SlotId("node/cpu2"),)))], lease=lease)
    yard.start(*engines)
    (task,) = await yard.ended(id)
    assert (task.slots, task.losses) == (("node/cpu2/sleep",), 1)
