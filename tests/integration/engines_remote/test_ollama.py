"""The Ollama engine against a double of a server, over real HTTP on loopback."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

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
from corral.engines.ollama.engine import Ollama
from corral.engines.ollama.errors import ServerTooOldError
from corral.engines.ollama.inputs import OllamaOptions
from corral.work import EngineError, FailureScope, Work
from doubles.ollama import SIZE, OllamaDouble, embedding
from doubles.remote_reports import KeptReports

QUICK = Timings(check_s=0.5, probe_s=0.1, busy_s=0.1, release_s=0.1, retry_s=0.01)


@pytest.fixture
async def ollama() -> AsyncIterator[OllamaDouble]:
    async with OllamaDouble() as double:
        yield double


@pytest.fixture
async def engine(ollama: OllamaDouble) -> AsyncIterator[Ollama]:
    engine = Ollama(ollama.url, timings=QUICK)
    yield engine
    await engine.close()


def asked(scratch: Path, *, model: str | None = "smol", timeout_s: float = 20, **inputs: Any) -> Work:
    files = inputs.pop("files", {})
    return Work(
        attempt=uuid4(),
        task=1,
        engine="ollama",
        model=model,
        inputs=inputs,
        files=files,
        scratch=scratch,
        timeout_s=timeout_s,
    )


async def test_a_chat_is_written_to_a_file_with_its_counts(
    engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    work = asked(tmp_path, messages=[{"role": "user", "content": "one two three"}])

    produced = await engine.run(work, reports)

    (file,) = produced.files
    assert (file.name, file.path.read_text()) == ("text.txt", "one two three ")
    assert produced.values["text"] == "one two three "
    assert produced.values["finish_reason"] == "stop"
    assert produced.values["completion_tokens"] == 3
    assert produced.values["tokens_per_second"] == 6.0
    assert produced.values["load_s"] == 0.25


async def test_a_prompt_is_continued_up_to_its_bound_and_says_so(
    engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    produced = await engine.run(asked(tmp_path, prompt="a b c d e", options={"num_predict": 4}), reports)

    assert produced.values["finish_reason"] == "length"
    assert reports.fractions[:4] == [0.25, 0.5, 0.75, 1.0]
    assert "3 tokens" in reports.notes
    assert reports.previews[0] == ("text/plain", b"a ")


async def test_without_a_bound_the_progress_is_unknown_until_the_end(
    engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    await engine.run(asked(tmp_path, prompt="a b"), reports)

    assert set(reports.fractions[:-1]) == {None}
    assert reports.fractions[-1] == 1.0


async def test_thoughts_are_kept_apart_from_the_answer(engine: Ollama, reports: KeptReports, tmp_path: Path) -> None:
    produced = await engine.run(asked(tmp_path, model="llava:7b", prompt="yes", think=True), reports)

    assert {file.name: file.path.read_text() for file in produced.files} == {"text.txt": "yes ", "thinking.txt": "hm"}


async def test_texts_become_one_vector_each(engine: Ollama, reports: KeptReports, tmp_path: Path) -> None:
    produced = await engine.run(asked(tmp_path, input=["fox", "heron"]), reports)

    content = json.loads(produced.files[0].path.read_text())
    assert content["embeddings"] == [embedding("fox"), embedding("heron")]
    assert (produced.values["embeddings"], produced.values["dimensions"]) == (2, 4)


async def test_images_are_sent_with_the_prompt(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    image = tmp_path / "cat"
    image.write_bytes(b"\x89PNG")

    await engine.run(
        asked(tmp_path, model="llava:7b", prompt="what?", images=["cat.png"], files={"cat.png": image}), reports
    )

    assert ollama.bodies[0]["images"] == [base64.b64encode(b"\x89PNG").decode()]


async def test_an_image_that_the_task_does_not_have_is_refused_with_the_one_it_has(
    engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    with pytest.raises(RequestRefusedError, match=r"did you mean `cat\.png`"):
        await engine.run(asked(tmp_path, prompt="?", images=["cta.png"], files={"cat.png": tmp_path}), reports)


async def test_every_request_to_an_instance_carries_its_context_size(
    ollama: OllamaDouble, reports: KeptReports, tmp_path: Path
) -> None:
    engine = Ollama(ollama.url, options=OllamaOptions.model_validate({"contextSize": 8192}), timings=QUICK)

    await engine.run(asked(tmp_path, prompt="a"), reports)
    await engine.run(asked(tmp_path, prompt="a", options={"num_ctx": 2048}), reports)
    await engine.run(asked(tmp_path, input="a"), reports)
    with pytest.raises(RequestRefusedError, match="9000"):
        await engine.run(asked(tmp_path, prompt="a", options={"num_ctx": 9000}), reports)
    await engine.close()

    assert ollama.loads == [("smol:latest", 8192)]


async def test_residents_carry_full_names_and_the_memory_of_the_gpu(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    ollama.on_gpu = SIZE // 2
    produced = await engine.run(asked(tmp_path, prompt="a"), reports)

    (resident,) = await engine.resident()

    assert (resident.model, resident.memory) == ("smol:latest", SIZE // 2)
    assert produced.values["spilled_bytes"] == SIZE - SIZE // 2


async def test_release_returns_once_no_model_is_loaded(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    await engine.run(asked(tmp_path, prompt="a"), reports)
    await engine.run(asked(tmp_path, model="llava:7b", prompt="a"), reports)

    await engine.release()

    assert ollama.loaded == {}
    assert await engine.resident() == ()


async def test_release_gives_up_on_a_server_that_keeps_its_models(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    ollama.faults.keeps_models = True
    await engine.run(asked(tmp_path, prompt="a"), reports)

    await engine.release()

    assert [resident.model for resident in await engine.resident()] == ["smol:latest"]


async def test_cancelling_ends_the_writing_on_the_server(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    ollama.hold()
    running = asyncio.create_task(engine.run(asked(tmp_path, prompt="a b"), reports))
    await ollama.until(lambda: ollama.writing == 1)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    await ollama.until(lambda: ollama.writing == 0)


async def test_kill_ends_a_request_that_hangs(ollama: OllamaDouble, reports: KeptReports, tmp_path: Path) -> None:
    engine = Ollama(ollama.url)  # with its own patience: only the kill can end the request so soon
    ollama.hold()
    running = asyncio.create_task(engine.run(asked(tmp_path, prompt="a b"), reports))
    await ollama.until(lambda: ollama.writing == 1)

    await engine.kill()

    with pytest.raises(ServerUnreachableError):
        await running
    await ollama.until(lambda: ollama.writing == 0)
    await ollama.proceed()
    assert (await engine.run(asked(tmp_path, prompt="again"), reports)).values["text"] == "again "
    await engine.close()


async def test_a_missing_model_waits_and_says_how_to_get_it(
    engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    with pytest.raises(ModelMissingError, match="llama9") as failure:
        await engine.run(asked(tmp_path, model="llama9", prompt="a"), reports)

    assert failure.value.scope is FailureScope.WAIT
    assert "ollama pull llama9" in (failure.value.hint or "")


@pytest.mark.parametrize(
    ("status", "message", "error", "scope"),
    [
        (400, "invalid option: tempertaure", RequestRefusedError, FailureScope.TASK),
        (404, "404 page not found", ServerAnswerError, FailureScope.SLOT),
        (401, "unauthorized", ServerAnswerError, FailureScope.SLOT),
        (413, "request entity too large", RequestRefusedError, FailureScope.TASK),
        (500, 'option "num_ctx" must be of type integer', RequestRefusedError, FailureScope.TASK),
        (500, "invalid JSON schema in format", RequestRefusedError, FailureScope.TASK),
        (502, "upstream", ServerUnreachableError, FailureScope.SLOT),
        (499, "cancelled", GenerationFailedError, FailureScope.ATTEMPT),
        (500, "llama runner process has terminated: exit status 2", GenerationFailedError, FailureScope.ATTEMPT),
        (500, "model requires more system memory (50 GiB) than is available", ServerOutOfMemoryError, None),
        (500, "CUDA error: out of memory", ServerOutOfMemoryError, FailureScope.ATTEMPT),
        (503, "server busy, please try again. maximum pending requests exceeded", ServerBusyError, FailureScope.WAIT),
    ],
)
async def test_a_refusal_means_what_its_status_says(
    ollama: OllamaDouble,
    engine: Ollama,
    reports: KeptReports,
    tmp_path: Path,
    status: int,
    message: str,
    error: type[EngineError],
    scope: FailureScope | None,
) -> None:
    ollama.faults.refuse = (status, message)

    with pytest.raises(error) as failure:
        await engine.run(asked(tmp_path, prompt="a"), reports)

    assert message in failure.value.what
    assert failure.value.where == ollama.url
    assert failure.value.scope is (scope or FailureScope.ATTEMPT)


async def test_an_error_in_mid_stream_fails_the_attempt(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    ollama.faults.error_after = (2, "an error was encountered while running the model: unexpected EOF")

    with pytest.raises(GenerationFailedError, match="unexpected EOF"):
        await engine.run(asked(tmp_path, prompt="a b c"), reports)


async def test_a_stream_that_ends_before_its_last_line_is_not_an_answer(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    ollama.faults.end_after = 2

    with pytest.raises(GenerationFailedError, match="broke off after 2 tokens"):
        await engine.run(asked(tmp_path, prompt="a b c"), reports)


async def test_a_connection_that_breaks_makes_the_server_unavailable(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    ollama.faults.break_after = 1

    with pytest.raises(ServerUnreachableError) as failure:
        await engine.run(asked(tmp_path, prompt="a b c"), reports)

    assert failure.value.scope is FailureScope.SLOT


async def test_something_that_is_not_ollama_is_told_apart(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    ollama.faults.not_json = True

    with pytest.raises(ServerAnswerError, match="not JSON"):
        await engine.run(asked(tmp_path, prompt="a"), reports)


async def test_a_server_that_is_not_there_is_unavailable(tmp_path: Path, reports: KeptReports) -> None:
    async with OllamaDouble() as gone:
        url = gone.url
    engine = Ollama(url, timings=QUICK)

    with pytest.raises(ServerUnreachableError, match="ollama serve"):
        await engine.check()
    with pytest.raises(ServerUnreachableError):
        await engine.run(asked(tmp_path, prompt="a"), reports)
    assert await engine.resident() == ()
    await engine.close()


@pytest.mark.parametrize(
    ("version", "refused"), [("0.2.8", True), ("", True), ("0.3.0", False), ("0.0.0", False), ("0.13.0-rc1", False)]
)
async def test_a_server_too_old_for_embeddings_is_refused(version: str, refused: bool) -> None:
    async with OllamaDouble(version=version) as ollama:
        engine = Ollama(ollama.url, timings=QUICK)
        try:
            if refused:
                with pytest.raises(ServerTooOldError, match="upgrade"):
                    await engine.check()
            else:
                await engine.check()
        finally:
            await engine.close()


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"prompt": "a", "input": "b"},
        {"kind": "embed", "prompt": "a"},
        {"prompt": "a", "temprature": 1},
        {"prompt": "a", "options": {"tempertaure": 1}},
        {"prompt": "a", "options": {"num_ctx": "4096"}},
        {"prompt": "a", "tools": [{"type": "function"}]},
        {"messages": [{"role": "narrator", "content": "x"}]},
    ],
)
async def test_inputs_that_do_not_fit_together_are_refused_before_anything_is_sent(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path, inputs: dict[str, Any]
) -> None:
    with pytest.raises(RequestRefusedError):
        await engine.run(asked(tmp_path, **inputs), reports)

    assert ollama.bodies == []


async def test_a_task_without_a_model_is_refused(engine: Ollama, reports: KeptReports, tmp_path: Path) -> None:
    with pytest.raises(RequestRefusedError, match="names no model"):
        await engine.run(asked(tmp_path, model=None, prompt="a"), reports)
