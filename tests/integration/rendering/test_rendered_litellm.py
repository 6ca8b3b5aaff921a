"""What is rendered for LiteLLM, read by the real proxy, with doubles of Ollama and of a provider behind it.

The proxy is a program of its own with some hundred packages; it has a virtual environment below `.cache`, made once
from the lock file beside this one. Its version is the one of the image that is rendered.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from corral.operations.cluster_file import read_cluster
from corral.rendering.programs import LITELLM
from corral.rendering.targets import render_cluster
from doubles.environments import installed
from doubles.ollama import OllamaDouble
from doubles.ollama_models import HeldModel

LOCK = Path(__file__).with_name("litellm.lock")
in_one_loop = pytest.mark.asyncio(loop_scope="module")
MASTER_KEY = "sk-of-the-test"
CLUSTER = """\
apiVersion: corral/v1
name: routed
nodes:
  - {name: first, gpus: [{model: RTX 4090, index: 0}]}
  - {name: second, gpus: [{model: RTX 4090, index: 0}]}
gateway: {models: {"llama3:8b": {aliases: [llama3]}}}
services:
  - {name: ollama-a, engines: [ollama], gpus: 1, node: first, models: [smol, 'llama3:8b', nomic-embed-text],
     env: {OLLAMA_CONTEXT_LENGTH: "8192"}}
  - {name: ollama-b, engines: [ollama], gpus: 1, node: second, models: [smol, 'deepseek-r1:70b'],
     env: {OLLAMA_CONTEXT_LENGTH: "8192"}}
  - name: router
    kind: litellm
    routes:
      - {name: gpt-4, model: openai/gpt-4, keyFrom: OPENAI_API_KEY, insteadOf: ['llama3:8b', 'deepseek-r1:70b']}
"""


class ProviderDouble:
    """Stands for OpenAI's `/v1/chat/completions`, as far as LiteLLM needs it: an answer that says who wrote it.

    Taken from OpenAI's reference of the API; not checked against the real service.
    """

    def __init__(self) -> None:
        self.keys: list[str] = []

    async def __aenter__(self) -> ProviderDouble:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("Authorization", ""))
        body = await request.json()
        message = {"role": "assistant", "content": "the provider's answer"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}
        return web.json_response(
            {"id": "1", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice]}
            | {"usage": usage}
        )


@dataclass
class Proxy:
    """A running LiteLLM, and what is behind it."""

    url: str
    first: OllamaDouble
    second: OllamaDouble
    provider: ProviderDouble
    session: aiohttp.ClientSession = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    """Of the last answer."""

    async def ask(self, model: str, words: str = "hello there", **more: Any) -> tuple[int, Any]:
        body = {"model": model, "messages": [{"role": "user", "content": words}], **more}
        async with self.session.post(f"{self.url}/v1/chat/completions", json=body) as response:
            self.headers = response.headers
            return response.status, await response.json()


@pytest.fixture(scope="module")
def program() -> Path:
    """The real proxy, installed from the lock file where that has not been done yet."""
    return installed(LOCK, "litellm")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def proxy(program: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Proxy]:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(OllamaDouble())
        second = await stack.enter_async_context(OllamaDouble())
        provider = await stack.enter_async_context(ProviderDouble())
        first.models["llama3:8b"] = HeldModel(name="llama3:8b", weights="llama3")
        second.models = {"smol:latest": first.models["smol:latest"]}
        config = tmp_path_factory.mktemp("litellm") / "config.yaml"
        addresses = {"http://ollama-a:11434": first.url, "http://ollama-b:11434": second.url}
        config.write_text(_rendered(addresses))
        url = stack.enter_context(_started(program, config, provider.url))
        headers = {"Authorization": f"Bearer {MASTER_KEY}"}
        session = await stack.enter_async_context(aiohttp.ClientSession(headers=headers))
        yield Proxy(url=url, first=first, second=second, provider=provider, session=session)


def _rendered(addresses: dict[str, str]) -> str:
    """The file as it is rendered, with the names of the cluster's network turned into those of the doubles."""
    cluster = read_cluster(CLUSTER, name="cluster.yaml").cluster
    text = render_cluster(cluster, source="cluster.yaml", text=CLUSTER, only=["litellm"]).files[
        "litellm/all/config.yaml"
    ]
    for name, here in addresses.items():
        assert name in text
        text = text.replace(name, here)
    return text


@contextmanager
def _started(program: Path, config: Path, provider: str) -> Iterator[str]:
    """Run the proxy until the end of the tests; it serves from the line on that says so."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    settings = {
        "PATH": os.environ["PATH"],
        "HOME": str(config.parent),
        "LITELLM_MASTER_KEY": MASTER_KEY,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "OPENAI_API_KEY": "key-of-the-provider",
        "OPENAI_BASE_URL": provider,
    }
    command = [program, "--config", config, "--host", "127.0.0.1", "--port", str(port)]
    log = config.with_name("log")
    with log.open("w") as sink:
        running = subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert running.stdout is not None
        for line in running.stdout:
            sink.write(line)
            if "Uvicorn running on" in line:
                break
        else:
            raise AssertionError(f"LiteLLM ended with {running.wait()}: {log.read_text()[-4000:]}")
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            running.terminate()
            running.communicate(timeout=30)


def test_the_proxy_of_the_tests_is_the_one_of_the_image() -> None:
    version = LITELLM.rpartition(":v")[2]
    assert f"\nlitellm=={version} " in LOCK.read_text()


@in_one_loop
async def test_models_that_fit_are_offered_and_nothing_answers_for_others(proxy: Proxy) -> None:
    async with proxy.session.get(f"{proxy.url}/v1/models") as response:
        offered = {model["id"] for model in (await response.json())["data"]}
    assert offered == {"smol", "llama3:8b", "nomic-embed-text", "gpt-4", "llama3"}
    status, answer = await proxy.ask("deepseek-r1:70b")
    assert status == 400, answer
    assert not proxy.provider.keys
    assert all(body["model"] != "deepseek-r1:70b" for body in proxy.second.bodies)


@in_one_loop
async def test_a_request_is_answered_by_an_ollama_with_the_context_that_is_loaded(proxy: Proxy) -> None:
    status, answer = await proxy.ask("llama3:8b", "good morning")
    assert status == 200, answer
    assert answer["choices"][0]["message"]["content"] == "good morning"
    assert proxy.first.loads[-1] == ("llama3:8b", 8192)


@in_one_loop
async def test_a_model_is_known_by_the_other_names_that_the_file_gives_it(proxy: Proxy) -> None:
    status, answer = await proxy.ask("llama3", "good evening")
    assert status == 200, answer
    assert answer["choices"][0]["message"]["content"] == "good evening"
    assert proxy.headers["x-litellm-attempted-fallbacks"] == "0"


@in_one_loop
async def test_parameters_that_ollama_does_not_have_are_dropped(proxy: Proxy) -> None:
    status, answer = await proxy.ask("llama3:8b", logit_bias={"1": 2})
    assert status == 200, answer


@in_one_loop
async def test_words_come_as_they_are_written(proxy: Proxy) -> None:
    body = {"model": "llama3:8b", "messages": [{"role": "user", "content": "one two three"}], "stream": True}
    async with proxy.session.post(f"{proxy.url}/v1/chat/completions", json=body) as response:
        lines = [line async for line in response.content if line.startswith(b"data: {")]
    assert len(lines) >= 3


@in_one_loop
async def test_embeddings_have_their_own_route(proxy: Proxy) -> None:
    body = {"model": "nomic-embed-text", "input": "hello"}
    async with proxy.session.post(f"{proxy.url}/v1/embeddings", json=body) as response:
        answer = await response.json()
    assert len(answer["data"][0]["embedding"]) == 4, answer


@in_one_loop
async def test_one_ollama_of_a_group_answers_for_another_that_is_down(proxy: Proxy) -> None:
    proxy.first.faults.refuse = (500, "cuda error")
    try:
        for _ in range(20):  # who is asked first is drawn by chance
            status, answer = await proxy.ask("smol")
            assert status == 200, answer
        assert proxy.second.bodies
    finally:
        proxy.first.faults.refuse = None


@in_one_loop
async def test_the_provider_answers_when_no_ollama_does(proxy: Proxy) -> None:
    proxy.first.faults.refuse = (500, "cuda error")
    try:
        status, answer = await proxy.ask("llama3:8b")
    finally:
        proxy.first.faults.refuse = None
    assert status == 200, answer
    assert answer["choices"][0]["message"]["content"] == "the provider's answer"
    assert proxy.provider.keys[-1] == "Bearer key-of-the-provider"
    assert int(proxy.headers["x-litellm-attempted-fallbacks"]) > 0, "nothing says that a provider answered"


@in_one_loop
async def test_nobody_is_served_without_the_key(proxy: Proxy) -> None:
    body = {"model": "smol", "messages": [{"role": "user", "content": "hello"}]}
    async with (
        aiohttp.ClientSession() as stranger,
        stranger.post(f"{proxy.url}/v1/chat/completions", json=body) as response,
    ):
        assert response.status == 401
