"""llama.cpp on a real model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corral.engines.llama.chat import make_chat_request
from corral.engines.llama.worker import load_server
from corral.engines.worker.job import WorkerSettings
from corral.weights.store import Store
from corral.work import Engine, EngineError, TaskInvalidError
from doubles.local_engines import LLAMA, Remembering, a_work, running_below

QUESTION = "What is the capital of France? Answer in one short sentence."
SMALL = WorkerSettings(gpu=False, threads=1, options={"context_size": 512, "gpu_layers": 0})
INPUTS: dict[str, Any] = {
    "prompt": QUESTION,
    "messages": None,
    "system": "You know geography.",
    "max_tokens": 1,
    "temperature": 0.0,
    "top_p": 1.0,
    "stop": [],
    "seed": 1,
    "json_schema": None,
}


@pytest.fixture
def llama(engine: Callable[..., Engine]) -> Engine:
    return engine("llama", contextSize=1024)


async def test_question_is_answered(llama: Engine, tmp_path: Path, report: Remembering) -> None:
    work = a_work("llama", tmp_path, model=LLAMA, prompt=QUESTION, temperature=0.0, max_tokens=40)

    produced = await llama.run(work, report)

    assert "Paris" in produced.values["text"]
    assert (work.scratch / "text.txt").read_text() == produced.values["text"]
    assert produced.values["finish_reason"] in ("stop", "length")
    assert produced.values["tokens_per_second"] > 0
    assert produced.values["text"].startswith(report.shown[0][1].decode())


async def test_same_seed_writes_the_same_text_and_another_does_not(
    llama: Engine, tmp_path: Path, report: Remembering
) -> None:
    async def write(seed: int) -> str:
        asked = {"prompt": "Tell me a story.", "temperature": 1.0, "max_tokens": 24, "seed": seed}
        return (await llama.run(a_work("llama", tmp_path, model=LLAMA, **asked), report)).values["text"]

    first, other, again = await write(7), await write(8), await write(7)

    assert first == again
    assert first != other


def test_chat_template_of_the_model_is_applied(models: Store) -> None:
    """Asks the server that the worker uses for the prompt that it rendered; `__verbose` is llama.cpp's own switch."""
    server: Any = load_server(models.path(LLAMA), SMALL)

    request = make_chat_request(INPUTS) | {"stream": False, "verbose": True, "__verbose": True}
    del request["stream_options"]
    answer = server.handle_chat_completions(request)

    rendered = (
        "<|im_start|>system\nYou know geography.<|im_end|>\n"
        f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    )
    assert answer["__verbose"]["prompt"] == rendered


async def test_marks_of_the_template_count_as_tokens(llama: Engine, tmp_path: Path, report: Remembering) -> None:
    work = a_work("llama", tmp_path, model=LLAMA, prompt="Hi", system="Be kind.", max_tokens=1)

    produced = await llama.run(work, report)

    assert produced.values["prompt_tokens"] > 10  # three tokens of text alone


async def test_answer_follows_a_schema(llama: Engine, tmp_path: Path, report: Remembering) -> None:
    schema = {"type": "object", "properties": {"capital": {"enum": ["Paris", "Rome"]}}, "required": ["capital"]}

    work = a_work("llama", tmp_path, model=LLAMA, prompt=QUESTION, json_schema=schema, max_tokens=60)
    produced = await llama.run(work, report)

    assert json.loads(produced.values["text"])["capital"] in ("Paris", "Rome")


@pytest.mark.parametrize(
    ("asked", "reason"),
    [({"prompt": "word " * 3000}, "context size"), ({"prompt": "Hi", "json_schema": {"type": "wish"}}, "wish")],
)
async def test_impossible_request_is_the_tasks_fault(
    llama: Engine, tmp_path: Path, report: Remembering, asked: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TaskInvalidError, match=reason):
        await llama.run(a_work("llama", tmp_path, model=LLAMA, **asked), report)


async def test_cancel_is_obeyed_between_two_tokens_and_the_model_stays(
    llama: Engine, logs: Path, tmp_path: Path, report: Remembering
) -> None:
    await llama.run(a_work("llama", tmp_path, model=LLAMA, prompt="Hi", max_tokens=1), report)
    worker = {process.pid for process in running_below(logs)}
    endless = a_work("llama", tmp_path, model=LLAMA, prompt="Count.", temperature=5.0, max_tokens=100_000)

    report.under_way.clear()
    running = asyncio.create_task(llama.run(endless, report))
    await report.under_way.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert {process.pid for process in running_below(logs)} == worker
    assert [resident.model for resident in await llama.resident()] == [LLAMA]


async def test_nobody_can_reach_the_server_inside_the_worker(
    llama: Engine, logs: Path, tmp_path: Path, report: Remembering
) -> None:
    await llama.run(a_work("llama", tmp_path, model=LLAMA, prompt="Hi", max_tokens=1), report)

    (worker,) = running_below(logs)

    assert worker.net_connections("tcp") == []
    sockets = [Path(connection.laddr) for connection in worker.net_connections("unix") if connection.laddr]
    assert [path for path in sockets if path.exists()] == []


async def test_model_that_is_not_here_is_named_with_the_command_that_brings_it(
    llama: Engine, tmp_path: Path, report: Remembering
) -> None:
    with pytest.raises(TaskInvalidError) as raised:
        await llama.run(a_work("llama", tmp_path, model="absent", prompt="Hi"), report)

    assert "corral models" in (raised.value.hint or "")


def test_file_that_is_no_model_is_the_tasks_fault(tmp_path: Path) -> None:
    page = tmp_path / "model.gguf"
    page.write_bytes(b"<html>not found</html>")

    with pytest.raises(TaskInvalidError, match="not a GGUF file"):
        load_server(page, SMALL)


def test_damaged_model_fails_the_attempt(models: Store, tmp_path: Path) -> None:
    damaged = tmp_path / "model.gguf"
    damaged.write_bytes(models.path(LLAMA).read_bytes()[:100_000])

    with pytest.raises(EngineError, match=r"could not load 'model\.gguf'"):
        load_server(damaged, SMALL)


def test_context_size_reaches_llama_cpp(models: Store) -> None:
    chunks: list[dict[str, Any]] = []

    request = make_chat_request(INPUTS | {"prompt": "word " * 600})
    load_server(models.path(LLAMA), SMALL).handle_chat_completions(request, lambda chunk: bool(chunks.append(chunk)))

    assert "(512 tokens)" in chunks[0]["error"]["message"]
