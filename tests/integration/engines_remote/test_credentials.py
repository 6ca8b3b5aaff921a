"""A token towards an instance: from the environment into the request, and nowhere else."""

from __future__ import annotations

import pytest
from aiohttp import web

from corral.cluster.values import Cluster, EngineSettings, Instance, Node
from corral.engines.building import build_remote
from corral.engines.comfyui.client import ComfyClient, Timings
from corral.engines.comfyui.errors import InstanceUnreachableError
from corral.engines.comfyui.installed import look
from corral.engines.credentials import Credentials, SecretMissingError
from corral.engines.servers.directory import Directory
from corral.operations.hosted_models import list_hosted_models
from corral.work import EngineUnavailableError
from doubles.comfyui import ComfyDouble
from doubles.ollama import OllamaDouble

SECRET = "s3cret-of-the-gpu-room"
ENVIRONMENT = {"GPU_ROOM": SECRET, "TENANT": "aurora"}
GIVEN = Credentials(token_from="GPU_ROOM", headers_from={"X-Tenant": "TENANT"}, environment=ENVIRONMENT)


def test_a_secret_is_not_in_what_is_printed_of_its_instance() -> None:
    assert SECRET not in repr(GIVEN)
    assert GIVEN.make_headers() == {"Authorization": f"Bearer {SECRET}", "X-Tenant": "aurora"}


@pytest.mark.parametrize("value", ["", "two\r\nlines"])
def test_a_variable_without_a_secret_is_named_and_its_value_is_not(value: str) -> None:
    credentials = Credentials(token_from="GPU_ROOM", environment={"GPU_ROOM": value})

    with pytest.raises(SecretMissingError, match="the environment variable GPU_ROOM") as failure:
        credentials.make_headers()

    assert "lines" not in str(failure.value)


async def test_an_ollama_server_behind_a_token_answers_only_with_it() -> None:
    async with OllamaDouble() as ollama:
        ollama.token = SECRET
        allowed = build_remote("ollama", url=ollama.url, options={}, credentials=GIVEN)
        refused = build_remote("ollama", url=ollama.url, options={})

        await allowed.check()
        with pytest.raises(EngineUnavailableError, match="refuses Corral with 401") as failure:
            await refused.check()
        await allowed.close()
        await refused.close()

    assert "tokenFrom" in (failure.value.hint or "")
    assert ollama.headers[0]["X-Tenant"] == "aurora"


async def test_a_comfyui_instance_is_not_asked_without_its_secret() -> None:
    async with ComfyDouble() as comfy:
        engine = build_remote("comfyui", url=comfy.url, options={}, credentials=GIVEN)
        await engine.check()
        await engine.close()
        lacking = Credentials(token_from="GPU_ROOM", environment={})
        engine = build_remote("comfyui", url=comfy.url, options={}, credentials=lacking)
        with pytest.raises(SecretMissingError):
            await engine.check()
        await engine.close()


async def test_a_comfyui_instance_behind_a_token_tells_what_it_has() -> None:
    async def refuse_strangers(request: web.Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {SECRET}":
            raise web.HTTPUnauthorized

    async with ComfyDouble() as comfy:
        comfy.before_answer = refuse_strangers

        assert "KSampler" in (await look(comfy.url, {}, GIVEN)).types
        with pytest.raises(EngineUnavailableError, match="401"):
            await look(comfy.url, {}, Credentials())


async def test_a_missing_variable_is_the_instances_problem_and_not_the_servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CORRAL_TEST_NO_SUCH", raising=False)
    instance = Instance(name="near", url="http://127.0.0.1:1", token_from="CORRAL_TEST_NO_SUCH")
    engines = {"ollama": EngineSettings(name="ollama", instances=(instance,))}

    cluster = Cluster(name="t", nodes=(Node(name="pc"),), engines=engines)
    (near,) = (await list_hosted_models(cluster, Directory(), None)).items

    assert "the environment variable CORRAL_TEST_NO_SUCH is not set" in (near.problem or "")


async def test_a_secret_does_not_follow_a_redirect_of_the_socket() -> None:
    elsewhere: list[str] = []

    async def send_on(request: web.Request) -> web.Response:
        if request.path == "/ws":
            raise web.HTTPFound(f"http://localhost:{request.url.port}/elsewhere")
        elsewhere.append(request.path)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", send_on)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = ComfyClient(f"http://127.0.0.1:{runner.addresses[0][1]}", timings=Timings(), credentials=GIVEN)
    try:
        with pytest.raises(InstanceUnreachableError):
            async with client.open_socket("id"):
                pass
    finally:
        await client.close()
        await runner.cleanup()
    assert elsewhere == []
