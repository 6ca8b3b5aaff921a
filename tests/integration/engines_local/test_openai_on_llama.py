"""The `openai` engine on llama.cpp's own server, by URL, with a key and a real model."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from corral.engines.credentials import Credentials
from corral.engines.http.errors import RequestRefusedError
from corral.engines.llama.inputs import LlamaOptions
from corral.engines.llama.program import BUILTIN, Loading, list_arguments, make_environment
from corral.engines.openai.engine import OpenAi
from corral.engines.openai.errors import CallMissingError
from corral.processes.bounded_log import BoundedLog
from corral.processes.leftovers import MARK, make_mark
from corral.processes.server import Server, ServerProgram
from corral.weights.store import Store
from doubles.local_engines import LLAMA, Remembering, a_work

KEY = "a-key-of-the-server"
QUESTION = "What is the capital of France? Answer in one short sentence."


@pytest.fixture
async def url(request: pytest.FixtureRequest, models: Store, tmp_path: Path) -> AsyncIterator[str]:
    """A server with the small model; a test that asks for vectors parametrizes it with True."""
    embeds = getattr(request, "param", False)
    loading = Loading(model=models.path(LLAMA), embeds=embeds, pooling="mean" if embeds else None)
    options = LlamaOptions.model_validate({"contextSize": 512})
    program = ServerProgram(
        name="llama-server",
        command=lambda port: (
            *BUILTIN.command,
            *list_arguments(loading, options, name="small", lanes=2, gpu=False, threads=1, port=port),
        ),
        environment=lambda _port: make_environment({**os.environ, MARK: make_mark(tmp_path)}, key=KEY),
        health_path="/health",
        stop_grace_s=0.0,
    )
    server = Server(program, BoundedLog(tmp_path / "llama-server.log"))
    yield await server.ensure_ready(within_s=120)
    await server.stop()


@pytest.fixture
async def engine(url: str) -> AsyncIterator[OpenAi]:
    engine = OpenAi(f"{url}/v1", credentials=Credentials(token_from="KEY", environment={"KEY": KEY}))
    yield engine
    await engine.close()


def openai_work(tmp_path: Path, model: str, **inputs: Any) -> Any:
    return a_work("openai", tmp_path, model=model, **inputs)


async def test_a_question_is_answered_with_counts_and_speed(
    engine: OpenAi, tmp_path: Path, report: Remembering
) -> None:
    (resident,) = await engine.resident()
    work = openai_work(tmp_path, resident.model, prompt=QUESTION, temperature=0.0, max_tokens=40)

    await engine.check()
    produced = await engine.run(work, report)

    assert "Paris" in produced.values["text"]
    assert (work.scratch / "text.txt").read_text() == produced.values["text"]
    assert produced.values["completion_tokens"] > 3
    assert produced.values["tokens_per_second"] > 0
    assert produced.values["first_token_s"] > 0
    assert report.notes[-1][1].endswith("of at most 40 tokens")


async def test_the_model_is_listed_in_memory_with_its_size_and_context(engine: OpenAi, models: Store) -> None:
    (model,) = await engine.list_models()

    assert model.name == "small"
    assert model.parameters == "135M"
    assert model.size is not None
    assert 0 < model.size < models.path(LLAMA).stat().st_size
    assert model.loaded is not None
    assert model.loaded.context == 512


async def test_a_text_is_continued_and_an_answer_follows_a_schema(
    engine: OpenAi, tmp_path: Path, report: Remembering
) -> None:
    schema = {"type": "object", "properties": {"capital": {"enum": ["Paris", "Rome"]}}, "required": ["capital"]}

    counted = {"kind": "complete", "prompt": "One, two, three, four,", "max_tokens": 4, "temperature": 0.0}
    continued = await engine.run(openai_work(tmp_path, "any", **counted), report)
    formed = await engine.run(openai_work(tmp_path, "any", prompt=QUESTION, json_schema=schema, max_tokens=60), report)

    assert "five" in continued.values["text"]
    assert continued.values["finish_reason"] == "length"
    assert json.loads(formed.values["text"])["capital"] in ("Paris", "Rome")


@pytest.mark.parametrize("url", [True], indirect=True)
async def test_texts_become_one_vector_each(engine: OpenAi, tmp_path: Path, report: Remembering) -> None:
    produced = await engine.run(openai_work(tmp_path, "any", input=["a fox", "a heron", "a fox"]), report)

    first, second, third = json.loads(produced.files[0].path.read_text())["embeddings"]
    assert first == pytest.approx(third, abs=1e-3)
    assert first != pytest.approx(second, abs=1e-3)
    assert produced.values["dimensions"] == len(first) == 576
    assert produced.values["prompt_tokens"] > 0


async def test_what_the_server_does_not_do_is_tried_elsewhere_and_a_wrong_request_is_not(
    engine: OpenAi, tmp_path: Path, report: Remembering
) -> None:
    for inputs in ({"input": "a fox"}, {"kind": "speak", "prompt": "a fox"}, {"kind": "draw", "prompt": "a fox"}):
        with pytest.raises(CallMissingError):
            await engine.run(openai_work(tmp_path, "any", **inputs), report)
    with pytest.raises(RequestRefusedError, match="context size"):
        await engine.run(openai_work(tmp_path, "any", prompt="word " * 3000), report)


async def test_cancelling_ends_the_writing_on_the_server(
    engine: OpenAi, url: str, tmp_path: Path, report: Remembering
) -> None:
    work = openai_work(tmp_path, "any", prompt="Tell me a long story.", extra={"ignore_eos": True})
    running = asyncio.create_task(engine.run(work, report))
    await report.under_way.wait()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session, asyncio.timeout(20):
        while await _is_computing(session, url):
            pass


async def _is_computing(session: aiohttp.ClientSession, url: str) -> bool:
    async with session.get(f"{url}/slots") as answer:
        return any(slot["is_processing"] for slot in await answer.json())


async def test_a_llama_server_says_its_lanes(engine: OpenAi) -> None:
    assert await engine.count_lanes() == 2
