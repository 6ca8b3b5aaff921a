"""Speech, transcriptions, images and models of servers that speak OpenAI's API, on a double over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from corral.engines.credentials import Credentials
from corral.engines.http.client import Timings
from corral.engines.http.errors import (
    GenerationFailedError,
    ModelMissingError,
    RequestRefusedError,
    ServerAnswerError,
    ServerBusyError,
    ServerOutOfMemoryError,
    ServerUnreachableError,
)
from corral.engines.openai.drawing import LARGEST_DRAWING
from corral.engines.openai.engine import OpenAi
from corral.engines.openai.errors import CallMissingError
from corral.engines.openai.inputs import OpenAiOptions
from corral.work import EngineError, FailureScope, Work
from doubles.openai_server import PNG, OpenAiDouble, make_wav
from doubles.remote_reports import KeptReports

QUICK = Timings(check_s=0.5, probe_s=0.1, busy_s=0.1, release_s=0.1, retry_s=0.01)


@pytest.fixture
async def server() -> AsyncIterator[OpenAiDouble]:
    async with OpenAiDouble() as double:
        yield double


@pytest.fixture
async def engine(server: OpenAiDouble) -> AsyncIterator[OpenAi]:
    engine = OpenAi(server.url, timings=QUICK)
    yield engine
    await engine.close()


def asked(scratch: Path, model: str | None = "tts", *, files: dict[str, bytes] | None = None, **inputs: Any) -> Work:
    folder = scratch / uuid4().hex[:8]
    folder.mkdir()
    paths: dict[str, Path] = {}
    for name, content in (files or {}).items():
        paths[name] = scratch / f"given-{name}"
        paths[name].write_bytes(content)
    return Work(
        attempt=uuid4(), task=1, engine="openai", model=model, inputs=inputs, files=paths, scratch=folder, timeout_s=20
    )


# --- speech ----------------------------------------------------------------------------------------------------------


async def test_a_text_is_said_into_a_file(
    server: OpenAiDouble, engine: OpenAi, reports: KeptReports, tmp_path: Path
) -> None:
    produced = await engine.run(asked(tmp_path, kind="speak", prompt="Hello.", voice="heart", format="wav"), reports)

    (file,) = produced.files
    assert (file.name, file.media_type, file.path.read_bytes()) == ("speech.wav", "audio/wav", server.sound)
    assert produced.values == {"bytes": len(server.sound), "duration_s": 0.5}
    assert server.bodies == [{"model": "tts", "input": "Hello.", "voice": "heart", "response_format": "wav"}]


async def test_the_length_of_streamed_sound_is_that_of_the_file_and_not_of_its_header(
    server: OpenAiDouble, engine: OpenAi, reports: KeptReports, tmp_path: Path
) -> None:
    whole = make_wav(2.0)
    server.sound = whole[: len(whole) - 24_000]  # the header announces half a second more than comes

    produced = await engine.run(asked(tmp_path, kind="speak", prompt="Hello.", format="wav"), reports)

    assert produced.values["duration_s"] == 1.5


async def test_the_voice_of_the_cluster_file_speaks_where_the_task_names_none(
    server: OpenAiDouble, reports: KeptReports, tmp_path: Path
) -> None:
    engine = OpenAi(server.url, options=OpenAiOptions.model_validate({"voice": "bella"}), timings=QUICK)

    await engine.run(asked(tmp_path, kind="speak", prompt="Hello."), reports)
    await engine.close()

    assert server.bodies[0]["voice"] == "bella"


async def test_speech_that_breaks_off_is_no_result(
    server: OpenAiDouble, engine: OpenAi, reports: KeptReports, tmp_path: Path
) -> None:
    server.faults.break_speech = True

    with pytest.raises(ServerUnreachableError):
        await engine.run(asked(tmp_path, kind="speak", prompt="Hello."), reports)


async def test_speech_without_a_sound_is_no_result(
    server: OpenAiDouble, engine: OpenAi, reports: KeptReports, tmp_path: Path
) -> None:
    server.sound = b""

    with pytest.raises(GenerationFailedError, match="without any sound"):
        await engine.run(asked(tmp_path, kind="speak", prompt="Hello."), reports)


async def test_an_error_with_status_200_is_no_speech(
    server: OpenAiDouble, engine: OpenAi, reports: KeptReports, tmp_path: Path
) -> None:
    server.faults.refuse = (200, {"error": "Unexpected endpoint or method. (POST /v1/audio/speech)"})

    with pytest.raises(CallMissingError, match="Unexpected endpoint") as failure:
        await engine.run(asked(tmp_path, kind="speak", prompt="Hello."), reports)

    assert failure.value.scope is FailureScope.HERE


# --- transcriptions --------------------------------------------------------------------------------------------------


async def test_a_transcript_has_text_times_and_subtitles(
    server: OpenAiDouble, engine: OpenAi, reports: KeptReports, tmp_path: Path
) -> None:
    inputs = {"kind": "transcribe", "language": "en", "initial_prompt": "Animals.", "word_timestamps": True}
    produced = await engine.run(asked(tmp_path, "whisper", files={"fox.wav": b"sound"}, **inputs), reports)

    files = {file.name: file.path.read_text() for file in produced.files}
    assert set(files) == {"text.txt", "segments.json", "subtitles.srt", "subtitles.vtt"}
    assert files["text.txt"] == "The fox sleeps.\n"
    assert "00:00:01,500 --> 00:00:02,500" in files["subtitles.srt"]
    assert [word["text"] for word in json.loads(files["segments.json"])[0]["words"]] == ["The", "fox"]
    assert produced.values == {"text": "The fox sleeps.", "language": "en", "duration_s": 2.5}
    assert server.bodies[0] == [
        ("model", "whisper"),
        ("response_format", "verbose_json"),
        ("prompt", "Animals."),
        ("language", "en"),
        ("timestamp_granularities[]", "segment"),
        ("timestamp_granularities[]", "word"),
        ("fox.wav", b"sound"),
    ]


async def test_a_transcript_without_times_is_text_alone(engine: OpenAi, reports: KeptReports, tmp_path: Path) -> None:
    work = asked(tmp_path, "whisper", files={"fox.wav": b"sound"}, kind="translate", segments=False)

    produced = await engine.run(work, reports)

    assert [file.name for file in produced.files] == ["text.txt"]
    assert produced.values["duration_s"] is None


@pytest.mark.parametrize("files", [{}, {"a.wav": b"1", "b.wav": b"2"}])
async def test_what_is_transcribed_is_one_file(
    server: OpenAiDouble, engine: OpenAi, reports: KeptReports, tmp_path: Path, files: dict[str, bytes]
) -> None:
    with pytest.raises(RequestRefusedError, match="exactly one audio file"):
        await engine.run(asked(tmp_path, "whisper", files=files, kind="transcribe"), reports)

    assert server.bodies == []


async def test_a_form_is_sent_anew_once_the_server_is_free(
    server: OpenAiDouble, reports: KeptReports, tmp_path: Path
) -> None:
    engine = OpenAi(server.url, timings=replace(QUICK, busy_s=20))
    server.faults.refuse = (503, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}})
    work = asked(tmp_path, "whisper", files={"fox.wav": b"sound"}, kind="transcribe")
    running = asyncio.create_task(engine.run(work, reports))
    await reports.noted("the server's queue is full")

    server.faults.refuse = None

    assert (await running).values["text"] == "The fox sleeps."
    await engine.close()


# --- images ----------------------------------------------------------------------------------------------------------


async def test_images_are_drawn_into_files_by_their_real_format(
    server: OpenAiDouble, engine: OpenAi, reports: KeptReports, tmp_path: Path
) -> None:
    server.images *= 2
    inputs = {"kind": "draw", "prompt": "a fox", "size": "64x64", "count": 2, "seed": 7, "extra": {"steps": 4}}

    produced = await engine.run(asked(tmp_path, "flux", **inputs), reports)

    assert [(file.name, file.media_type) for file in produced.files] == [
        ("image_01.png", "image/png"),
        ("image_02.png", "image/png"),
    ]
    assert produced.files[0].path.read_bytes() == PNG
    asked_for = {"model": "flux", "n": 2, "response_format": "b64_json", "size": "64x64", "seed": 7, "steps": 4}
    assert server.bodies == [{**asked_for, "prompt": "a fox"}]


async def test_stable_diffusion_cpp_gets_its_seed_inside_of_the_prompt(
    server: OpenAiDouble, engine: OpenAi, reports: KeptReports, tmp_path: Path
) -> None:
    await engine.run(asked(tmp_path, "sd-cpp-local", kind="draw", prompt="a fox", seed=7), reports)

    assert server.bodies[0]["prompt"] == 'a fox<sd_cpp_extra_args>{"seed": 7}</sd_cpp_extra_args>'
    assert "seed" not in server.bodies[0]


async def test_images_are_changed_by_a_text_and_a_mask(
    server: OpenAiDouble, engine: OpenAi, reports: KeptReports, tmp_path: Path
) -> None:
    files = {"fox.png": b"fox", "den.png": b"den", "mask.png": b"mask"}
    inputs = {"kind": "draw", "prompt": "at night", "images": ["fox.png", "den.png"], "mask": "mask.png"}

    await engine.run(asked(tmp_path, "flux", files=files, **inputs), reports)

    assert server.bodies[0] == [
        ("model", "flux"),
        ("n", "1"),
        ("response_format", "b64_json"),
        ("prompt", "at night"),
        ("image[]", ("fox.png", b"fox")),
        ("image[]", ("den.png", b"den")),
        ("mask", ("mask.png", b"mask")),
    ]


async def test_an_answer_larger_than_any_drawing_is_given_up(
    server: OpenAiDouble, engine: OpenAi, reports: KeptReports, tmp_path: Path
) -> None:
    server.images = [{"b64_json": "A" * LARGEST_DRAWING}]

    with pytest.raises(ServerAnswerError, match="larger than"):
        await engine.run(asked(tmp_path, "flux", kind="draw", prompt="a fox"), reports)


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ({"url": "http://elsewhere/1.png"}, "an address in place of the image"),
        ({}, "an empty image"),
        ({"b64_json": "!"}, "not base64"),
        ({"b64_json": "QUJD"}, "neither PNG, JPEG nor WebP"),
    ],
)
async def test_what_is_no_image_is_no_result(
    server: OpenAiDouble, engine: OpenAi, reports: KeptReports, tmp_path: Path, image: dict[str, str], problem: str
) -> None:
    server.images = [image]

    with pytest.raises(ServerAnswerError, match=problem):
        await engine.run(asked(tmp_path, "flux", kind="draw", prompt="a fox"), reports)


# --- chats, as far as a server differs from llama.cpp's --------------------------------------------------------------


async def test_speed_is_measured_where_the_server_does_not_report_it(
    engine: OpenAi, reports: KeptReports, tmp_path: Path
) -> None:
    produced = await engine.run(asked(tmp_path, "chat", prompt="one two three"), reports)

    assert produced.values["text"] == "one two three "
    assert (produced.values["prompt_tokens"], produced.values["completion_tokens"]) == (3, 3)
    assert produced.values["tokens_per_second"] > 0
    assert produced.values["first_token_s"] > 0
    assert set(reports.fractions) == {None}, "without `max_tokens` nobody knows how far it is"


async def test_cancelling_closes_the_connection(
    server: OpenAiDouble, engine: OpenAi, reports: KeptReports, tmp_path: Path
) -> None:
    server.hold()
    running = asyncio.create_task(engine.run(asked(tmp_path, "chat", prompt="one two"), reports))
    await server.until(lambda: server.writing == 1)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await server.until(lambda: server.writing == 0)


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "error", "scope"),
    [
        (404, {"error": {"message": "The model `x` does not exist."}}, ModelMissingError, FailureScope.WAIT),
        (404, {"detail": "Model 'x' is not installed locally."}, ModelMissingError, FailureScope.WAIT),
        (404, {"detail": "Not Found"}, CallMissingError, FailureScope.HERE),
        (405, {"detail": "Method Not Allowed"}, CallMissingError, FailureScope.HERE),
        (501, {"error": {"message": "This server does not support embeddings."}}, CallMissingError, FailureScope.HERE),
        (400, {"error": "prompt required"}, RequestRefusedError, FailureScope.TASK),
        (422, {"detail": [{"loc": ["body", "voice"], "msg": "Field required"}]}, RequestRefusedError, None),
        (401, {"error": {"message": "Invalid API Key"}}, ServerAnswerError, FailureScope.SLOT),
        (429, {"error": {"message": "Rate limit"}}, ServerBusyError, FailureScope.WAIT),
        (500, {"error": {"message": "image input is not supported"}}, RequestRefusedError, FailureScope.TASK),
        (500, {"error": {"message": "CUDA out of memory."}}, ServerOutOfMemoryError, FailureScope.ATTEMPT),
        (500, {"error": "server_error", "message": "it broke"}, GenerationFailedError, FailureScope.ATTEMPT),
        (502, {}, ServerUnreachableError, FailureScope.SLOT),
        (307, {}, ServerAnswerError, FailureScope.SLOT),
    ],
)
async def test_a_refusal_means_what_its_status_and_words_say(
    server: OpenAiDouble,
    engine: OpenAi,
    reports: KeptReports,
    tmp_path: Path,
    status: int,
    body: Any,
    error: type[EngineError],
    scope: FailureScope | None,
) -> None:
    server.faults.refuse = (status, body)

    with pytest.raises(error) as failure:
        await engine.run(asked(tmp_path, "chat", prompt="a"), reports)

    assert failure.value.where == server.url
    assert failure.value.scope is (scope or FailureScope.TASK)


async def test_fields_that_a_server_refuses_are_named(
    server: OpenAiDouble, engine: OpenAi, reports: KeptReports, tmp_path: Path
) -> None:
    server.faults.refuse = (422, {"detail": [{"loc": ["body", "voice"], "msg": "Field required"}]})

    with pytest.raises(RequestRefusedError, match="voice: Field required"):
        await engine.run(asked(tmp_path, kind="speak", prompt="a"), reports)


async def test_a_task_without_a_model_or_a_file_that_it_names_is_refused(
    engine: OpenAi, reports: KeptReports, tmp_path: Path
) -> None:
    with pytest.raises(RequestRefusedError, match="names no model"):
        await engine.run(asked(tmp_path, None, prompt="a"), reports)
    with pytest.raises(RequestRefusedError, match=r"did you mean `cat\.png`"):
        await engine.run(asked(tmp_path, prompt="a", images=["cta.png"], files={"cat.png": b"1"}), reports)


# --- models ----------------------------------------------------------------------------------------------------------


async def test_an_address_with_v1_is_the_same_server(server: OpenAiDouble) -> None:
    engine = OpenAi(f"{server.url}/v1/", timings=QUICK)

    assert [model.name for model in await engine.list_models()] == ["sd-cpp-local", "tts", "whisper"]
    await engine.check()
    await engine.close()


@pytest.mark.parametrize(
    ("owner", "models", "loaded", "resident"),
    [
        ("vllm", {"qwen": {}, "lora": {}}, None, ["qwen", "lora"]),
        ("llamacpp", {"m.gguf": {"aliases": ["m.gguf", "mini"]}}, None, ["m.gguf", "mini"]),
        ("llamacpp", {"a": {"status": {"value": "loaded"}}, "b": {"status": {"value": "unloaded"}}}, None, ["a"]),
        ("Systran", {"tiny": {}, "small": {}}, ["small"], ["small"]),
        ("someone", {"a": {}, "b": {}}, None, []),
    ],
    ids=["vllm", "llama-server", "llama-server-router", "speaches", "silent"],
)
async def test_only_what_a_server_says_is_in_memory(
    owner: str, models: dict[str, Any], loaded: list[str] | None, resident: list[str]
) -> None:
    async with OpenAiDouble(owner=owner, model_names=models, loaded=loaded) as server:
        engine = OpenAi(server.url, timings=QUICK)

        assert [held.model for held in await engine.resident()] == resident
        assert [model.name for model in await engine.list_models() if model.loaded] == sorted(resident)
        await engine.close()


@pytest.mark.parametrize(
    ("owner", "models", "loaded"),
    [("llamacpp", {"a": {"status": {"value": "loaded"}}}, None), ("Systran", {"a": {}}, ["a"])],
)
async def test_models_are_unloaded_where_the_server_has_a_way_to(
    owner: str, models: dict[str, Any], loaded: list[str] | None
) -> None:
    async with OpenAiDouble(owner=owner, model_names=models, loaded=loaded) as server:
        engine = OpenAi(server.url, timings=QUICK)
        assert await engine.can_unload()

        await engine.release()

        assert server.unloaded == ["a"]
        assert await engine.resident() == ()
        await engine.close()


@pytest.mark.parametrize("owner", ["vllm", "someone"])
async def test_server_without_a_way_to_unload_is_known_as_such(owner: str) -> None:
    async with OpenAiDouble(owner=owner, model_names={"a": {}}, loaded=None) as server:
        engine = OpenAi(server.url, timings=QUICK)

        assert not await engine.can_unload()
        await engine.close()


async def test_a_list_of_loaded_models_in_ollamas_shape_is_not_taken_for_the_other(server: OpenAiDouble) -> None:
    server.loaded = [{"name": "smol"}]  # type: ignore[list-item]  # as Ollama lists them
    engine = OpenAi(server.url, timings=QUICK)

    assert not await engine.can_unload()
    assert await engine.resident() == ()
    await engine.close()


async def test_a_server_without_a_list_of_models_is_one_all_the_same(server: OpenAiDouble, engine: OpenAi) -> None:
    server.faults.missing = frozenset({"/v1/models"})

    await engine.check()
    assert await engine.resident() == ()
    with pytest.raises(CallMissingError):
        await engine.list_models()


async def test_a_server_behind_a_token_is_asked_with_it(server: OpenAiDouble) -> None:
    server.token = "s3cret"
    allowed = OpenAi(server.url, credentials=Credentials(token_from="KEY", environment={"KEY": "s3cret"}))
    refused = OpenAi(server.url)

    await allowed.check()
    with pytest.raises(ServerAnswerError, match="refuses Corral with 403: Invalid API key") as failure:
        await refused.check()

    assert "tokenFrom" in (failure.value.hint or "")
    await allowed.close()
    await refused.close()


async def test_a_server_with_a_speech_protocol_of_its_own_speaks_under_its_own_name(
    tmp_path: Path, reports: KeptReports
) -> None:
    async with OpenAiDouble(speech_path="/tts") as server:
        options = OpenAiOptions.model_validate({"voice": "ada.wav", "language": "en"})
        engine = OpenAi(server.url, options=options, timings=QUICK)
        await engine.check()
        (model,) = await engine.list_models()
        async with engine.reach(model.name, lambda _: None) as endpoint:
            assert endpoint.translate_speech is not None
            guest = endpoint.translate_speech({"model": model.name, "input": "Hi.", "voice": "bo.wav"})

        produced = await engine.run(asked(tmp_path, model.name, kind="speak", prompt="Hello."), reports)
        with pytest.raises(RequestRefusedError, match="does not write 'mp3'"):
            await engine.run(asked(tmp_path, kind="speak", prompt="Hello.", format="mp3"), reports)
        await engine.close()

    assert model.name == "gpt-sovits"
    assert (guest.path, guest.body["ref_audio_path"]) == ("/tts", "bo.wav")
    (body,) = server.bodies
    assert body["text_lang"] == body["prompt_lang"] == "en"
    assert (body["text"], body["ref_audio_path"]) == ("Hello.", "ada.wav")
    assert [(file.name, file.media_type) for file in produced.files] == [("speech.wav", "audio/wav")]
