"""The models of an Ollama server: under which names one is in memory, and what it can do."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from corral.engines.http.client import Timings
from corral.engines.http.errors import RequestRefusedError, ServerAnswerError
from corral.engines.ollama.engine import Ollama
from corral.work import FailureScope, Work
from doubles.ollama import SIZE, OllamaDouble
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


def asked(scratch: Path, *, model: str = "smol:latest", **inputs: Any) -> Work:
    files = inputs.pop("files", {})
    return Work(
        attempt=uuid4(), task=1, engine="ollama", model=model, inputs=inputs, files=files, scratch=scratch, timeout_s=20
    )


async def test_a_model_is_in_memory_under_each_of_its_names(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    ollama.add_model("copy:latest", like="smol:latest")
    ollama.add_model("pirate:latest", like="smol:latest", system="You are a pirate.")

    await engine.run(asked(tmp_path, model="copy:latest", prompt="a"), reports)

    residents = {resident.model: resident.memory for resident in await engine.resident()}
    assert residents == {"copy:latest": SIZE, "smol:latest": None, "pirate:latest": None}


async def test_a_model_with_other_weights_is_not_in_memory(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    await engine.run(asked(tmp_path, prompt="a"), reports)

    assert [resident.model for resident in await engine.resident()] == ["smol:latest"]


@pytest.mark.parametrize(
    "inputs",
    [
        {"prompt": "what is this?", "images": ["cat.png"]},
        {"messages": [{"role": "user", "content": "what is this?", "images": ["cat.png"]}]},
    ],
)
async def test_images_to_a_model_that_does_not_see_are_refused(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path, inputs: dict[str, Any]
) -> None:
    image = tmp_path / "cat"
    image.write_bytes(b"\x89PNG")

    with pytest.raises(RequestRefusedError, match="smol:latest does not look at images; it can do: completion"):
        await engine.run(asked(tmp_path, files={"cat.png": image}, **inputs), reports)

    assert ollama.bodies == []


async def test_a_prompt_over_the_context_is_refused_and_cut_only_if_the_task_says_so(
    engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    with pytest.raises(RequestRefusedError, match="exceeds the context length"):
        await engine.run(asked(tmp_path, prompt="a b c d", options={"num_ctx": 3}), reports)

    cut = await engine.run(asked(tmp_path, prompt="a b c d", options={"num_ctx": 3}, truncate=True), reports)
    assert cut.values["text"] == "b c d "


async def test_a_model_that_is_listed_and_not_found_is_the_servers_trouble(
    ollama: OllamaDouble, engine: Ollama, reports: KeptReports, tmp_path: Path
) -> None:
    ollama.faults.refuse = (404, "model 'smol:latest' not found")

    with pytest.raises(ServerAnswerError, match="the server lists smol:latest") as failure:
        await engine.run(asked(tmp_path, prompt="a"), reports)

    assert failure.value.scope is FailureScope.SLOT
