"""OpenAI's own client, unchanged, in 40 calls against a real model on a real llama.cpp server."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI

from corral.weights.store import Store
from doubles.local_engines import LLAMA, real_models
from doubles.real_doors import SLOT, serving_llama

QUESTION = "What is the capital of France? Answer in one short sentence."
SCHEMA = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"]}


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="session")
def models() -> Store:
    return real_models()


async def test_forty_calls_of_the_official_client(models: Store, tmp_path: Path) -> None:
    async with (
        serving_llama(models, tmp_path) as door,
        AsyncOpenAI(base_url=door.url, api_key="any", max_retries=0, timeout=120) as client,
    ):
        await list_and_find(client)
        await write(client)
        await stream(client)
        await respond(client)
        await embed(client)
        await be_refused(client)
        await write_at_once(client)
    served = [served for served in door.usage.served if served.is_whole]
    assert len(served) == 27
    assert all(entry.tokens.prompt for entry in served)
    assert door.desk.open == 0


async def list_and_find(client: AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == [LLAMA]  # 1
    for name in (LLAMA, "smollm2", LLAMA.upper()):  # 2-4
        assert (await client.models.retrieve(name)).object == "model"


async def write(client: AsyncOpenAI) -> None:
    create = client.chat.completions.create
    answer = await create(model=LLAMA, messages=ask(QUESTION), max_tokens=24, temperature=0)  # 5
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 3
    short = await create(model="smollm2", messages=ask(QUESTION), max_completion_tokens=3)  # 6
    assert short.choices[0].finish_reason == "length"
    form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
    shaped = await create(model=LLAMA, messages=ask("A city as JSON."), response_format=form, max_tokens=40)  # 7
    assert isinstance(json.loads(shaped.choices[0].message.content or "")["city"], str)
    seeds = [await create(model=LLAMA, messages=ask("A word."), seed=seed, max_tokens=4) for seed in (1, 2, 1)]  # 8-10
    assert len({answer.id for answer in seeds}) == 3
    parts = [{"type": "text", "text": "Say hi."}]
    assert (await create(model=LLAMA, messages=[{"role": "user", "content": parts}], max_tokens=2)).choices  # 11
    stopped = await create(model=LLAMA, messages=ask("Count: one two three"), stop=["two"], max_tokens=20)  # 12
    assert "two" not in (stopped.choices[0].message.content or "")
    sure = {"max_tokens": 4, "temperature": 0}
    text = await client.completions.create(model=LLAMA, prompt="The capital of France is", **sure)  # 13
    assert "Paris" in text.choices[0].text
    raw = await client.chat.completions.with_raw_response.create(model=LLAMA, messages=ask("Hi"), max_tokens=1)  # 14
    assert raw.headers["x-corral-slot"] == SLOT


async def stream(client: AsyncOpenAI) -> None:
    create = client.chat.completions.create
    pieces = [
        chunk async for chunk in await create(model=LLAMA, messages=ask(QUESTION), stream=True, max_tokens=8)
    ]  # 15
    assert len([piece for piece in pieces if piece.choices and piece.choices[0].delta.content]) > 2
    assert all(piece.usage is None for piece in pieces)
    counted = [
        chunk
        async for chunk in await create(
            model=LLAMA, messages=ask(QUESTION), stream=True, stream_options={"include_usage": True}, max_tokens=8
        )  # 16
    ]
    assert counted[-1].usage is not None
    assert counted[-1].choices == []
    waited = await create(
        model=LLAMA, messages=ask("Hi"), stream=True, max_tokens=2, extra_headers={"X-Corral-Wait": "reasoning"}
    )  # 17
    assert [chunk async for chunk in waited]
    async with client.chat.completions.stream(
        model=LLAMA, messages=ask("Say the word hi."), stop=["."]
    ) as events:  # 18
        assert (await events.get_final_completion()).choices[0].message.content
    text = await client.completions.create(model=LLAMA, prompt="One, two,", max_tokens=3, stream=True)  # 19
    assert "".join([chunk.choices[0].text async for chunk in text if chunk.choices])
    left = await create(model=LLAMA, messages=ask("Tell a long story."), stream=True, max_tokens=500)  # 20
    await anext(aiter(left))
    await left.close()


async def respond(client: AsyncOpenAI) -> None:
    create = client.responses.create
    answer = await create(model=LLAMA, input=QUESTION, max_output_tokens=24, temperature=0)  # 21
    assert "Paris" in answer.output_text
    turns = [*ask("Say one."), {"role": "assistant", "content": "One."}, *ask("Say two.")]
    assert (await create(model=LLAMA, input=turns, max_output_tokens=4)).output_text  # 22
    assert (await create(model=LLAMA, input="Hi", instructions="Be short.", max_output_tokens=4)).output_text  # 23
    events = [event async for event in await create(model=LLAMA, input="Hi", max_output_tokens=3, stream=True)]  # 24
    assert [event.type for event in events][:2] == ["response.created", "response.in_progress"]
    assert events[-1].type == "response.completed"
    for refused in ({"store": True}, {"previous_response_id": "resp_1"}):  # 25-26
        with pytest.raises(openai.BadRequestError) as raised:
            await create(model=LLAMA, input="Hi", **refused)
        assert raised.value.param == next(iter(refused))


async def embed(client: AsyncOpenAI) -> None:
    vector = await client.embeddings.create(model=LLAMA, input="a fox")  # 27
    assert len(vector.data[0].embedding) == 576
    assert len((await client.embeddings.create(model=LLAMA, input=["a fox", "a pie"])).data) == 2  # 28


async def be_refused(client: AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await client.chat.completions.create(model="smollm3", messages=ask("Hi"))  # 29
    assert missing.value.code == "model_not_found"
    assert "did you mean" in missing.value.message
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-5")  # 30
    with pytest.raises(openai.NotFoundError):
        await client.moderations.create(input="Hi")  # 31
    for wrong in ({"messages": "no list"}, {"messages": ask("Hi"), "n": 2}):  # 32-33
        with pytest.raises(openai.BadRequestError) as raised:
            await client.chat.completions.create(model=LLAMA, **wrong)
        assert raised.value.type == "invalid_request_error"
    with pytest.raises(openai.BadRequestError):
        await client.chat.completions.create(model=LLAMA, messages=ask("a b c d " * 600))  # 34: beyond the context


async def write_at_once(client: AsyncOpenAI) -> None:
    answers = await asyncio.gather(
        *(
            client.chat.completions.create(model=LLAMA, messages=ask(f"Number {number}."), max_tokens=3)
            for number in range(6)  # 35-40
        )
    )
    assert all(answer.choices[0].message.content for answer in answers)
