"""Two servers that speak OpenAI's API behind the queue: tasks go where their model is, and outputs to the next task."""

from __future__ import annotations

from builders import a_submission, a_task
from corral.engines.http.client import Timings
from corral.engines.openai.engine import OpenAi
from corral.scheduling.values import Rule
from corral.tasks.lifecycle import TaskState
from corral.tasks.store.submitting import submit
from corral.tasks.values import OutputRef, TaskSpec
from doubles.openai_server import OpenAiDouble
from doubles.yard import Yard

QUICK = Timings(check_s=1, probe_s=1, busy_s=0.05, retry_s=0.01)
SPEAKS = a_task("said", engine="openai", model="tts", inputs={"kind": "speak", "prompt": "a", "format": "wav"})
HEARS = a_task(
    "heard",
    engine="openai",
    model="whisper",
    inputs={"kind": "transcribe"},
    files={"said.wav": OutputRef("said", "speech.wav")},
)


def a_chat(name: str, model: str) -> TaskSpec:
    return a_task(name, engine="openai", model=model, inputs={"prompt": "one two"}, timeout_s=20)


async def submitted(yard: Yard, *specs: TaskSpec) -> tuple[int, ...]:
    return tuple((await submit(yard.pool, a_submission(*specs), queued_limits={})).tasks)


async def test_speech_of_one_server_is_transcribed_by_the_other(yard: Yard) -> None:
    async with OpenAiDouble(model_names={"tts": {}}) as speaks, OpenAiDouble(model_names={"whisper": {}}) as hears:
        yard.start(OpenAi(speaks.url, timings=QUICK), OpenAi(hears.url, timings=QUICK))

        ended = await yard.ended(*await submitted(yard, SPEAKS, HEARS))

        assert {(task.state, task.losses, task.attempts) for task in ended} == {(TaskState.SUCCEEDED, 0, 0)}
        assert [body["model"] for body in speaks.bodies] == ["tts"]
        assert hears.bodies[0][-1] == ("said.wav", speaks.sound)


async def test_a_task_whose_model_no_server_lists_waits(yard: Yard) -> None:
    async with OpenAiDouble(model_names={"qwen": {}}) as server:
        dispatcher = yard.start(OpenAi(server.url, timings=QUICK))
        await yard.shown(lambda slots: "openai" in slots[0].engines)
        waits, runs = await submitted(yard, a_chat("waits", "llama"), a_chat("runs", "qwen"))
        await yard.ended(runs)

        explanation = dispatcher.explain(waits)

        assert explanation is not None
        assert explanation.rule is Rule.MODEL_MISSING
        assert "install it on its server" in explanation.summary
        assert [body["model"] for body in server.bodies] == ["qwen"]


async def test_what_one_server_does_not_do_is_done_by_the_other(yard: Yard) -> None:
    """Both list the model, and one has no route for speech: the task tries the other, and that costs it nothing."""
    async with OpenAiDouble(model_names={"tts": {}}) as chats, OpenAiDouble(model_names={"tts": {}}) as speaks:
        chats.faults.missing = frozenset({"/v1/audio/speech"})
        yard.start(OpenAi(chats.url, timings=QUICK), OpenAi(speaks.url, timings=QUICK))

        ended = await yard.ended(
            *await submitted(yard, *(SPEAKS.model_copy(update={"name": f"s{n}"}) for n in range(4)))
        )

        assert {task.state for task in ended} == {TaskState.SUCCEEDED}
        assert len(speaks.bodies) == 4
        assert chats.bodies == []
