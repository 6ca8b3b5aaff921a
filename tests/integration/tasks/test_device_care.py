"""What looks at a GPU do to the queue: a dispatcher on a real database, with looks that the test gives."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from builders import a_submission, a_task
from corral.cluster.yields import YieldTo
from corral.hardware.power.measured import add_up
from corral.scheduling.values import Gate, Rule
from corral.slots.device_use import DeviceUse, Program
from corral.slots.guests import Choice, GuestAsk
from corral.slots.health import Signs
from corral.slots.values import Wanted
from corral.tasks.dispatcher import Dispatcher
from corral.tasks.lifecycle import TaskState
from corral.tasks.store import story
from corral.tasks.store.dispatching import read_memory, read_ready_tasks
from corral.tasks.store.energy import read_device_energy
from corral.tasks.store.submitting import submit
from corral.tasks.store.usage import UsageBy, list_usage
from corral.units import Bytes
from corral.work import EngineError, Produced, Reporter, Resident, SlotId, Work
from doubles.engines import ScriptedEngine
from doubles.yard import make_gpu_slots

if TYPE_CHECKING:
    from conftest import Yard

GIB = 2**30
GPU, UUID = SlotId("node/gpu0"), "GPU-11111111-1111-4111-8111-111111111111"
IDLE = DeviceUse(total=Bytes(24 * GIB), used=Bytes(GIB), own=Bytes(0))
GAME = Program(name="game.x86_64", user="eva", memory=Bytes(12 * GIB), busy=0.9)
PLAYED = replace(IDLE, used=Bytes(13 * GIB), programs=(GAME,))
AT_ONCE = YieldTo(programs=("game.x86_64",), interrupt_after=timedelta(0), quiet=timedelta(0))


class Bench:
    """A dispatcher with one GPU, whose engine goes on only when the test says so."""

    def __init__(self, yard: Yard) -> None:
        self.yard = yard
        self.go_on = asyncio.Event()
        self.engine = ScriptedEngine(self._wait, name="llama")
        self.speech = ScriptedEngine(name="whisper")
        self.dispatcher: Dispatcher = yard.start()
        wanted = make_gpu_slots(self.engine, self.speech)
        devices = tuple(replace(device, visible=UUID, memory=Bytes(24 * GIB)) for device in wanted.devices)
        self.dispatcher.change_slots(Wanted(devices=devices, slots=wanted.slots))
        self._looking: asyncio.Task[None] | None = None

    async def _wait(self, work: Work, report: Reporter) -> Produced:
        await self.go_on.wait()
        return Produced()

    def look(self, use: DeviceUse, *, times: int = 1) -> None:
        for _ in range(times):
            self.dispatcher.devices.note_look({UUID: use})

    def answer_starts(self, use: DeviceUse) -> None:
        """From now on, answer each start that asks for a look with this one, as the sampler does."""

        async def answer() -> None:
            while True:
                await self.dispatcher.devices.look_asked.wait()
                self.dispatcher.devices.look_asked.clear()
                self.look(use)

        self.close()
        self._looking = asyncio.create_task(answer())

    def close(self) -> None:
        if self._looking is not None:
            self._looking.cancel()

    async def submit(self, memory: int | None = None, *, engine: str = "llama", model: str | None = None) -> int:
        task = a_task("a", engine=engine, model=model, memory=None if memory is None else Bytes(memory))
        return (await submit(self.yard.pool, a_submission(task), queued_limits={})).tasks[0]

    def explain(self, task: int) -> tuple[Rule | None, str]:
        explanation = self.dispatcher.explain(task)
        return (None, "") if explanation is None else (explanation.rule, explanation.summary)

    def yields(self) -> bool:
        """Look once, and say whether the GPU is given away."""
        self.look(IDLE)
        return self.yard.board.places[0].yielding is not None

    def takes_tasks(self) -> bool:
        return not self.yields()

    async def read_story(self) -> list[tuple[str, dict[str, object]]]:
        await self.dispatcher.devices.write_story(self.yard.pool)
        kinds = ["slot_yields", "slot_returns", "slot_closed", "slot_opened"]
        return [(line.kind, dict(line.data)) for line in await story.read(self.yard.pool, kinds=kinds)]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while True:
            if holds():
                return
            await asyncio.sleep(0.01)


@pytest.fixture
async def bench(yard: Yard) -> AsyncIterator[Bench]:
    bench = Bench(yard)
    await yard.shown(lambda places: all(place.engines for place in places))
    yield bench
    bench.close()


async def test_memory_that_others_take_is_not_given_to_tasks_and_comes_back(bench: Bench) -> None:
    bench.look(PLAYED)
    waits = await bench.submit(16 * GIB)
    await bench.yard.shown(lambda places: places[0].capacity == 11 * GIB)
    await until(lambda: bench.explain(waits)[0] is Rule.NO_FIT)
    explained = bench.explain(waits)[1]
    bench.answer_starts(IDLE)
    bench.look(IDLE)
    bench.go_on.set()
    (ended,) = await bench.yard.ended(waits)

    assert explained == "it needs 16.0 GiB and the only slot for it has 11.0 GiB next to game.x86_64 (12.0 GiB)"
    assert ended.state is TaskState.SUCCEEDED


async def test_memory_that_a_task_takes_beyond_what_it_declared_is_not_given_to_the_next(bench: Bench) -> None:
    bench.look(IDLE)
    greedy = await bench.submit(4 * GIB)
    await bench.yard.until(lambda task: task.state is TaskState.RUNNING, greedy)
    bench.look(replace(IDLE, used=Bytes(15 * GIB), own=Bytes(14 * GIB)))

    waits = await bench.submit(12 * GIB, engine="whisper")
    await until(lambda: bench.explain(waits)[0] is Rule.SLOTS_BUSY)
    reason = bench.explain(waits)[1]
    bench.answer_starts(replace(IDLE, used=Bytes(5 * GIB), own=Bytes(4 * GIB)))
    bench.look(replace(IDLE, used=Bytes(5 * GIB), own=Bytes(4 * GIB)))
    (ended,) = await bench.yard.ended(waits)
    bench.go_on.set()
    await bench.yard.ended(greedy)

    assert reason == "busy slots of the same devices leave less than the 12.0 GiB it needs"
    assert ended.state is TaskState.SUCCEEDED


async def test_small_changes_of_what_others_hold_do_not_wake_the_dispatcher(bench: Bench) -> None:
    bench.look(IDLE)
    before = bench.yard.board.places[0].facts.capacity

    bench.look(replace(IDLE, used=Bytes(GIB + 200 * 2**20)))

    assert bench.yard.board.places[0].facts.capacity == before
    assert bench.yard.board.places[0].use == replace(IDLE, used=Bytes(GIB + 200 * 2**20))


async def test_memory_is_looked_at_again_just_before_a_start(bench: Bench) -> None:
    """A game begins between the decision and the start: the task goes back as it was, and nothing is counted."""
    bench.look(IDLE)
    bench.answer_starts(PLAYED)
    id = await bench.submit(16 * GIB)
    (task,) = await bench.yard.until(lambda task: task.error is not None, id)

    assert bench.engine.runs == []
    assert (task.state, task.attempts, task.losses) == (TaskState.QUEUED, 0, 0)
    assert task.error is not None
    assert task.error.code == "attempt.no_memory"
    assert task.error.what == ("it needs 16.0 GiB, and 11.0 GiB of node/gpu0 are left next to game.x86_64 (12.0 GiB)")


async def test_attempt_that_ran_out_of_memory_while_others_took_it_is_lost_and_not_failed(bench: Bench) -> None:
    async def run_out(work: Work, report: Reporter) -> Produced:
        if len(bench.engine.runs) > 1:
            return Produced()
        bench.look(PLAYED)
        bench.look(IDLE)
        raise EngineError("CUDA error: out of memory")

    bench.engine.script = run_out
    bench.look(IDLE)
    id = await bench.submit()
    (task,) = await bench.yard.ended(id)
    lines = await story.read(bench.yard.pool, task=id, kinds=["attempt_failed"])

    assert (task.state, task.attempts, task.losses) == (TaskState.SUCCEEDED, 0, 1)
    assert "others held 12.0 GiB more of node/gpu0 than at its start (game.x86_64 (12.0 GiB))" in str(lines[0].data)


async def test_attempt_that_ran_out_of_memory_by_itself_is_a_failed_one(bench: Bench) -> None:
    async def run_out(work: Work, report: Reporter) -> Produced:
        bench.look(replace(IDLE, used=Bytes(20 * GIB), own=Bytes(19 * GIB)))
        raise EngineError("CUDA error: out of memory")

    bench.engine.script = run_out
    bench.look(IDLE)
    (task,) = await bench.yard.until(lambda task: task.attempts > 0, await bench.submit())

    assert task.losses == 0


async def test_slot_yields_interrupts_gives_memory_back_and_returns(bench: Bench) -> None:
    bench.dispatcher.devices.rules = {GPU: AT_ONCE}
    bench.engine.held = (Resident(model="tiny", memory=Bytes(GIB)),)
    bench.look(IDLE)
    id = await bench.submit()
    await bench.yard.until(lambda task: task.state is TaskState.RUNNING, id)

    bench.look(PLAYED)
    (task,) = await bench.yard.until(lambda task: task.losses == 1, id)
    await bench.yard.shown(lambda places: not places[0].running and not places[0].resident)
    view = bench.yard.board.places[0]
    bench.go_on.set()
    bench.look(IDLE)
    (ended,) = await bench.yard.ended(id)

    assert (task.attempts, task.error and task.error.code) == (0, "attempt.yielded")
    assert (view.facts.gate, view.facts.gate_reason) == (Gate.DRAINING, "yields to game.x86_64 (12.0 GiB)")
    assert bench.engine.held == ()
    assert (ended.state, ended.attempts) == (TaskState.SUCCEEDED, 0)
    assert [(kind, data["device"]) for kind, data in await bench.read_story()] == [
        ("slot_yields", GPU),
        ("slot_returns", GPU),
    ]


async def test_slot_without_a_bound_lets_its_task_end_before_it_yields(bench: Bench) -> None:
    bench.dispatcher.devices.rules = {GPU: replace(AT_ONCE, interrupt_after=None)}
    bench.look(IDLE)
    first, second = await bench.submit(), await bench.submit()
    await bench.yard.until(lambda task: task.state is TaskState.RUNNING, first)

    bench.look(PLAYED, times=3)
    bench.go_on.set()
    (ended,) = await bench.yard.ended(first)
    rule, summary = bench.explain(second)

    assert (ended.state, ended.losses) == (TaskState.SUCCEEDED, 0)
    assert rule is Rule.SLOTS_CLOSED
    assert "draining: yields to game.x86_64 (12.0 GiB)" in summary


async def test_gpu_that_is_handed_over_yields_after_a_restart_too_until_it_is_taken_back(bench: Bench) -> None:
    since = datetime.now(UTC)
    await bench.yard.pool.execute(
        "insert into handed_over (device, owner, since, until) values ($1, 'ada', $2, $3)",
        GPU,
        since,
        since + timedelta(hours=2),
    )
    await bench.yard.tell_gates_changed()
    await until(bench.yields)
    await bench.yard.crash()
    again = Bench(bench.yard)
    await until(again.yields)
    reason = again.yard.board.places[0].facts.gate_reason
    await bench.yard.pool.execute("delete from handed_over")
    await bench.yard.tell_gates_changed()
    await until(again.takes_tasks)

    assert reason == "yields to programs of ada, by hand"


async def test_lost_gpu_closes_its_slot_ends_its_engines_and_opens_when_it_answers(bench: Bench) -> None:
    bench.look(IDLE)
    id = await bench.submit()
    await bench.yard.until(lambda task: task.state is TaskState.RUNNING, id)

    bench.look(DeviceUse(problem="GPU is lost"))
    after_one = bench.yard.board.places[0].facts.gate
    bench.look(DeviceUse(problem="GPU is lost"))
    await bench.yard.until(lambda task: task.losses == 1, id)
    await until(lambda: bench.engine.kills > 0)
    closed = bench.yard.board.places[0].facts
    alarms = [alarm.what for alarm in bench.yard.alarms.raised]
    bench.go_on.set()
    bench.look(IDLE)
    (ended,) = await bench.yard.ended(id)

    assert after_one is Gate.OPEN
    assert (closed.gate, closed.gate_reason) == (Gate.UNHEALTHY, "the GPU cannot be used: GPU is lost")
    assert alarms == ["node/gpu0: the GPU cannot be used: GPU is lost"]
    assert (ended.state, ended.attempts) == (TaskState.SUCCEEDED, 0)
    assert bench.yard.alarms.raised == ()
    assert [kind for kind, _ in await bench.read_story()] == ["slot_closed", "slot_opened"]


async def test_gpu_that_the_driver_does_not_list_any_more_is_closed_with_the_drivers_reason(bench: Bench) -> None:
    bench.dispatcher.devices.note_look({}, absent="Driver Not Loaded")
    bench.dispatcher.devices.note_look({}, absent="Driver Not Loaded")

    assert bench.yard.board.places[0].facts.gate_reason == "the GPU cannot be used: Driver Not Loaded"


async def test_slot_is_closed_after_a_suspend_until_its_gpu_is_looked_at_and_its_engines_start_anew(
    bench: Bench,
) -> None:
    bench.look(IDLE)
    bench.dispatcher.devices.note_sleep(7200)
    reason = bench.yard.board.places[0].facts.gate_reason
    await until(lambda: bench.engine.kills > 0)
    bench.go_on.set()
    bench.look(IDLE)
    (ended,) = await bench.yard.ended(await bench.submit())

    assert reason == "the machine slept for 2h 00m, and its GPU is looked at again"
    assert ended.state is TaskState.SUCCEEDED


async def test_attempt_that_fails_after_a_suspend_is_lost_and_not_failed(bench: Bench) -> None:
    async def fail_once(work: Work, report: Reporter) -> Produced:
        if len(bench.engine.runs) > 1:
            return Produced()
        bench.dispatcher.devices.note_sleep(600)
        raise EngineError("CUDA error: unspecified launch failure")

    bench.engine.script = fail_once
    bench.look(IDLE)
    id = await bench.submit()
    await bench.yard.until(lambda task: task.losses == 1, id)
    bench.look(IDLE)
    (ended,) = await bench.yard.ended(id)

    assert (ended.state, ended.attempts) == (TaskState.SUCCEEDED, 0)


async def test_attempt_that_an_error_of_its_gpu_ends_is_lost_and_not_failed(bench: Bench) -> None:
    async def fail(work: Work, report: Reporter) -> Produced:
        raise EngineError("CUDA error: an illegal memory access was encountered")

    bench.engine.script = fail
    bench.look(IDLE)
    bench.answer_starts(replace(IDLE, signs=Signs(xids=(62,))))
    id = await bench.submit()
    (lost,) = await bench.yard.until(lambda task: task.losses == 1, id)
    reason = bench.yard.board.places[0].device_problem

    assert reason == "the GPU cannot be used: its driver reported XID 62: an internal error of its microcontroller"
    assert (lost.state, lost.attempts) == (TaskState.QUEUED, 0)


async def test_task_needs_the_most_that_its_model_was_seen_to_take_where_that_is_more_than_it_says(
    bench: Bench,
) -> None:
    bench.look(IDLE)
    id = await bench.submit(2 * GIB, model="m.gguf")
    await bench.engine.started.wait()
    for held in (5, 9, 7):
        bench.look(replace(IDLE, own=Bytes(held * GIB), used=Bytes((held + 1) * GIB)))
    bench.go_on.set()
    await bench.yard.ended(id)
    bench.look(replace(IDLE, own=Bytes(20 * GIB), used=Bytes(21 * GIB)))

    assert await read_memory(bench.yard.pool) == {("llama", "m.gguf"): 9 * GIB}
    later = await bench.submit(2 * GIB, model="m.gguf")
    (ready,) = await read_ready_tasks(bench.yard.pool, [later])
    assert ready.task.memory == 9 * GIB


async def test_memory_next_to_a_model_of_another_engine_is_not_taken_for_the_tasks(bench: Bench) -> None:
    bench.speech.held = (Resident(model="speech", memory=Bytes(GIB)),)
    await bench.yard.ended(await bench.submit(engine="whisper", model="speech"))
    id = await bench.submit(2 * GIB, model="m.gguf")
    await bench.engine.started.wait()
    bench.look(replace(IDLE, own=Bytes(9 * GIB), used=Bytes(10 * GIB)))
    bench.go_on.set()
    await bench.yard.ended(id)

    assert ("llama", "m.gguf") not in await read_memory(bench.yard.pool)


async def test_energy_of_tasks_and_guests_is_theirs_once_it_is_written(bench: Bench) -> None:
    pool, energy = bench.yard.pool, bench.dispatcher.devices.energy
    bench.look(replace(IDLE, energy_j=1000.0))
    task = await bench.submit()
    await bench.yard.until(lambda task: task.state is TaskState.RUNNING, task)
    bench.look(replace(IDLE, energy_j=1600.0))
    bench.go_on.set()
    await bench.yard.ended(task)
    bench.look(replace(IDLE, energy_j=1600.0))
    of_guests: list[float] = []
    async with bench.dispatcher.guests.take_turn(
        GuestAsk(owner="eva", choices=(Choice("whisper"),), label="speech")
    ) as turn:
        turn.when_measured(of_guests.append)
    bench.look(replace(IDLE, energy_j=1650.0))
    await energy.write(pool, at_once=True)
    await energy.write(pool, at_once=True)

    (ended,) = await bench.yard.ended(task)
    (line,) = await list_usage(pool, by=UsageBy.ENGINE)
    now = datetime.now(UTC)
    hours = await read_device_energy(pool, since=now - timedelta(hours=1), until=now + timedelta(hours=1))
    total = add_up(hours.values())
    assert ended.joules is not None
    assert 0 < ended.joules <= 600
    assert (line.engine, line.joules, line.metered) == ("llama", ended.joules, 1)
    assert [0 < joules <= 50 for joules in of_guests] == [True]
    assert total.joules == 650
    assert total.work_joules == pytest.approx(ended.joules + of_guests[0])
