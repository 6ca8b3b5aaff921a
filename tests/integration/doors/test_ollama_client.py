"""Ollama's own client, unchanged, in more than 40 calls: one Ollama over a real llama.cpp and an Ollama double."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from ollama import AsyncClient, ChatResponse, GenerateResponse, ResponseError

from corral import __version__
from corral.cluster.values import Cluster, EngineSettings, Instance, Node, QueueSettings
from corral.engines.building import Device, build
from corral.engines.ollama.engine import Ollama
from corral.slots.values import DeviceSpec, Wanted
from corral.weights.store import Store
from corral.work import SlotId
from doubles.local_engines import LLAMA, real_models
from doubles.ollama import OllamaDouble
from doubles.serving import Serving
from doubles.yard import Yard, make_slot
from integration.doors.conftest import Open

Json = Any
INSTANCE = SlotId("pc")
QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"]}
PNG = b64encode(b"\x89PNG\r\n\x1a\n-an image").decode()


@pytest.fixture(scope="session")
def models() -> Store:
    return real_models()


@pytest.fixture
async def double() -> AsyncIterator[OllamaDouble]:
    async with OllamaDouble() as double:
        yield double


@pytest.fixture
async def api(
    yard: Yard, open_house: Open, models: Store, double: OllamaDouble, tmp_path: Path
) -> AsyncIterator[Serving]:
    """A server with a real llama.cpp on its processor, and the double as an instance."""
    options = {"contextSize": 1024, "pooling": "mean"}
    llama = build("llama", device=Device(name="cpu0"), threads=2, options=options, locate=models.path, log_dir=tmp_path)
    here = SlotId("node/cpu0")
    devices = [DeviceSpec(name=name, node="node", provider=name, model="cpu") for name in (here, INSTANCE)]
    slots = (make_slot(here, llama), make_slot(INSTANCE, Ollama(double.url)))
    dispatcher = yard.start(wanted=Wanted(devices=tuple(devices), slots=slots))
    engines = {
        "llama": EngineSettings(name="llama", options=options),
        "ollama": EngineSettings(name="ollama", instances=(Instance(name="pc", url=double.url),)),
    }
    cluster = Cluster(
        name="test", nodes=(Node(name="node"),), engines=engines, queues={"default": QueueSettings(name="default")}
    )
    await yard.until_leading()
    parts = {"weights": models, "guests": dispatcher.guests, "refresh_models": yard.slots.refresh_models}
    async with open_house(cluster, **parts) as api:
        yield api


@pytest.fixture
def client(api: Serving) -> AsyncClient:
    return AsyncClient(host=api.url, timeout=120)


async def join_chat(stream: AsyncIterator[ChatResponse]) -> tuple[str, ChatResponse]:
    """Return all words of a streamed answer, and its last line."""
    lines = [line async for line in stream]
    return "".join(line.message.content or "" for line in lines), lines[-1]


async def join_text(stream: AsyncIterator[GenerateResponse]) -> tuple[str, GenerateResponse]:
    lines = [line async for line in stream]
    return "".join(line.response or "" for line in lines), lines[-1]


async def expect(status: int, words: str, call: Any) -> None:  # a coroutine of the client
    with pytest.raises(ResponseError, match=words) as caught:
        await call
    assert caught.value.status_code == status


async def test_client_of_ollama_reaches_both_kinds_of_servers(client: AsyncClient, double: OllamaDouble) -> None:
    listed = {model.model: model for model in (await client.list()).models}  # 1
    assert {LLAMA, "smol:latest", "llava:7b", "nomic-embed-text:latest"} <= listed.keys()
    assert all(len(model.digest or "") >= 12 for model in listed.values())
    assert listed["smol:latest"].details is not None
    assert (await client.ps()).models == []  # 2
    shown = await client.show("smol")  # 3
    assert (shown.modelinfo or {})["llama.context_length"] == 8192
    small = await client.show(LLAMA)  # 4: by the header of its file
    assert small.capabilities == ["completion"]
    assert (small.modelinfo or {})["llama.context_length"] == 1024, "the engine's, of 8,192 that it was trained for"
    assert small.details is not None
    assert (small.details.family, small.details.quantization_level) == ("llama", "Q4_1")
    await expect(404, "model 'smoll' not found.*smol", client.show("smoll"))  # 5
    assert double.loads == []
    await chat_with_llama(client)
    await generate_with_llama(client)
    await embed_with_llama(client)
    await use_the_double(client, double)
    assert {model.model for model in (await client.ps()).models} >= {LLAMA}  # 43


async def chat_with_llama(client: AsyncClient) -> None:
    answer = await client.chat(LLAMA, QUESTION, options={"temperature": 0, "num_predict": 24})  # 6
    assert "Paris" in (answer.message.content or "")
    assert (answer.done, answer.model) == (True, LLAMA)
    assert answer.eval_count
    assert answer.prompt_eval_count
    assert answer.total_duration
    words, last = await join_chat(
        await client.chat(LLAMA, QUESTION, stream=True, options={"temperature": 0, "num_predict": 24})  # 7
    )
    assert "Paris" in words
    assert (last.done, last.done_reason) == (True, "stop")
    assert last.eval_duration
    short = await client.chat(LLAMA, QUESTION, options={"num_predict": 3})  # 8
    assert (short.done_reason, short.eval_count) == ("length", 3)
    city = [{"role": "user", "content": "Name a city as JSON."}]
    shaped = await client.chat(LLAMA, city, format=SCHEMA, options={"num_predict": 40})  # 9
    assert isinstance(json.loads(shaped.message.content or "")["city"], str)
    assert (await client.chat(LLAMA, city, format="json", options={"num_predict": 4})).done  # 10
    stopped = await client.chat(LLAMA, QUESTION, options={"stop": ["France"], "num_predict": 24})  # 11
    assert "France" not in (stopped.message.content or "")
    seeded = [await client.chat(LLAMA, QUESTION, options={"seed": 7, "num_predict": 6}) for _ in range(2)]  # 12-13
    assert seeded[0].message.content == seeded[1].message.content
    alias = await client.chat("smollm2", QUESTION, options={"num_predict": 2}, keep_alive="5m", think=False)  # 14
    assert alias.model == "smollm2"
    loaded = await client.chat(LLAMA, [])  # 15
    assert (loaded.done_reason, loaded.message.content) == ("load", "")
    await expect(400, 'option "seed" must be of type integer', client.chat(LLAMA, QUESTION, options={"seed": "x"}))
    streams = [client.chat(LLAMA, QUESTION, stream=True, options={"num_predict": 4}) for _ in range(3)]  # 17-19
    for words, last in await asyncio.gather(*[join_chat(await stream) for stream in streams]):
        assert words
        assert last.done


async def generate_with_llama(client: AsyncClient) -> None:
    text = await client.generate(LLAMA, "Say hi.", system="Be short.", options={"num_predict": 4})  # 20
    assert text.response
    words, last = await join_text(
        await client.generate(LLAMA, "Say hi.", stream=True, options={"num_predict": 4})
    )  # 21
    assert words
    assert last.done
    sure = {"num_predict": 4, "temperature": 0}
    raw = await client.generate(LLAMA, "The capital of France is", raw=True, options=sure)  # 22
    assert "Paris" in (raw.response or "")
    assert (await client.generate(LLAMA)).done_reason == "load"  # 23
    assert (await client.generate(LLAMA, keep_alive=0)).done_reason == "unload"  # 24
    await expect(400, "`template` cannot be used", client.generate(LLAMA, "a", template="{{ .Prompt }}"))  # 25


async def embed_with_llama(client: AsyncClient) -> None:
    both = await client.embed(LLAMA, ["a fox", "a pie"])  # 26
    assert [len(vector) for vector in both.embeddings] == [576, 576]
    single = await client.embed(LLAMA, "a fox")  # 27
    assert list(single.embeddings[0])[:3] == pytest.approx(list(both.embeddings[0])[:3], abs=1e-3)
    assert len((await client.embeddings(LLAMA, "a fox")).embedding) == 576  # 28


async def use_the_double(client: AsyncClient, double: OllamaDouble) -> None:
    turn = [{"role": "user", "content": "one two three"}]
    answer = await client.chat("smol", turn, keep_alive="1h", options={"num_ctx": 2048})  # 29
    assert answer.message.content == "one two three"
    assert "keep_alive" not in double.bodies[-1]
    words, last = await join_chat(await client.chat("SMOL:latest", turn, stream=True))  # 30
    assert words.split() == ["one", "two", "three"]
    assert last.eval_count == 3
    thought = [line async for line in await client.chat("llava:7b", turn, stream=True, think=True)]  # 31
    assert thought[0].message.thinking == "hm"
    seen = [{"role": "user", "content": "what is this", "images": [PNG]}]
    await client.chat("llava:7b", seen)  # 32
    assert double.bodies[-1]["messages"][0]["images"] == [PNG]
    assert (await client.generate("smol", "four five", options={"num_predict": 1})).response == "four"  # 33
    assert len((await client.embed("nomic-embed-text", ["a", "b"])).embeddings) == 2  # 34
    await expect(404, "model 'nothing' not found", client.chat("nothing", turn))  # 35
    await expect(400, "does not support chat", client.chat("nomic-embed-text", turn))  # 36
    double.faults.error_after = (1, "out of memory")
    with pytest.raises(ResponseError, match="out of memory"):  # 37: after the first word
        await join_chat(await client.chat("smol", turn, stream=True))
    double.faults.error_after = None
    await client.copy("smol", "mine")  # 38
    steps = [step.status async for step in await client.create("short", from_="smol", system="Be short.", stream=True)]
    assert steps[-1] == "success"  # 39
    assert (await client.chat("short", turn)).message.content == "one two three"  # it can be used at once
    pulled = [step async for step in await client.pull("tiny", stream=True)]  # 40
    assert pulled[-1].status == "success"
    assert any(step.completed and step.total for step in pulled)
    assert {"mine:latest", "short:latest", "tiny:latest"} <= {model.model for model in (await client.list()).models}
    await client.delete("mine")  # 41
    assert "mine:latest" not in double.models
    await expect(404, "model 'mine' not found", client.delete("mine"))  # 42


async def test_changes_of_models_are_in_the_audit_log(client: AsyncClient, api: Serving, yard: Yard) -> None:
    await client.pull("tiny")
    await client.copy("tiny", "small")
    await client.delete("small")
    acts = (await api.get("/corral/v1/audit")).json["items"]
    assert [(act["action"], act["subject"]) for act in reversed(acts)] == [
        ("model_pulled", "tiny"),
        ("model_made", "small"),
        ("model_deleted", "small"),
    ]
    assert all(act["details"]["instance"] == "pc" for act in acts)


async def test_root_and_version_are_ollamas(api: Serving) -> None:
    assert (await api.call("HEAD", "/")).status == 200
    assert (await api.get("/api/version")).json == {"version": "0.17.4", "corral_version": __version__}
    missing = await api.get("/api/blobs")
    assert (missing.status, list(missing.json)) == (404, ["error"])


async def test_instance_that_is_a_corral_is_known_as_one(api: Serving, double: OllamaDouble) -> None:
    """What a Corral passed on is never passed to a third (`gateway.thirds`): two cannot send it to and fro."""
    marks: list[bool] = []
    for url in (api.url, double.url):
        engine = Ollama(url)
        await engine.check()
        async with engine.reach("smol", lambda _: None) as endpoint:
            marks.append(endpoint.is_corral)
        await engine.close()
    assert marks == [True, False]


async def test_lists_load_nothing_and_ask_no_server_again(api: Serving, double: OllamaDouble) -> None:
    await api.get("/api/tags")
    asked = len(double.headers)
    for _ in range(20):
        await api.get("/api/tags")
        await api.get("/api/ps")
    assert len(double.headers) - asked <= 4  # the dispatcher's own looks
    assert double.loads == []
