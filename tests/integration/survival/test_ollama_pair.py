"""Two Ollama servers with different models: tasks go where their model is, and wait where it is nowhere."""

from __future__ import annotations

import time

from builders import a_submission, a_task
from corral.engines.http.client import Timings
from corral.engines.ollama.engine import Ollama
from corral.scheduling.values import PolicyBounds, Rule
from corral.slots.place import CHECK_EVERY_S
from corral.tasks.dispatch_rules import Timings as DispatcherTimings
from corral.tasks.lifecycle import TaskState
from corral.tasks.reconciling import LOOK_FOR_MODELS_S
from corral.tasks.store.submitting import submit
from corral.tasks.values import TaskSpec
from doubles.ollama import OllamaDouble
from doubles.ollama_models import HeldModel
from doubles.yard import Yard

QUICK = Timings(check_s=1, probe_s=1, busy_s=0.05, retry_s=0.01)
SHORT = DispatcherTimings(stop_grace_s=0.2, safety_poll_s=0.1)
LARGE = "large:latest"


class Ahead:
    """A clock that a test puts forward."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.seconds


def a_prompt(name: str, model: str = LARGE) -> TaskSpec:
    return a_task(name, engine="ollama", model=model, inputs={"prompt": "one two three"}, timeout_s=20)


async def submitted(yard: Yard, *specs: TaskSpec) -> tuple[int, ...]:
    return tuple((await submit(yard.pool, a_submission(*specs), queued_limits={})).tasks)


async def test_every_task_goes_to_the_server_that_has_its_model_and_none_is_lost(yard: Yard) -> None:
    async with OllamaDouble() as small, OllamaDouble() as large:
        large.models = {LARGE: HeldModel(name=LARGE, weights="large")}
        yard.start(Ollama(small.url, timings=QUICK), Ollama(large.url, timings=QUICK))
        await yard.shown(lambda slots: all("ollama" in slot.engines for slot in slots))

        ids = await submitted(yard, *(a_prompt(f"t{number}") for number in range(6)), a_prompt("s", "smol:latest"))
        ended = await yard.ended(*ids)

        assert {(task.state, task.losses, task.attempts) for task in ended} == {(TaskState.SUCCEEDED, 0, 0)}
        assert [body["model"] for body in small.bodies] == ["smol:latest"]
        assert [body["model"] for body in large.bodies] == [LARGE] * 6


async def test_a_task_whose_model_is_nowhere_waits_and_starts_once_it_is_pulled(yard: Yard) -> None:
    async with OllamaDouble() as ollama:
        clock = Ahead()
        dispatcher = yard.start(Ollama(ollama.url, timings=QUICK), monotonic=clock)
        await yard.shown(lambda slots: "ollama" in slots[0].engines)
        waits, runs = await submitted(yard, a_prompt("waits"), a_prompt("runs", "smol:latest"))
        await yard.ended(runs)

        explanation = dispatcher.explain(waits)
        assert explanation is not None
        assert explanation.rule is Rule.MODEL_MISSING
        assert f"corral models pull {LARGE} --on node/cpu0/ollama" in explanation.summary

        ollama.models[LARGE] = HeldModel(name=LARGE, weights="large")
        clock.seconds += CHECK_EVERY_S
        (ended,) = await yard.ended(waits)
        assert (ended.state, ended.losses) == (TaskState.SUCCEEDED, 0)


async def test_a_task_whose_model_is_nowhere_for_a_day_fails_with_what_to_do(yard: Yard) -> None:
    async with OllamaDouble() as ollama:
        clock = Ahead()
        yard.start(Ollama(ollama.url, timings=QUICK), timings=SHORT, monotonic=clock)
        await yard.shown(lambda slots: "ollama" in slots[0].engines)
        (waits,) = await submitted(yard, a_prompt("waits"))
        for later in (0.0, LOOK_FOR_MODELS_S, PolicyBounds().model_wait.total_seconds() + LOOK_FOR_MODELS_S):
            clock.seconds += later
            await yard.ended(*await submitted(yard, a_prompt(f"runs-{later}", "smol:latest")))
        (ended,) = await yard.ended(waits)

        assert ended.state is TaskState.FAILED
        assert ended.error is not None
        assert (ended.error.code, ended.attempts) == ("task.model_missing", 0)
        assert ended.error.what == f"no server that the task can be sent to has had the model {LARGE} for 24h 00m"
        assert ended.error.hint is not None
        assert f"corral tasks retry {waits}" in ended.error.hint


async def test_a_model_that_was_deleted_since_it_was_listed_costs_a_task_nothing(yard: Yard) -> None:
    async with OllamaDouble() as ollama:
        dispatcher = yard.start(Ollama(ollama.url, timings=QUICK))
        await yard.shown(lambda slots: "ollama" in slots[0].engines)
        del ollama.models["smol:latest"]

        (id,) = await submitted(yard, a_prompt("late", "smol:latest"))
        (waiting,) = await yard.until(lambda task: task.state is TaskState.QUEUED and task.error is not None, id)

        assert (waiting.losses, waiting.attempts) == (0, 0)
        assert waiting.error is not None
        assert waiting.error.code == "instance.model_missing"
        await yard.shown(lambda slots: "smol:latest" not in slots[0].models["ollama"])
        assert dispatcher.running == 0


async def test_a_full_queue_costs_a_task_nothing(yard: Yard) -> None:
    async with OllamaDouble() as ollama:
        ollama.faults.busy = 10_000
        yard.start(Ollama(ollama.url, timings=QUICK))

        (id,) = await submitted(yard, a_prompt("patient", "smol:latest"))
        (waiting,) = await yard.until(lambda task: task.state is TaskState.QUEUED and task.error is not None, id)

        assert (waiting.losses, waiting.attempts) == (0, 0)
        assert waiting.error is not None
        assert waiting.error.code == "instance.busy"
