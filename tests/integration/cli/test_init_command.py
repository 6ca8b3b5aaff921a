"""`corral init`: a file that the other commands accept, from what is on the machine; nothing is overwritten."""

from __future__ import annotations

import asyncio
import os
import subprocess
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from corral.cli.commands.init import read_price, read_watts
from corral.cluster import load
from corral.cluster.prices import Electricity
from corral.cluster.writing import FoundServer, InstalledGpu, MachineFacts
from corral.engine_kinds import ENGINES
from corral.hardware.catalogue import find_gpu
from corral.operations.first_file import choose_servers, find_servers, write_first_file
from corral.operations.programs_here import (
    Address,
    InstalledProgram,
    Listener,
    list_addresses,
    list_containers,
    list_installed,
    list_usual_addresses,
)
from corral.presets.catalogue import list_presets
from doubles.comfyui import ComfyDouble
from doubles.installed import CORRAL, a_terminal
from doubles.nvml_library import build_library, machine
from doubles.ollama import OllamaDouble
from doubles.openai_server import OpenAiDouble

CONFLICT = 4
CARD = InstalledGpu(index=0, model="RTX 5070 Ti")
SERVERS = (
    FoundServer(engine="ollama", url="http://127.0.0.1:11434"),
    FoundServer(engine="comfyui", url="http://127.0.0.1:8188"),
)


PRESETS = list_presets()


def at(engine: str, url: str, *, container: str | None = None) -> Address:
    return Address(engine=engine, url=url, container=container)


def a_comfyui(folder: Path) -> Path:
    """A folder that is a checkout of ComfyUI as far as one can see from outside."""
    (folder / "comfy").mkdir(parents=True)
    (folder / "comfy" / "cli_args.py").touch()
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A machine with two equal cards."""
    return {**os.environ, **machine(build_library(tmp_path_factory.mktemp("nvml")), "twins")}


def run(folder: Path, environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(CORRAL), *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
    )


def test_plan_and_power_accept_the_file_that_is_written(tmp_path: Path, environment: dict[str, str]) -> None:
    written = run(tmp_path, environment, "init")

    assert written.returncode == 0, written.stderr
    assert "found  GPU 1: RTX 5070 Ti" in written.stderr
    assert written.stdout == "wrote  cluster.yaml\nnext   corral up --cluster cluster.yaml\n"
    for command in ("plan", "power"):
        assert run(tmp_path, environment, command).returncode == 0


def test_a_file_that_is_there_is_kept(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "cluster.yaml").write_text("by hand", encoding="utf-8")

    refused = run(tmp_path, environment, "init", "--yes")

    assert refused.returncode == CONFLICT
    assert "corral inventory --merge cluster.yaml" in refused.stderr
    assert (tmp_path / "cluster.yaml").read_text(encoding="utf-8") == "by hand"


def test_at_a_terminal_it_asks_for_what_the_machine_does_not_report(tmp_path: Path) -> None:
    with a_terminal(tmp_path, "init") as terminal:
        terminal.until("power supply in watts")
        terminal.type("much\n")
        terminal.until("1 to 100000, such as `850`")
        terminal.type("850 W\n")
        terminal.until("price of a kilowatt hour")
        terminal.type("0,31 chf\n")
        terminal.until("wrote  cluster.yaml")

    cluster = load((tmp_path / "cluster.yaml").read_text(encoding="utf-8"), filename="new", find_gpu=find_gpu)
    assert cluster.nodes[0].psu_w == 850
    assert cluster.electricity == Electricity(price_per_kwh=0.31, currency="CHF")


def test_a_file_that_appears_while_it_asks_is_kept(tmp_path: Path) -> None:
    with a_terminal(tmp_path, "init") as terminal:
        terminal.until("power supply in watts")
        (tmp_path / "cluster.yaml").write_text("by hand", encoding="utf-8")
        terminal.type("\n")
        terminal.until("price of a kilowatt hour")
        terminal.type("\n")
        terminal.until("there is a file of this name already")

    assert (tmp_path / "cluster.yaml").read_text(encoding="utf-8") == "by hand"


async def test_an_answer_in_pieces_is_read_to_its_end_and_an_endless_one_is_given_up() -> None:
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b'{"version": ', b'"0.17.4"}') if request.path == "/api/version" else [b" " * 40_000] * 3:
            await response.write(piece)
            await asyncio.sleep(0.05)  # so that they arrive apart
        return response

    app = web.Application()
    app.add_routes([web.get("/{any:.*}", answer)])
    async with TestServer(app) as double:
        servers = await find_servers([at("ollama", str(double.make_url(""))), at("comfyui", str(double.make_url("")))])

    assert [server.engine for server in servers] == ["ollama"]


async def test_servers_are_found_where_they_answer_as_what_they_are() -> None:
    async with OllamaDouble() as ollama, ComfyDouble() as comfy, OpenAiDouble() as server:
        right = await find_servers([at("ollama", ollama.url), at("comfyui", comfy.url), at("openai", server.url)])
        swapped = await find_servers([at("ollama", comfy.url), at("comfyui", ollama.url)])
        ollama_url = ollama.url
    gone = await find_servers([at("ollama", ollama_url)])

    assert [server.engine for server in right] == ["ollama", "comfyui", "openai"]
    assert swapped == gone == ()


def test_usual_addresses_are_on_loopback_and_of_engines_that_are_reached_by_url() -> None:
    addresses = list_usual_addresses()

    assert at("ollama", "http://127.0.0.1:11434") in addresses
    assert at("comfyui", "http://127.0.0.1:8188") in addresses
    assert all(ENGINES[address.engine].remote for address in addresses)
    assert all(at(preset.engine, f"http://127.0.0.1:{preset.listens.port}") in addresses for preset in PRESETS.values())


def test_containers_are_found_by_the_port_that_their_program_has_inside() -> None:
    containers = [
        ("chat (docker)", "0.0.0.0:11500->11434/tcp, [::]:11500->11434/tcp"),
        ("pictures (podman)", "192.168.1.4:9000->8188/tcp"),
        ("web (docker)", "0.0.0.0:80->80/tcp, 443/tcp"),
        ("closed (podman)", ""),
    ]

    addresses = list_addresses(PRESETS, listeners=(), containers=containers)

    assert at("ollama", "http://127.0.0.1:11500", container="chat (docker)") in addresses
    assert at("comfyui", "http://192.168.1.4:9000", container="pictures (podman)") in addresses
    assert len(addresses) == len(set(list_usual_addresses())) + 2


def test_server_in_a_container_on_its_usual_port_is_asked_once_and_has_its_name() -> None:
    containers = [("chat (docker)", "127.0.0.1:11434->11434/tcp")]

    addresses = list_addresses(PRESETS, listeners=(), containers=containers)

    assert [address.container for address in addresses if address.url.endswith(":11434")] == ["chat (docker)"]


def test_programs_that_listen_on_other_ports_are_found(tmp_path: Path) -> None:
    checkout = a_comfyui(tmp_path / "elsewhere")
    listeners = [
        Listener(host="127.0.0.1", port=9188, program="python", folder=str(checkout)),
        Listener(host="127.0.0.1", port=9434, program="ollama", folder="/"),
        Listener(host="127.0.0.1", port=5000, program="python", folder="/"),
    ]

    addresses = list_addresses(PRESETS, listeners=listeners, containers=())

    others = {address for address in addresses if address not in list_usual_addresses()}
    assert others == {at("comfyui", "http://127.0.0.1:9188"), at("ollama", "http://127.0.0.1:9434")}


def test_comfyui_in_its_usual_folders_and_ollama_on_the_path_can_be_started(tmp_path: Path) -> None:
    a_comfyui(tmp_path / "comfy" / "ComfyUI")

    installed = list_installed(PRESETS, home=tmp_path, find_program=lambda name: "/bin/x" if name == "ollama" else None)

    assert [(program.preset.name, program.folder) for program in installed] == [
        ("comfyui", "~/comfy/ComfyUI"),
        ("ollama", None),
    ]


def test_file_proposes_to_run_what_is_installed_unless_its_engine_answers_already() -> None:
    installed = [
        InstalledProgram(preset=PRESETS["comfyui"], folder="~/ComfyUI"),
        InstalledProgram(preset=PRESETS["comfyui"], folder="/opt/ComfyUI"),
        InstalledProgram(preset=PRESETS["ollama"]),
    ]
    servers = choose_servers([SERVERS[0]], installed)

    text = write_first_file(MachineFacts(name="desk", gpus=(CARD,)), servers, None, name="new.yaml")

    engines = load(text, filename="new.yaml", find_gpu=find_gpu).engines
    (comfyui,), (ollama,) = engines["comfyui"].instances, engines["ollama"].instances
    assert comfyui.url is None
    assert comfyui.run is not None
    assert (comfyui.run.preset, comfyui.run.folder, comfyui.gpu) == ("comfyui", "~/ComfyUI", 0)
    assert ollama.url == "http://127.0.0.1:11434"


def test_containers_are_listed_by_the_programs_on_the_path(tmp_path: Path) -> None:
    """The doubles print what podman 4.3.1 printed for the template, and what docker-ps(1) of 20.10 says of docker."""
    docker, podman = "0.0.0.0:11434->11434/tcp", "127.0.0.1:11500->11434/tcp, 0.0.0.0:8188->8188/tcp"
    for name, ports in (("docker", docker), ("podman", podman)):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\nprintf "chat\\t{ports}\\n"\n', encoding="utf-8")
        program.chmod(0o755)

    containers = list_containers(lambda name: str(tmp_path / name))

    assert containers == (("chat (docker)", docker), ("chat (podman)", podman))


def test_container_program_that_fails_or_is_not_there_has_no_containers(tmp_path: Path) -> None:
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\necho cannot connect to the daemon >&2; exit 1\n", encoding="utf-8")
    program.chmod(0o755)

    assert list_containers(lambda name: str(program) if name == "docker" else None) == ()


@pytest.mark.parametrize(
    ("gpus", "gpu"),
    [((CARD,), 0), ((CARD, InstalledGpu(index=1, model="RTX 5070 Ti")), None), ((), None), (None, None)],
)
def test_a_server_is_on_the_only_gpu_and_on_an_open_one_of_several(
    gpus: tuple[InstalledGpu, ...] | None, gpu: int | None
) -> None:
    facts = MachineFacts(name="desk", gpus=gpus, psu_w=850)

    text = write_first_file(facts, SERVERS, Electricity(price_per_kwh=0.3), name="new.yaml")

    engines = load(text, filename="new.yaml", find_gpu=find_gpu).engines
    instances = [instance for engine in ("comfyui", "ollama") for instance in engines[engine].instances]
    assert [(instance.name, instance.node, instance.gpu) for instance in instances] == [
        ("comfyui", "desk", gpu),
        ("ollama", "desk", gpu),
    ]


@pytest.mark.parametrize("answer", ["", "W", "-5", "0", "200000", "8.5"])
def test_watts_that_no_supply_has_are_asked_for_again(answer: str) -> None:
    with pytest.raises(ValueError):
        read_watts(answer)


@pytest.mark.parametrize("answer", ["free", "-1", "nan", "inf", "0.3 4", "0.3 eu r", "1000"])
def test_prices_that_are_none_are_asked_for_again(answer: str) -> None:
    with pytest.raises(ValueError):
        read_price(answer)
