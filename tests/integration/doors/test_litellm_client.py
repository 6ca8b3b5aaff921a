"""LiteLLM as a client, and Open WebUI's calls, in 40 calls against a real model on a real llama.cpp server."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # read by its import, which else asks the internet for prices

import litellm

from corral.weights.store import Store
from doubles.local_engines import LLAMA, real_models
from doubles.real_doors import SLOT, serving_llama

pytestmark = pytest.mark.filterwarnings("ignore")  # its own models warn of their own fields

QUESTION = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
SYSTEM = {"role": "system", "content": "Be short."}
TURNS = [*QUESTION, {"role": "assistant", "content": "Paris."}, {"role": "user", "content": "And of Italy?"}]
OPTIONS: list[dict[str, Any]] = [
    {"seed": 7},
    {"temperature": 0.1},
    {"top_p": 0.5},
    {"stop": ["zebra"]},
    {"messages": [SYSTEM, *QUESTION]},
    {"messages": TURNS},
    {"frequency_penalty": 0.5},
    {"presence_penalty": 0.5},
    {"max_tokens": None, "max_completion_tokens": 3},
    {"n": 1},
    {"messages": [{"role": "user", "content": [{"type": "text", "text": "Say hi."}]}]},
    {"extra_body": {"top_k": 5, "min_p": 0.1}},
]
"""What clients set; the last are llama.cpp's own."""


@pytest.fixture(scope="session")
def models() -> Store:
    return real_models()


async def test_forty_calls_of_litellm_as_a_client(models: Store, tmp_path: Path) -> None:
    litellm.suppress_debug_info = True
    async with serving_llama(models, tmp_path) as door:

        async def ask(**more: Any) -> Any:  # its own answers, of several kinds
            asked = {"model": f"openai/{LLAMA}", "messages": QUESTION, "max_tokens": 4} | more
            return await litellm.acompletion(api_base=door.url, api_key="any", num_retries=0, timeout=120, **asked)

        answer = await ask(max_tokens=24, temperature=0)  # 1
        assert "Paris" in answer.choices[0].message.content
        assert answer.usage.completion_tokens > 3
        for options in OPTIONS:  # 2-13
            assert (await ask(**options)).choices[0].message.content
        logged = await ask(logprobs=True, top_logprobs=2)  # 14
        assert len(logged.choices[0].logprobs.content) == 4
        answers = await asyncio.gather(*(ask(user=f"person {number}") for number in range(5)))  # 15-19
        assert len({answer.id for answer in answers}) == 5
        for options in OPTIONS[:6]:  # 20-25
            pieces = [piece async for piece in await ask(stream=True, **options)]
            assert any(piece.choices[0].delta.content for piece in pieces)
        counted = [piece async for piece in await ask(stream=True, stream_options={"include_usage": True})]  # 26
        assert counted[-1].usage.completion_tokens == 4
        form = {"type": "json_object"}
        shaped = await ask(response_format=form, max_tokens=30)  # 27
        assert shaped.choices[0].message.content.lstrip().startswith("{")
        with_tools = await ask(tools=[TOOL], tool_choice="none")  # 28
        assert with_tools.choices[0].message.content
        for texts in (["a fox", "a pie"], ["a fox"], "a fox"):  # 29-31
            await embed(door.url, texts)
        for wrong in (f"openai/{LLAMA}-large", "openai/gpt-5"):  # 32-33
            with pytest.raises(litellm.NotFoundError, match="does not exist"):
                await ask(model=wrong)
        for count in (2, 3):  # 34-35
            with pytest.raises(litellm.BadRequestError):
                await ask(n=count)
        text = await litellm.atext_completion(
            model=f"text-completion-openai/{LLAMA}", prompt="One, two,", api_base=door.url, api_key="any", max_tokens=3
        )  # 36
        assert text.choices[0].text
        response = await litellm.aresponses(
            model=f"openai/{LLAMA}", input="Hi", api_base=door.url, api_key="any", max_output_tokens=3
        )  # 37
        assert response.output
        left = await ask(stream=True, max_tokens=500)  # 38
        await anext(aiter(left))
        await left.aclose()
        schema = {"type": "object", "properties": {"city": {"type": "string", "maxLength": 8}}, "required": ["city"]}
        form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
        formed = await ask(response_format=form, max_tokens=40)  # 39
        assert isinstance(json.loads(formed.choices[0].message.content)["city"], str)
        streamed: Any = await litellm.aresponses(
            model=f"openai/{LLAMA}", input="Hi", api_base=door.url, api_key="any", max_output_tokens=3, stream=True
        )  # 40
        assert [event.type async for event in streamed][-1] == "response.completed"
    assert door.desk.open == 0


async def embed(url: str, texts: list[str] | str) -> None:
    answer = await litellm.aembedding(
        model=f"openai/{LLAMA}", input=texts, api_base=url, api_key="any", encoding_format="float"
    )
    assert [len(entry["embedding"]) for entry in answer.data] == [576] * (1 if isinstance(texts, str) else len(texts))


async def test_calls_of_open_webui(models: Store, tmp_path: Path) -> None:
    """Its connection check lists models; its chats stream with fields that are its own, and stop when the user does."""
    async with serving_llama(models, tmp_path) as door, aiohttp.ClientSession() as session:
        async with session.get(f"{door.url}/models", headers={"Authorization": "Bearer any"}) as listed:
            assert [model["id"] for model in (await listed.json())["data"]] == [LLAMA]
        body = {
            "model": LLAMA,
            "messages": QUESTION,
            "stream": True,
            "stream_options": {"include_usage": True},
            "max_tokens": 6,
            "user": {"name": "Ada", "id": "1"},
        }
        async with session.post(f"{door.url}/chat/completions", json=body) as chat:
            assert chat.content_type == "text/event-stream"
            assert chat.headers["x-corral-slot"] == SLOT
            events = [line for line in (await chat.text()).split("\n\n") if line]
        assert events[-1] == "data: [DONE]"
        assert json.loads(events[-2].removeprefix("data: "))["usage"]["completion_tokens"] == 6
        titles = {**body, "stream": False, "messages": [{"role": "user", "content": "A title for this chat."}]}
        del titles["stream_options"]
        async with session.post(f"{door.url}/chat/completions", json=titles) as title:
            assert (await title.json())["choices"][0]["message"]["content"]
