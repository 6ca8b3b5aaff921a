"""Programs without a key, each at a port of its own: they see one server of theirs, and what is their owner's alone."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from ollama import AsyncClient, ResponseError

from corral.cluster.gateway_values import Gateway, Listener
from corral.cluster.values import Cluster, EngineSettings, Instance, Node, QueueSettings
from corral.engines.comfyui.client import Timings
from corral.engines.comfyui.engine import ComfyUi
from corral.engines.ollama.engine import Ollama
from corral.server.listeners import Listeners
from corral.slots.values import DeviceSpec, Wanted
from corral.work import SlotId
from doubles.comfyui import ComfyDouble
from doubles.comfyui_clients import ComfyCaller
from doubles.comfyui_workflows import text_to_image
from doubles.ollama import OllamaDouble
from doubles.serving import Serving
from doubles.yard import Yard, make_slot
from integration.doors.conftest import Open

QUICK = Timings(poll_s=0.1, retry_s=0.02, reconnect_s=0.5, check_s=0.5)
TURN = [{"role": "user", "content": "one two"}]


def find_free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@dataclass(frozen=True)
class Ports:
    """The ports of the family and the lab, and the main one."""

    comfyui: str
    ollama: str
    main: Serving


@pytest.fixture
async def ports(yard: Yard, open_house: Open) -> AsyncIterator[Ports]:
    async with ComfyDouble() as comfy, OllamaDouble() as ollama:
        names = [SlotId("drawing"), SlotId("writing")]
        engines = (ComfyUi(comfy.url, timings=QUICK), Ollama(ollama.url))
        dispatcher = yard.start(
            wanted=Wanted(
                devices=tuple(DeviceSpec(name=name, node="node", provider=name, model="cpu") for name in names),
                slots=tuple(make_slot(name, engine) for name, engine in zip(names, engines, strict=True)),
            )
        )
        instances = {
            "comfyui": Instance(name="drawing", url=comfy.url),
            "ollama": Instance(name="writing", url=ollama.url),
        }
        cluster = Cluster(
            name="test",
            nodes=(Node(name="node"),),
            engines={name: EngineSettings(name=name, instances=(at,)) for name, at in instances.items()},
            queues={"default": QueueSettings(name="default")},
        )
        gateway = Gateway(
            comfyui=Listener(port=find_free_port(), owner="family"), ollama=Listener(port=find_free_port(), owner="lab")
        )
        listeners = Listeners()
        listeners.take(gateway)
        await yard.until_leading()
        async with open_house(cluster, guests=dispatcher.guests, listeners=listeners) as main:
            urls = {name: f"http://127.0.0.1:{place.port}" for name, place in listeners.places.items()}
            yield Ports(urls["comfyui"], urls["ollama"], main)


async def test_program_of_comfyui_finds_it_at_the_root_of_its_port(ports: Ports) -> None:
    comfy = ComfyCaller(ports.main.session, ports.comfyui)
    async with comfy.listen("family") as heard:
        answer = await comfy.post("/prompt", {"prompt": text_to_image(), "client_id": "family"})
        await heard.until("executing", node=None, prompt_id=answer["prompt_id"])
    assert answer["prompt_id"] in await comfy.get("/history")
    tasks = (await ports.main.get("/corral/v1/tasks")).json["items"]
    assert [task["owner"] for task in tasks] == ["family"]


async def test_owner_of_a_port_sees_and_clears_its_own_prompts_alone(ports: Ports) -> None:
    family, local = (ComfyCaller(ports.main.session, url) for url in (ports.comfyui, f"{ports.main.url}/comfyui"))
    async with local.listen("local") as heard:
        answer = await local.post("/prompt", {"prompt": text_to_image(), "client_id": "local"})
        await heard.until("executing", node=None, prompt_id=answer["prompt_id"])
    assert await family.get("/history") == {}
    await family.post("/history", {"clear": True})
    assert answer["prompt_id"] in await local.get("/history")


async def test_program_without_a_key_administers_no_instance(ports: Ports) -> None:
    for path in ("/manager/reboot", "/api/v2/snapshot/restore", "/internal/folder_paths"):
        async with ports.main.session.post(f"{ports.comfyui}{path}") as answer:
            assert answer.status == 403


async def test_program_of_ollama_speaks_for_the_owner_of_its_port(ports: Ports) -> None:
    client = AsyncClient(host=ports.ollama, headers={"Authorization": "Bearer anything"})
    assert (await client.chat("smol", TURN)).message.content == "one two"
    with pytest.raises(ResponseError, match="'lab' cannot change models") as refused:
        await client.delete("smol")
    assert refused.value.status_code == 403


async def test_page_of_another_site_reaches_no_port_without_a_key(ports: Ports) -> None:
    foreign = {"Origin": "http://evil.example"}
    async with ports.main.session.get(f"{ports.ollama}/api/tags", headers=foreign) as answer:
        assert answer.status == 403
        assert "is not this listener" in (await answer.json())["error"]
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await ports.main.session.ws_connect(f"{ports.comfyui}/ws", headers=foreign)
