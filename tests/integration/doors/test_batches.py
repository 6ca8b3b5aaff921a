"""OpenAI's files and batches with the official client, over real tasks and a server that speaks OpenAI's protocol."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from corral.cluster.values import Cluster, EngineSettings, Instance, Node, QueueSettings
from corral.engines.building import Device, build
from corral.engines.http.client import Timings
from corral.engines.openai.engine import OpenAi
from corral.requests import KeyFields
from corral.tasks.store.tokens import create_token
from corral.tasks.store.usage import count_ended_tasks, list_usage
from doubles.local_engines import LLAMA, real_models
from doubles.openai_server import OpenAiDouble
from doubles.serving import Serving
from doubles.yard import Yard
from integration.doors.conftest import Open

QUICK = Timings(check_s=1, probe_s=1, busy_s=0.05, retry_s=0.01)
CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"


def a_chat(custom_id: str, model: str = "qwen", **more: Any) -> dict[str, Any]:
    body = {"model": model, "messages": [{"role": "user", "content": f"say {custom_id}"}], **more}
    return {"custom_id": custom_id, "method": "POST", "url": CHAT, "body": body}


def write_lines(lines: Sequence[Any]) -> io.BytesIO:
    file = io.BytesIO("".join(f"{json.dumps(line)}\n" for line in lines).encode())
    file.name = "requests.jsonl"
    return file


@dataclass
class Batches:
    """The official client, with the steps of a batch."""

    client: openai.AsyncOpenAI

    async def submit(self, lines: Sequence[Any], **more: Any) -> openai.types.Batch:
        file = await self.client.files.create(file=write_lines(lines), purpose="batch")
        asked: dict[str, Any] = {"endpoint": CHAT, "completion_window": "24h", **more}
        return await self.client.batches.create(input_file_id=file.id, **asked)

    async def wait(self, batch: openai.types.Batch, *statuses: str) -> openai.types.Batch:
        wanted = statuses or ("completed", "failed", "cancelled", "expired")
        async with asyncio.timeout(60):
            while batch.status not in wanted:
                await asyncio.sleep(0.1)
                batch = await self.client.batches.retrieve(batch.id)
        return batch

    async def read(self, file: str | None) -> dict[str, Any]:
        """Return the lines of a file by their `custom_id`."""
        if file is None:
            return {}
        content = await self.client.files.content(file)
        lines = [json.loads(line) for line in content.text.splitlines()]
        by_id = {line["custom_id"]: line for line in lines}
        assert len(by_id) == len(lines), "every request is answered once"
        return by_id


@dataclass
class House(Batches):
    """A house with one server that speaks OpenAI's protocol, and the official client of its door."""

    api: Serving
    yard: Yard
    server: OpenAiDouble


@pytest.fixture
async def house(yard: Yard, open_house: Open) -> AsyncIterator[House]:
    async with OpenAiDouble(model_names={"qwen": {}}) as server:
        cluster = Cluster(
            name="test",
            nodes=(),
            engines={"openai": EngineSettings(name="openai", instances=(Instance(name="one", url=server.url),))},
            queues={"default": QueueSettings(name="default")},
        )
        yard.start(OpenAi(server.url, timings=QUICK))
        async with open_house(cluster) as api:
            client = openai.AsyncOpenAI(base_url=f"{api.url}/v1", api_key="corral_local", max_retries=0)
            yield House(client, api, yard, server)
            await client.close()


async def test_example_of_the_official_client_runs_unchanged(house: House) -> None:
    client = house.client
    batch_input_file = await client.files.create(file=write_lines([a_chat("a"), a_chat("b")]), purpose="batch")
    batch = await client.batches.create(
        input_file_id=batch_input_file.id,
        endpoint="/v1/chat/completions",
        completion_window="24h",
        metadata={"description": "nightly eval job"},
    )
    assert batch.status == "validating"
    batch = await house.wait(batch)

    assert (batch.status, batch.errors, batch.error_file_id) == ("completed", None, None)
    assert batch.request_counts is not None
    assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (2, 2, 0)
    assert batch.metadata == {"description": "nightly eval job"}
    instants = (batch.created_at, batch.in_progress_at, batch.finalizing_at, batch.completed_at)
    assert sorted(instant or 0 for instant in instants) == list(instants)
    answers = await house.read(batch.output_file_id)
    assert set(answers) == {"a", "b"}
    answer = answers["a"]
    assert (answer["error"], answer["response"]["status_code"]) == (None, 200)
    completion = ChatCompletion.model_validate(answer["response"]["body"])
    assert completion.model == "qwen"
    assert completion.choices[0].message.content
    assert completion.usage is not None
    assert [entry.id async for entry in client.batches.list()] == [batch.id]


async def test_real_model_answers_a_batch_and_embeds_another(yard: Yard, open_house: Open, tmp_path: Path) -> None:
    models = await asyncio.to_thread(real_models)
    options = {"contextSize": 512, "pooling": "mean"}
    llama = build("llama", device=Device(name="cpu0"), threads=2, options=options, locate=models.path, log_dir=tmp_path)
    yard.start(llama)
    queues = {"default": QueueSettings(name="default")}
    cluster = Cluster(
        name="test", nodes=(Node(name="node"),), engines={"llama": EngineSettings(name="llama")}, queues=queues
    )
    sure: dict[str, Any] = {"model": LLAMA, "max_tokens": 16, "temperature": 0}
    question = "What is the capital of France? Answer in one short sentence."
    chats = [a_chat("france", **sure), a_chat("other", **sure)]
    chats[0]["body"]["messages"] = [{"role": "user", "content": question}]
    texts = {"one": "a fox", "two": ["a fox", "a pie"]}
    vectors = [
        {"custom_id": name, "method": "POST", "url": EMBEDDINGS, "body": {"model": LLAMA, "input": text}}
        for name, text in texts.items()
    ]
    async with open_house(cluster, weights=models) as api:
        client = openai.AsyncOpenAI(base_url=f"{api.url}/v1", api_key="corral_local", max_retries=0)
        batches = Batches(client)
        written = await batches.wait(await batches.submit(chats))
        embedded = await batches.wait(await batches.submit(vectors, endpoint=EMBEDDINGS))
        answers, rows = await batches.read(written.output_file_id), await batches.read(embedded.output_file_id)
        await client.close()

    said = answers["france"]["response"]["body"]
    assert "Paris" in said["choices"][0]["message"]["content"]
    assert said["usage"]["completion_tokens"] > 3
    assert set(answers) == {"france", "other"}
    first = rows["one"]["response"]["body"]["data"]
    both = rows["two"]["response"]["body"]["data"]
    assert [len(entry["embedding"]) for entry in (*first, *both)] == [576, 576, 576]
    assert both[0]["embedding"] == pytest.approx(first[0]["embedding"], abs=1e-3)


async def test_responses_are_translated_to_chats_and_back(house: House) -> None:
    lines = [
        {"custom_id": name, "method": "POST", "url": "/v1/responses", "body": {"model": "qwen", "input": "say", **more}}
        for name, more in (("a", {"instructions": "Be short."}), ("stored", {"previous_response_id": "resp_1"}))
    ]
    batch = await house.wait(await house.submit(lines, endpoint="/v1/responses"))
    answer = (await house.read(batch.output_file_id))["a"]["response"]["body"]
    response = Response.construct(**answer)  # as the client reads answers
    assert response.output_text.strip() == "say"
    assert response.usage is not None
    assert house.server.bodies[-1]["messages"][0] == {"role": "system", "content": "Be short."}
    refused = (await house.read(batch.error_file_id))["stored"]["response"]
    assert (refused["status_code"], refused["body"]["error"]["param"]) == (400, "previous_response_id")


async def test_line_that_cannot_be_done_fails_alone_with_its_custom_id(house: House) -> None:
    lines = [
        a_chat("good"),
        a_chat("unknown", model="gpt-9"),
        {**a_chat("elsewhere"), "url": "/v1/embeddings"},
        {**a_chat("get"), "method": "GET"},
        {"custom_id": "bodiless", "method": "POST", "url": CHAT, "body": "x"},
        a_chat("streams", stream=True),
        a_chat("several", n=3),
        a_chat("hot", temperature=99),
        a_chat("none", messages=[]),
        {
            **a_chat("picture"),
            "body": {"model": "qwen", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        },
        a_chat("nul", messages=[{"role": "user", "content": "a\x00b"}]),
    ]
    batch = await house.wait(await house.submit(lines))
    assert batch.status == "completed"
    assert batch.request_counts is not None
    assert (batch.request_counts.completed, batch.request_counts.failed) == (1, len(lines) - 1)
    assert set(await house.read(batch.output_file_id)) == {"good"}
    refused = await house.read(batch.error_file_id)
    assert list(refused) == [line["custom_id"] for line in lines[1:]]
    statuses = {name: line["response"]["status_code"] for name, line in refused.items()}
    assert statuses.pop("unknown") == 404
    assert set(statuses.values()) == {400}
    assert refused["unknown"]["response"]["body"]["error"]["code"] == "model_not_found"
    assert "`n` cannot be 3" in refused["several"]["response"]["body"]["error"]["message"]
    assert refused["hot"]["response"]["body"]["error"]["param"] == "temperature"


@pytest.mark.parametrize(
    ("lines", "reason", "line"),
    [
        ([], "empty_file", None),
        ([a_chat("a"), a_chat("b"), a_chat("a")], "duplicate_custom_id", 3),
        ([a_chat("a"), {"method": "POST"}], "missing_required_parameter", 2),
        (["text"], "missing_required_parameter", 1),
    ],
)
async def test_file_whose_lines_cannot_be_told_apart_fails_as_a_whole(
    house: House, lines: Sequence[Any], reason: str, line: int | None
) -> None:
    batch = await house.wait(await house.submit(lines))
    assert batch.status == "failed"
    assert batch.errors is not None
    assert batch.errors.data is not None
    (error,) = batch.errors.data
    assert (error.code, error.line) == (reason, line)
    assert house.server.bodies == []


async def test_file_that_is_not_json_fails_with_the_line(house: House) -> None:
    file = await house.client.files.create(file=("x.jsonl", b'{"custom_id": "a"}\nnot json\n'), purpose="batch")
    batch = await house.client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
    batch = await house.wait(batch)
    assert batch.errors is not None
    assert batch.errors.data is not None
    assert [(error.code, error.line) for error in batch.errors.data] == [("invalid_json_line", 2)]


async def test_failed_request_is_in_the_error_file(house: House) -> None:
    house.server.faults.refuse = (400, {"error": {"message": "the prompt is too long"}})
    batch = await house.wait(await house.submit([a_chat("a")]))
    assert (batch.status, batch.output_file_id) == ("completed", None)
    line = (await house.read(batch.error_file_id))["a"]
    assert line["response"]["status_code"] == 500
    assert "too long" in line["response"]["body"]["error"]["message"]


async def test_cancelled_batch_keeps_what_was_done_and_names_the_rest(house: House) -> None:
    await house.yard.stop()
    batch = await house.submit([a_chat("a"), a_chat("b")])
    batch = await house.wait(batch, "in_progress", "validating")
    cancelling = await house.client.batches.cancel(batch.id)
    assert cancelling.status == "cancelling"
    house.yard.start(OpenAi(house.server.url, timings=QUICK))
    batch = await house.wait(batch)
    assert batch.status == "cancelled"
    assert batch.cancelled_at is not None
    undone = await house.read(batch.error_file_id)
    assert {line["error"]["code"] for line in undone.values()} <= {"batch_cancelled"}
    with pytest.raises(openai.ConflictError):
        await house.client.batches.cancel(batch.id)


async def test_files_are_listed_shown_read_and_deleted_by_their_owner_alone(house: House) -> None:
    client = house.client
    first, second = [await client.files.create(file=write_lines([a_chat(name)]), purpose="batch") for name in "ab"]
    assert [file.id async for file in client.files.list()] == [second.id, first.id]
    assert [file.id async for file in client.files.list(order="asc", limit=1)] == [first.id, second.id]
    assert (await client.files.retrieve(first.id)).filename == "requests.jsonl"
    assert json.loads((await client.files.content(first.id)).text)["custom_id"] == "a"
    _, secret = await create_token(house.yard.pool, name="bob", role="submitter")
    async with openai.AsyncOpenAI(base_url=str(client.base_url), api_key=secret, max_retries=0) as other:
        with pytest.raises(openai.NotFoundError):
            await other.files.retrieve(first.id)
        with pytest.raises(openai.NotFoundError):
            await other.batches.create(input_file_id=first.id, endpoint=CHAT, completion_window="24h")
    assert (await client.files.delete(first.id)).deleted
    with pytest.raises(openai.NotFoundError):
        await client.files.content(first.id)
    with pytest.raises(openai.BadRequestError, match="purpose"):
        await client.files.create(file=write_lines([]), purpose="fine-tune")
    with pytest.raises(openai.BadRequestError, match="endpoint"):
        await house.submit([a_chat("a")], endpoint="/v1/moderations")


async def test_key_that_cannot_use_a_model_has_its_lines_refused_and_its_usage_counted(house: House) -> None:
    house.server.model_names["other"] = {}
    fields = KeyFields(owner="ada", models=["qwen"])
    _, secret = await create_token(house.yard.pool, name="ada-night", role="submitter", fields=fields)
    async with openai.AsyncOpenAI(base_url=str(house.client.base_url), api_key=secret, max_retries=0) as client:
        ada = House(client, house.api, house.yard, house.server)
        batch = await ada.wait(await ada.submit([a_chat("mine"), a_chat("not mine", model="other")]))
        assert set(await ada.read(batch.output_file_id)) == {"mine"}
        refused = await ada.read(batch.error_file_id)
    assert refused["not mine"]["response"]["status_code"] == 403
    await count_ended_tasks(house.yard.pool)
    lines = await list_usage(house.yard.pool, by=None)
    assert [(line.key, line.owner, line.model) for line in lines] == [("ada-night", "ada", "qwen")]
