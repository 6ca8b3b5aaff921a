"""Models on Ollama servers, managed by commands and by routes: both say the same."""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from corral.cli.main import run_command
from corral.cluster.values import Cluster, EngineSettings, Instance
from corral.engine_kinds import ENGINES
from corral.engines.building import build_remote
from corral.operations.reloading import ReloadAnswer, ReloadAsked
from corral.server.services import Services
from corral.work import ListsModels, ModelHost
from doubles.ollama import OllamaDouble
from doubles.ollama_models import SIZE
from doubles.openai_server import OpenAiDouble
from doubles.serving import Serving, serving

ROUTE = "/corral/v1/models/hosted"


@dataclass(frozen=True)
class InEffect:
    """Stands for the followed cluster file; nothing here reads it again."""

    cluster: Cluster

    async def reload(self, asked: ReloadAsked) -> ReloadAnswer:
        raise NotImplementedError


@pytest.fixture
async def ollama() -> AsyncIterator[OllamaDouble]:
    async with OllamaDouble() as double:
        yield double


@pytest.fixture
def services(services: Services, ollama: OllamaDouble) -> Services:
    """A server whose cluster file names one Ollama server that answers, and one that does not."""
    instances = (
        Instance(name="near", url=ollama.url, node="node", gpu=0),
        Instance(name="gone", url="http://127.0.0.1:1"),
    )
    engines = {**services.cluster.engines, "ollama": EngineSettings(name="ollama", instances=instances)}
    return replace(services, in_effect=InEffect(replace(services.cluster, engines=engines)))


async def run(api: Serving, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    await asyncio.to_thread(run_command, ["models", *arguments, "--url", api.url])
    return capsys.readouterr().out


async def printed(api: Serving, capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads(await run(api, capsys, *arguments, "--json"))


@pytest.mark.parametrize("kind", [kind for kind in ENGINES.values() if kind.adapter], ids=lambda kind: kind.name)
def test_a_kind_says_whether_its_adapter_hosts_models(kind: Any) -> None:
    engine = build_remote(kind.name, url="http://127.0.0.1:1", options={})

    assert isinstance(engine, ModelHost) is kind.hosts_models
    assert isinstance(engine, ListsModels) is kind.lists_models


async def test_models_of_every_instance_are_listed_and_one_that_is_gone_says_so(
    api: Serving, ollama: OllamaDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    ollama.loaded["smol:latest"] = 4096

    answered = (await api.get(ROUTE)).json

    near, gone = answered["items"]
    assert (near["instance"], near["slot"]) == ("near", "node/gpu0/ollama")
    assert {model["name"]: bool(model["loaded"]) for model in near["models"]} == {
        "llava:7b": False,
        "nomic-embed-text:latest": False,
        "smol:latest": True,
    }
    assert (gone["models"], "/api/ps failed" in gone["problem"]) == ([], True)
    assert await printed(api, capsys, "list", "--on", "all") == answered
    assert await printed(api, capsys, "list", "--on", "node/gpu0/ollama") == {"items": [near]}
    assert "smol:latest" in await run(api, capsys, "list", "--on", "near")


async def test_an_instance_that_is_not_in_the_file_is_named_with_those_that_are(api: Serving) -> None:
    refused = await api.get(f"{ROUTE}?on=naer")

    assert refused.status == 404
    assert refused.json["error"]["code"] == "instance.missing"
    assert refused.json["error"]["hint"] == "did you mean `near`?"


async def test_a_model_is_pulled_with_its_progress_and_then_is_there(
    api: Serving, ollama: OllamaDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    pulled = await printed(api, capsys, "pull", "Phi3", "--on", "near")

    assert (pulled["instance"], pulled["model"]["name"]) == ("near", "phi3:latest")
    assert "phi3:latest" in ollama.models
    assert (await api.post(f"{ROUTE}/pull", {"model": "phi3", "on": "near"})).json == pulled


async def test_steps_of_a_pull_are_events(api: Serving) -> None:
    answered = await api.post(f"{ROUTE}/pull", {"model": "phi3", "on": "near"}, headers={"Accept": "text/event-stream"})

    events = [message.split("\n") for message in answered.body.decode().strip().split("\n\n")]
    steps = [json.loads(data.removeprefix("data: ")) for kind, data in events if kind == "event: progress"]
    assert steps[0] == {"words": "pulling manifest", "done": None, "total": None}
    assert [step["done"] for step in steps if step["total"] == SIZE] == [0, SIZE // 2, SIZE]
    assert events[-1][0] == "event: done"


async def test_a_pull_that_fails_says_why_to_commands_and_programs(
    api: Serving, ollama: OllamaDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    ollama.faults.pull = "pull model manifest: file does not exist"

    refused = await api.post(f"{ROUTE}/pull", {"model": "nothing", "on": "near"})
    await asyncio.to_thread(run_command, ["models", "pull", "nothing", "--on", "near", "--url", api.url])

    assert (refused.status, refused.json["error"]["code"]) == (503, "ollama.pull_failed")
    assert "nothing was not pulled: pull model manifest: file does not exist" in capsys.readouterr().err


async def test_a_client_that_leaves_stops_the_pull(api: Serving, ollama: OllamaDouble) -> None:
    ollama.hold()
    asked, accept = {"model": "phi3", "on": "near"}, {"Accept": "text/event-stream"}
    async with api.session.post(api.url + f"{ROUTE}/pull", json=asked, headers=accept) as stream:
        await stream.content.readline()
        await ollama.until(lambda: ollama.writing == 1)

    await ollama.until(lambda: ollama.writing == 0)
    assert "phi3:latest" not in ollama.models


async def test_a_model_is_loaded_kept_and_unloaded(
    api: Serving, ollama: OllamaDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    loaded = await printed(api, capsys, "load", "nomic-embed-text", "--on", "near", "--keep", "-1")
    assert loaded["model"]["loaded"]["context"] == 4096
    assert ollama.bodies[-1]["keep_alive"] == -1
    assert (await api.post(f"{ROUTE}/load", {"model": "nomic-embed-text", "on": "near"})).json == loaded

    unloaded = await printed(api, capsys, "unload", "nomic-embed-text", "--on", "near")
    assert (unloaded["model"]["name"], unloaded["model"]["loaded"]) == ("nomic-embed-text:latest", None)
    assert ollama.loaded == {}
    assert (await api.post(f"{ROUTE}/unload", {"model": "nomic-embed-text", "on": "near"})).json == unloaded


async def test_a_model_is_deleted_and_deleting_it_again_is_refused(
    api: Serving, ollama: OllamaDouble, capsys: pytest.CaptureFixture[str]
) -> None:
    deleted = await printed(api, capsys, "rm", "smol", "--on", "near", "--yes")
    assert deleted == {"instance": "near", "model": "smol"}
    assert "smol:latest" not in ollama.models

    again = await api.post(f"{ROUTE}/delete", {"model": "smol", "on": "near"})
    assert (again.status, again.json["error"]["code"]) == (404, "instance.model_missing")
    assert (await api.post(f"{ROUTE}/delete", {"model": "llava:7b", "on": "near"})).json == {
        "instance": "near",
        "model": "llava:7b",
    }


@pytest.mark.parametrize("verb", ["pull", "load", "unload"])
async def test_a_dry_run_changes_nothing(
    api: Serving, ollama: OllamaDouble, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await run(api, capsys, verb, "smol", "--on", "near", "--dry-run")

    assert ollama.bodies == []
    assert not ollama.headers


async def test_what_is_done_to_models_of_instances_is_in_the_audit_log(api: Serving) -> None:
    stream = {"headers": {"Accept": "text/event-stream"}}
    await api.post(f"{ROUTE}/pull", {"model": "phi3", "on": "near"})
    await api.post(f"{ROUTE}/pull", {"model": "phi4", "on": "near"}, **stream)
    for act in ("load", "unload", "delete", "delete"):
        await api.post(f"{ROUTE}/{act}", {"model": "phi3", "on": "near"})

    entries = reversed((await api.get("/corral/v1/audit")).json["items"])

    acts = [(entry["owner"], entry["action"], entry["subject"], entry["details"]["instance"]) for entry in entries]
    kinds = ("pulled", "phi3"), ("pulled", "phi4"), ("loaded", "phi3"), ("unloaded", "phi3"), ("deleted", "phi3")
    assert acts == [("local", f"model_{kind}", model, "near") for kind, model in kinds]


# --- files in models folders ----------------------------------------------------------------------------------------


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """The models folders of two instances of ComfyUI."""
    paths = {name: tmp_path / name for name in ("left", "right")}
    for path in paths.values():
        (path / "loras").mkdir(parents=True)
    (tmp_path / "paint.safetensors").write_bytes(b"paint")
    return paths


@pytest.fixture
async def placing(services: Services, folders: dict[str, Path]) -> AsyncIterator[Serving]:
    """The API of a server whose cluster file names them, and a third instance without a folder."""
    instances = [
        Instance(name=name, url=f"http://127.0.0.1:{port}", models_folder=str(folder))
        for port, (name, folder) in enumerate(folders.items(), 1)
    ]
    instances.append(Instance(name="far", url="http://127.0.0.1:3"))
    engines = {"comfyui": EngineSettings(name="comfyui", instances=tuple(instances))}
    async with serving(replace(services, in_effect=InEffect(replace(services.cluster, engines=engines)))) as api:
        yield api


async def test_a_file_is_placed_for_every_instance_with_a_models_folder_by_command_and_by_route(
    placing: Serving, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, name = str(tmp_path / "paint.safetensors"), "loras/paint.safetensors"

    printed_first = await run(placing, capsys, "place", source, "--as", name)
    printed_again = await printed(placing, capsys, "place", source, "--as", name)
    answered = await placing.post(f"{ROUTE}/place", {"model": source, "name": name})

    assert {path.name: (path / name).read_bytes() for path in folders.values()} == {"left": b"paint", "right": b"paint"}
    assert printed_first == "".join(f"{path.name}: {path / name}, 5 B, placed\n" for path in folders.values())
    assert printed_again == answered.json
    assert [item["written"] for item in answered.json["items"]] == [False, False]
    audit = (await placing.get("/corral/v1/audit")).json["items"]
    assert audit[0]["action"] == "model_placed"
    assert audit[0]["details"] == {"name": name, "instances": ["left", "right"]}


async def test_a_models_folder_that_does_not_answer_cannot_stop_the_event_loop(
    placing: Serving, folders: dict[str, Path], tmp_path: Path
) -> None:
    loop, at_work = threading.get_ident(), True
    touched = set[tuple[str, bool]]()

    def note(event: str, arguments: tuple[object, ...]) -> None:
        if at_work and any(str(argument).startswith(str(folder)) for argument in arguments for folder in roots):
            touched.add((event, threading.get_ident() == loop))

    roots, source = tuple(folders.values()), str(tmp_path / "paint.safetensors")
    sys.addaudithook(note)
    try:
        answered = await placing.post(f"{ROUTE}/place", {"model": source, "name": "loras/paint.safetensors"})
    finally:
        at_work = False  # a hook cannot be removed
    assert answered.status == 200, answered.json
    assert {("open", False), ("os.listdir", False), ("os.rename", False)} <= touched
    assert not [event for event, is_in_loop in touched if is_in_loop]


async def test_a_file_is_placed_for_one_instance_and_what_cannot_be_is_refused(
    placing: Serving, folders: dict[str, Path], tmp_path: Path
) -> None:
    asked = {"model": str(tmp_path / "paint.safetensors"), "name": "loras/paint.safetensors"}

    right = await placing.post(f"{ROUTE}/place", {**asked, "on": "right"})
    without = await placing.post(f"{ROUTE}/place", {**asked, "on": "far"})
    away = await placing.post(f"{ROUTE}/place", {**asked, "name": "../x/paint.safetensors"})
    (folders["left"] / "loras" / "paint.safetensors").write_bytes(b"other")
    taken = await placing.post(f"{ROUTE}/place", asked)

    assert [item["instance"] for item in right.json["items"]] == ["right"]
    assert (without.status, without.json["error"]["code"]) == (404, "instance.no_models_folder")
    assert (away.status, away.json["error"]["code"]) == (409, "models.not_placed")
    assert (taken.status, taken.json["error"]["where"]) == (409, str(folders["left"] / "loras" / "paint.safetensors"))


async def test_models_of_a_server_that_is_not_managed_from_here_are_listed_and_left_alone(
    services: Services, capsys: pytest.CaptureFixture[str]
) -> None:
    async with OpenAiDouble(owner="vllm", model_names={"qwen": {"max_model_len": 8192}}) as server:
        settings = EngineSettings(name="openai", instances=(Instance(name="vllm", url=server.url),))
        cluster = replace(services.cluster, engines={**services.cluster.engines, "openai": settings})
        async with serving(replace(services, in_effect=InEffect(cluster))) as api:
            listed = await run(api, capsys, "list", "--on", "vllm")
            refused = await api.post(f"{ROUTE}/pull", {"on": "vllm", "model": "qwen"})

    assert re.search(r"vllm +qwen .*yes", listed), "vLLM does not say how much of it is in memory"
    assert (refused.status, refused.json["error"]["code"]) == (422, "instance.models_fixed")
