"""A served API has OpenAI's door next to its own routes, over the instances of its cluster file."""

from __future__ import annotations

import asyncio
import os
import sys
from asyncio.subprocess import PIPE
from dataclasses import replace
from pathlib import Path

from corral.cluster.gateway_values import CloudModel, Gateway, GatewayModel
from corral.cluster.values import Cluster, EngineSettings, Instance
from corral.engines.openai.engine import OpenAi
from corral.engines.openai.inputs import OpenAiOptions
from corral.server.services import Services
from corral.tasks.store.tokens import create_token
from corral.work import SlotId
from doubles.endpoints import ServedEngine
from doubles.guest_desk import OpenDesk
from doubles.openai_server import OpenAiDouble
from doubles.serving import serving

from .conftest import InEffect

DOCS = Path(__file__).parents[3] / "docs"


def open_doors(services: Services, url: str) -> tuple[Services, OpenDesk]:
    desk = OpenDesk({SlotId("far/openai"): ServedEngine("openai", url)})
    instance = Instance(name="far", url=url)
    cluster = Cluster(name="test", nodes=(), engines={"openai": EngineSettings(name="openai", instances=(instance,))})
    return replace(services, in_effect=InEffect(cluster), guests=desk), desk


async def test_models_of_instances_are_listed_and_chats_reach_them(services: Services) -> None:
    async with OpenAiDouble() as server:
        with_doors, desk = open_doors(services, server.url)
        async with serving(with_doors) as api:
            answer = await api.post(
                "/v1/chat/completions", {"model": "tts", "messages": [{"role": "user", "content": "hello"}]}
            )
            listed = await api.get("/v1/models")

    assert answer.status == 200, answer.body
    assert answer.headers["x-corral-slot"] == "far/openai"
    assert answer.headers["x-request-id"]
    assert [model["id"] for model in listed.json["data"]] == ["sd-cpp-local", "tts", "whisper"]
    assert desk.asks[0].owner == "local"


async def test_instance_that_does_not_answer_keeps_its_models(services: Services) -> None:
    async with OpenAiDouble() as server:
        with_doors, _ = open_doors(services, server.url)
        async with serving(with_doors) as api:
            await api.get("/v1/models/tts")
            await server.__aexit__()
            answer = await api.post(
                "/v1/chat/completions", {"model": "tts", "messages": [{"role": "user", "content": "hello"}]}
            )
            listed = await api.get("/v1/models")

    assert answer.status == 503
    assert len(listed.json["data"]) == 3


async def test_answer_from_elsewhere_is_counted_by_its_provider(services: Services) -> None:
    async with OpenAiDouble() as far:
        with_doors, desk = open_doors(services, "http://127.0.0.1:1")
        cloud = CloudModel(name="far", model="tts", base_url=f"{far.url}/v1")
        gateway = Gateway(models={"big": GatewayModel(name="big", fallback=(cloud,))})
        with_cloud = replace(with_doors, in_effect=InEffect(replace(with_doors.cluster, gateway=gateway)))
        async with serving(with_cloud) as api:
            body = {"model": "big", "messages": [{"role": "user", "content": "hello"}]}
            answer = await api.post("/v1/chat/completions", body)
            metrics = (await api.get("/metrics")).body.decode()

    assert (answer.status, answer.headers["x-corral-cloud"]) == (200, "far")
    assert 'corral_cloud_requests_total{provider="far"} 1.0' in metrics
    assert desk.asks == []


async def test_key_that_is_unknown_is_refused_in_openais_shape(services: Services) -> None:
    with_doors, _ = open_doors(services, "http://127.0.0.1:1")
    async with serving(with_doors) as api:
        answer = await api.get("/v1/models", headers={"Authorization": "Bearer wrong"})
        own = await api.get("/corral/v1/status", headers={"Authorization": "Bearer wrong"})

    assert (answer.status, answer.json["error"]["code"]) == (401, "invalid_api_key")
    assert own.json["error"]["code"] == "auth.not_authenticated"


async def test_example_of_the_page_runs_with_a_key_and_no_change_but_names(services: Services) -> None:
    _, secret = await create_token(services.pool, name="chat", role="submitter")
    example = read_example(DOCS / "doors" / "openai.md")
    async with OpenAiDouble() as server:
        with_doors, desk = open_doors(services, server.url)
        async with serving(with_doors) as api:
            program = example.replace("http://127.0.0.1:7433", api.url).replace("smollm2-135m-instruct", "tts")
            running = await asyncio.create_subprocess_exec(
                sys.executable, "-c", program, env={**os.environ, "CORRAL_TOKEN": secret}, stdout=PIPE, stderr=PIPE
            )
            printed, complaints = await running.communicate()

    assert running.returncode == 0, complaints.decode()
    assert printed == b"Hello\n"
    assert [ask.owner for ask in desk.asks] == ["chat"]


def read_example(page: Path) -> str:
    """Return the first block of Python of a page."""
    _, _, rest = page.read_text().partition("```python\n")
    return rest.partition("```")[0]


async def test_server_that_gives_no_turns_has_no_doors(services: Services) -> None:
    async with serving(services) as api:
        assert (await api.get("/v1/models")).json["error"]["code"] == "request.no_route"


async def test_server_with_a_speech_protocol_of_its_own_speaks_to_clients_of_openais(services: Services) -> None:
    async with OpenAiDouble(speech_path="/tts") as server:
        with_doors, desk = open_doors(services, server.url)
        engine = OpenAi(server.url, options=OpenAiOptions.model_validate({"language": "en"}))
        desk.engines[SlotId("far/openai")] = engine
        await engine.list_models()  # as the slot's check does
        asked = {"model": "gpt-sovits", "input": "The fox sleeps.", "voice": "ada.wav", "response_format": "wav"}
        async with serving(with_doors) as api:
            spoken = await api.post("/v1/audio/speech", asked)
            refused = await api.post("/v1/audio/speech", {**asked, "response_format": "mp3"})
        await engine.close()

    assert (spoken.status, spoken.body) == (200, server.sound)
    assert server.bodies == [
        {
            "text": "The fox sleeps.",
            "ref_audio_path": "ada.wav",
            "media_type": "wav",
            "text_lang": "en",
            "prompt_lang": "en",
        }
    ]
    assert refused.status == 400
    assert "does not write 'mp3'" in refused.json["error"]["message"]
