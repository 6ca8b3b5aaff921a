"""What Corral relies on in an Ollama server, asked of the double, or of the server at `CORRAL_TEST_OLLAMA`.

    CORRAL_TEST_OLLAMA=http://127.0.0.1:11434 pytest tests/contracts/test_ollama_contract.py

That server needs one small model for text without vision (`CORRAL_TEST_OLLAMA_MODEL` names it; else the smallest is
taken). The suite copies it under names that begin with `corral-contract` and removes them; it unloads what is loaded.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from corral.engines.building import build_remote
from corral.work import Work
from doubles.ollama import OllamaDouble
from doubles.remote_reports import KeptReports

Json = Any
SENTENCE = "The fox and the heron went to the river. "
SHORT = {"num_ctx": 128, "num_predict": 3, "temperature": 0}


@dataclass(frozen=True)
class Server:
    """A server, and a model for text on it."""

    url: str
    model: str
    session: aiohttp.ClientSession

    async def get(self, path: str) -> Json:
        async with self.session.get(self.url + path) as answer:
            assert answer.status == 200
            return await answer.json()

    async def ask(self, path: str, body: Json, method: str = "POST") -> tuple[int, Json]:
        """Send a request; return its status, and its JSON, or its lines if there are several."""
        async with self.session.request(method, self.url + path, json=body) as answer:
            text = await answer.text()
        lines = [json.loads(line) for line in text.splitlines()]
        return answer.status, lines[0] if len(lines) == 1 else lines

    async def ask_status(self, path: str, body: Json, method: str = "POST") -> int:
        async with self.session.request(method, self.url + path, json=body) as answer:
            return answer.status

    async def generate(self, **body: Json) -> tuple[int, Json]:
        asked = {"model": self.model, "prompt": "The fox", "stream": False, "options": SHORT} | body
        return await self.ask("/api/generate", asked)

    async def list_loaded(self) -> dict[str, Json]:
        return {model["name"]: model for model in (await self.get("/api/ps"))["models"]}


async def choose_model(url: str, session: aiohttp.ClientSession) -> str:
    chosen = os.environ.get("CORRAL_TEST_OLLAMA_MODEL")
    if chosen:
        return chosen
    async with session.get(f"{url}/api/tags") as answer:
        models = sorted((await answer.json())["models"], key=lambda model: model["size"])
    for model in models:
        async with session.post(f"{url}/api/show", json={"model": model["name"]}) as answer:
            if (await answer.json())["capabilities"] == ["completion"]:
                return model["name"]
    raise AssertionError(f"{url} has no model for text alone: `ollama pull smollm2:135m` there")


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with aiohttp.ClientSession() as session:
        url = os.environ.get("CORRAL_TEST_OLLAMA", "").rstrip("/")
        if url:
            yield Server(url, await choose_model(url, session), session)
            return
        async with OllamaDouble() as double:
            yield Server(double.url, await choose_model(double.url, session), session)


@pytest.fixture
async def alias(server: Server) -> AsyncIterator[str]:
    name = f"corral-contract-{uuid4().hex[:8]}:latest"
    assert (await server.ask_status("/api/copy", {"source": server.model, "destination": name})) == 200
    yield name
    await server.ask_status("/api/delete", {"model": name}, "DELETE")


async def unload(server: Server) -> None:
    for name in await server.list_loaded():
        await server.generate(model=name, prompt="", keep_alive=0)
    async with asyncio.timeout(60):
        while await server.list_loaded():
            pass


async def test_version_and_console_answer_at_once(server: Server) -> None:
    assert (await server.get("/api/version"))["version"].count(".") >= 2
    async with server.session.head(server.url + "/") as answer:
        assert answer.status == 200


async def test_an_unknown_path_is_a_404_that_does_not_look_like_a_missing_model(server: Server) -> None:
    async with server.session.get(server.url + "/api/nothing") as answer:
        assert (answer.status, await answer.text()) == (404, "404 page not found")


@pytest.mark.parametrize("path", ["/api/chat", "/api/generate", "/api/embed", "/api/show"])
async def test_a_missing_model_is_a_404_that_says_so(server: Server, path: str) -> None:
    body = {"model": "corral-contract-no-such", "prompt": "a", "input": "a", "messages": [{"role": "user"}]}

    status, answer = await server.ask(path, body)

    assert status == 404
    assert answer["error"].startswith(
        ("model 'corral-contract-no-such' not found", 'model "corral-contract-no-such" not')
    )


async def test_models_are_listed_with_full_names_sizes_and_digests(server: Server) -> None:
    listed = {model["name"]: model for model in (await server.get("/api/tags"))["models"]}

    model = listed[server.model]
    assert len(model["digest"]) == 64
    assert model["size"] > 0
    assert model["details"]["format"] == "gguf"


async def test_names_are_completed_and_compared_without_regard_to_case(server: Server, alias: str) -> None:
    short = alias.removesuffix(":latest")

    for name in (short, alias.upper(), f"library/{short}", f"registry.ollama.ai/library/{short}:latest"):
        status, shown = await server.ask("/api/show", {"model": name})
        assert (status, "completion" in shown["capabilities"]) == (200, True), name


async def test_a_model_says_what_it_can_do_and_which_weights_file_it_uses(server: Server, alias: str) -> None:
    _, shown = await server.ask("/api/show", {"model": server.model})
    _, copied = await server.ask("/api/show", {"model": alias})

    weights = [line for line in shown["modelfile"].splitlines() if line.startswith("FROM ")]
    assert "vision" not in shown["capabilities"]
    assert "sha256-" in weights[0]
    assert weights == [line for line in copied["modelfile"].splitlines() if line.startswith("FROM ")]


async def test_an_answer_is_streamed_by_lines_and_the_last_one_has_the_counts(server: Server) -> None:
    body = {"model": server.model, "messages": [{"role": "user", "content": SENTENCE}], "options": SHORT}
    async with server.session.post(server.url + "/api/chat", json=body) as answer:
        assert answer.content_type == "application/x-ndjson"
        lines = [json.loads(line) for line in (await answer.text()).splitlines()]

    *pieces, last = lines
    assert all(line["message"]["content"] and not line["done"] for line in pieces)
    assert (last["done"], last["done_reason"], last["eval_count"]) == (True, "length", 3)
    assert last["prompt_eval_count"] > 0
    assert last["eval_duration"] > 0


async def test_an_empty_prompt_loads_and_keep_alive_0_unloads(server: Server) -> None:
    await unload(server)

    _, loaded = await server.generate(prompt="")
    ((name, state),) = (await server.list_loaded()).items()
    _, unloaded = await server.generate(prompt="", keep_alive=0)

    assert (loaded["done_reason"], unloaded["done_reason"]) == ("load", "unload")
    assert name == server.model
    assert state["context_length"] == 128
    assert state["size"] >= state["size_vram"]
    await unload(server)


async def test_no_texts_to_embed_load_a_model_whatever_it_is_for(server: Server) -> None:
    await unload(server)

    body = {"model": server.model, "input": [], "options": {"num_ctx": 128}, "keep_alive": -1}
    status, answer = await server.ask("/api/embed", body)

    assert (status, answer["embeddings"]) == (200, [])
    assert list(await server.list_loaded()) == [server.model]
    await unload(server)


async def test_a_copy_has_the_digest_and_is_loaded_under_the_name_that_was_loaded_first(
    server: Server, alias: str
) -> None:
    await unload(server)
    listed = {model["name"]: model["digest"] for model in (await server.get("/api/tags"))["models"]}

    await server.generate(prompt="", model=alias)
    await server.generate(prompt="")

    assert listed[alias] == listed[server.model]
    assert [(name, state["digest"]) for name, state in (await server.list_loaded()).items()] == [(alias, listed[alias])]
    await unload(server)


async def test_a_model_made_from_another_one_has_a_digest_of_its_own_and_is_loaded_as_that_one(
    server: Server, alias: str
) -> None:
    await unload(server)
    derived = {"model": alias, "from": server.model, "system": "You are a pirate.", "stream": False}
    assert await server.ask_status("/api/create", derived) == 200
    listed = {model["name"]: model["digest"] for model in (await server.get("/api/tags"))["models"]}

    await server.generate(prompt="", model=alias)
    await server.generate(prompt="")

    assert listed[alias] != listed[server.model]
    assert list(await server.list_loaded()) == [alias]
    await unload(server)


async def test_the_adapter_writes_embeds_and_knows_every_name_in_memory(
    server: Server, alias: str, tmp_path: Path
) -> None:
    await unload(server)
    engine = build_remote("ollama", url=server.url, options={"contextSize": 128})
    asked = {"prompt": SENTENCE, "options": {"num_predict": 3}}
    work = Work(attempt=uuid4(), task=1, engine="ollama", model=alias, inputs=asked, scratch=tmp_path, timeout_s=600)
    reports = KeptReports()

    await engine.check()
    written = await engine.run(work, reports)
    embedded = await engine.run(replace(work, inputs={"input": ["fox", "heron"]}), reports)
    in_memory = {resident.model for resident in await engine.resident()}
    await engine.release()

    assert (written.values["completion_tokens"], written.values["finish_reason"]) == (3, "length")
    assert embedded.values["embeddings"] == 2
    assert in_memory >= {alias, server.model}
    assert await engine.resident() == ()
    await engine.close()


async def test_a_wrong_option_type_is_a_500_and_an_unknown_option_is_ignored(server: Server) -> None:
    status, answer = await server.generate(options={"num_ctx": "128"})
    ignored, _ = await server.generate(options=SHORT | {"tempertaure": "hot"})

    assert (status, answer["error"]) == (500, 'option "num_ctx" must be of type integer')
    assert ignored == 200


@pytest.mark.parametrize("form", ["yaml", 3, {"type": "no-such-type"}])
async def test_a_format_that_is_no_schema_is_refused_late_with_a_500(server: Server, form: Json) -> None:
    status, answer = await server.generate(format=form)

    assert status == 500
    assert answer["error"].startswith(("invalid format", "invalid JSON schema in format"))


async def test_a_prompt_over_the_context_is_cut_silently_unless_truncate_is_false(server: Server) -> None:
    cut, _ = await server.generate(prompt=SENTENCE * 100)
    refused, answer = await server.generate(prompt=SENTENCE * 100, truncate=False)
    messages = [{"role": "user", "content": SENTENCE * 100}]
    chat = {"model": server.model, "messages": messages, "options": SHORT, "truncate": False}
    refused_chat, of_chat = await server.ask("/api/chat", chat)

    assert cut == 200
    assert (refused, answer["error"]) == (400, "the input length exceeds the context length")
    assert (refused_chat, of_chat["error"]) == (400, "the input length exceeds the context length")


async def test_images_to_a_model_for_text_are_ignored_silently(server: Server) -> None:
    status, _ = await server.generate(images=["aGVsbG8="])

    assert status == 200


async def test_what_a_model_cannot_do_is_a_400(server: Server) -> None:
    thinking, of_thinking = await server.generate(think=True)
    inserting, of_inserting = await server.generate(suffix="end")

    assert (thinking, of_thinking["error"]) == (400, f'"{server.model}" does not support thinking')
    assert (inserting, "does not support insert" in of_inserting["error"]) == (400, True)


@pytest.mark.parametrize(("keep_alive", "status"), [("-1", 400), ("10", 400), ("-1s", 200), ("1h30m", 200), (5, 200)])
async def test_keep_alive_is_a_number_or_a_duration_with_units(server: Server, keep_alive: Json, status: int) -> None:
    assert (await server.generate(prompt="", keep_alive=keep_alive))[0] == status
    await unload(server)


async def test_texts_are_embedded_in_order(server: Server) -> None:
    model = os.environ.get("CORRAL_TEST_OLLAMA_MODEL_EMBED", server.model)
    body = {"model": model, "input": ["fox", "heron", "fox"], "options": {"num_ctx": 128}}
    status, answer = await server.ask("/api/embed", body)

    first, second, third = answer["embeddings"]
    assert status == 200
    assert first == pytest.approx(third, abs=1e-3)
    assert first != pytest.approx(second, abs=1e-3)
    assert sum(number * number for number in first) == pytest.approx(1, abs=1e-3)


async def test_texts_over_the_context_are_refused_when_truncate_is_false(server: Server) -> None:
    body = {"model": server.model, "input": [SENTENCE * 100], "truncate": False, "options": {"num_ctx": 128}}
    status, answer = await server.ask("/api/embed", body)

    assert (status, answer["error"]) == (400, "the input length exceeds the context length")


async def test_a_deleted_model_is_gone_and_deleting_it_again_is_a_404(server: Server, alias: str) -> None:
    assert await server.ask_status("/api/delete", {"model": alias}, "DELETE") == 200

    status, answer = await server.ask("/api/delete", {"model": alias}, "DELETE")

    assert (status, answer["error"]) == (404, f"model '{alias}' not found")
    assert alias not in [model["name"] for model in (await server.get("/api/tags"))["models"]]


async def test_a_pull_of_an_impossible_name_is_refused(server: Server) -> None:
    status, answer = await server.ask("/api/pull", {"model": "corral contract!"})

    assert (status, answer["error"]) == (400, "invalid model name")
