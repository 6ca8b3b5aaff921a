"""llama.cpp on a real model."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest

from corral.engines.building import Device, build
from corral.engines.llama.client import LlamaClient
from corral.engines.llama.engine import Llama
from corral.engines.llama.inputs import LlamaInputs, LlamaOptions
from corral.engines.llama.requests import make_chat_request
from corral.engines.machine_share import MachineShare
from corral.processes.restarts import RestartRules
from corral.weights.store import Store
from corral.work import Engine, EngineError, Produced, TaskInvalidError
from doubles.adapters import write_adapter
from doubles.local_engines import LLAMA, Remembering, a_work, running_below

QUESTION = "What is the capital of France? Answer in one short sentence."


def build_with(files: dict[str, Path], tmp_path: Path) -> Engine:
    """The engine as the server builds it, with models of its own."""
    return build(
        "llama",
        device=Device(name="cpu1"),
        threads=1,
        options={"contextSize": 512},
        locate=files.__getitem__,
        log_dir=tmp_path / "logs",
    )


def find_server(logs: Path) -> psutil.Process:
    return next(process for process in running_below(logs) if process.net_connections("tcp"))


def multiply(vector: list[float], other: list[float]) -> float:
    return sum(left * right for left, right in zip(vector, other, strict=True))


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


async def test_chat_template_of_the_model_is_applied(
    llama: Engine, logs: Path, tmp_path: Path, report: Remembering
) -> None:
    """Asks the server that the engine started for the prompt that it renders, with its own key."""
    inputs = {"prompt": QUESTION, "system": "You know geography.", "max_tokens": 1}
    await llama.run(a_work("llama", tmp_path, model=LLAMA, **inputs), report)

    server = find_server(logs)
    key, port = server.environ()["LLAMA_API_KEY"], server.cmdline()[server.cmdline().index("--port") + 1]
    client = LlamaClient(f"http://127.0.0.1:{port}", key=key)
    rendered = await client.ask("/apply-template", make_chat_request(LlamaInputs.model_validate(inputs), {}))
    await client.close()

    assert rendered["prompt"] == (
        "<|im_start|>system\nYou know geography.<|im_end|>\n"
        f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    )


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


async def test_other_programs_cannot_use_the_server(
    llama: Engine, logs: Path, tmp_path: Path, report: Remembering
) -> None:
    await llama.run(a_work("llama", tmp_path, model=LLAMA, prompt="Hi", max_tokens=1), report)

    listening = [
        connection.laddr
        for process in running_below(logs)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]

    ((address, port),) = listening
    assert address == "127.0.0.1"
    async with aiohttp.ClientSession() as session:
        for path in ("/v1/chat/completions", "/slots", "/props"):
            async with session.post(f"http://{address}:{port}{path}", json={"prompt": "Hi"}) as response:
                assert response.status == 401, path


async def test_model_that_is_not_here_is_named_with_the_command_that_brings_it(
    llama: Engine, tmp_path: Path, report: Remembering
) -> None:
    with pytest.raises(TaskInvalidError) as raised:
        await llama.run(a_work("llama", tmp_path, model="absent", prompt="Hi"), report)

    assert "corral models" in (raised.value.hint or "")


@pytest.mark.parametrize(
    ("content", "reason"), [(b"<html>not found</html>", "is not a GGUF file"), (None, "failed to read key-value pairs")]
)
async def test_file_that_cannot_be_loaded_is_the_tasks_fault_in_llama_cpps_own_words(
    llama: Engine, models: Store, tmp_path: Path, report: Remembering, content: bytes | None, reason: str
) -> None:
    damaged = tmp_path / "damaged.gguf"
    damaged.write_bytes(content or models.path(LLAMA).read_bytes()[:100_000])
    engine = build_with({"damaged": damaged}, tmp_path)

    with pytest.raises(TaskInvalidError, match=reason):
        await engine.run(a_work("llama", tmp_path, model="damaged", prompt="Hi"), report)

    await engine.close()


async def test_killed_server_fails_its_attempt_with_how_it_ended(
    llama: Engine, logs: Path, tmp_path: Path, report: Remembering
) -> None:
    endless = a_work("llama", tmp_path, model=LLAMA, prompt="Count.", temperature=5.0, max_tokens=100_000)
    running = asyncio.create_task(llama.run(endless, report))
    await report.under_way.wait()

    find_server(logs).kill()

    with pytest.raises(EngineError, match="killed by SIGKILL") as raised:
        await running
    assert type(raised.value) is EngineError  # an attempt's failure: not the task's, not the slot's


async def test_server_that_keeps_ending_is_out_of_use_until_another_model_was_loaded(
    models: Store, logs: Path, tmp_path: Path, report: Remembering
) -> None:
    share = MachineShare(device=Device(name="cpu1"), threads=1, locate=models.path, log_dir=logs)
    options = LlamaOptions.model_validate({"contextSize": 512})
    llama = Llama(share, options, rules=RestartRules(most_failures=2, first_wait_s=0.0))

    async def run(**asked: object) -> Produced:
        return await llama.run(a_work("llama", tmp_path, model=LLAMA, **asked), report)

    for _ in range(2):
        await run(prompt="Hi", max_tokens=1)
        server = find_server(logs)
        server.kill()
        psutil.wait_procs([server], timeout=10)
        while await llama.resident():  # noqa: ASYNC110 (its keeper ends after it)
            await asyncio.sleep(0.01)
    with pytest.raises(EngineError, match=r"failed 2 times in a row: .*SIGKILL") as refused:
        await run(prompt="Hi", max_tokens=1)
    embedded = await run(embed=["Hi"], pooling="mean")
    written = await run(prompt="Hi", max_tokens=1)
    await llama.close()

    assert type(refused.value) is EngineError  # the slot goes on with other models
    assert "another model" in str(refused.value.hint)
    assert embedded.files
    assert written.values["text"]


async def test_threads_are_few_and_reach_the_server(
    engine: Callable[..., Engine], logs: Path, tmp_path: Path, report: Remembering
) -> None:
    await engine("llama", threads=2).run(a_work("llama", tmp_path, model=LLAMA, prompt="Hi", max_tokens=1), report)

    words = find_server(logs).cmdline()

    assert words[words.index("--threads") + 1] == "2"


async def test_texts_become_vectors_that_are_near_where_they_mean_the_same(
    llama: Engine, tmp_path: Path, report: Remembering
) -> None:
    texts = ["a cat sleeps on the sofa", "a kitten naps on the couch", "the invoice is due on the first of March"]
    work = a_work("llama", tmp_path, model=LLAMA, embed=texts, pooling="mean")

    produced = await llama.run(work, report)

    (file,) = produced.files
    cat, kitten, invoice = json.loads(file.path.read_text())["embeddings"]
    assert (produced.values["embeddings"], produced.values["dimensions"]) == (3, 576)
    assert multiply(cat, kitten) > multiply(cat, invoice)


async def test_answer_follows_a_grammar(llama: Engine, tmp_path: Path, report: Remembering) -> None:
    asked = {"prompt": QUESTION, "grammar": 'root ::= "yes" | "no"', "top_k": 10, "min_p": 0.0, "repeat_penalty": 1.1}

    produced = await llama.run(a_work("llama", tmp_path, model=LLAMA, **asked), report)

    assert produced.values["text"] in ("yes", "no")


async def test_tools_that_the_models_template_would_drop_are_refused(
    llama: Engine, tmp_path: Path, report: Remembering
) -> None:
    clock = {"type": "function", "function": {"name": "clock", "description": "The time.", "parameters": {}}}
    work = a_work("llama", tmp_path, model=LLAMA, prompt="What time is it?", tools=[clock])

    with pytest.raises(TaskInvalidError, match="has no place for tools"):
        await llama.run(work, report)


async def test_adapter_changes_the_text_as_its_scale_says(models: Store, tmp_path: Path, report: Remembering) -> None:
    files = {LLAMA: models.path(LLAMA), "adapter": write_adapter(tmp_path / "adapter.gguf")}
    engine = build_with(files, tmp_path)

    async def write(*loras: dict[str, Any]) -> str:
        asked = {"prompt": QUESTION, "temperature": 0.0, "max_tokens": 12, "seed": 1, "loras": list(loras)}
        return (await engine.run(a_work("llama", tmp_path, model=LLAMA, **asked), report)).values["text"]

    plain, off, on = await write(), await write({"name": "adapter", "scale": 0.0}), await write({"name": "adapter"})
    await engine.close()

    assert off == plain
    assert on != plain


async def test_image_needs_a_projector_that_is_one(
    llama: Engine, models: Store, tmp_path: Path, report: Remembering
) -> None:
    (tmp_path / "cat.png").write_bytes(b"not read before the projector is")
    work = a_work(
        "llama",
        tmp_path,
        model=LLAMA,
        files={"cat.png": tmp_path / "cat.png"},
        prompt="What is this?",
        images=["cat.png"],
        mmproj=LLAMA,
    )

    with pytest.raises(TaskInvalidError, match="could not load"):
        await llama.run(work, report)
