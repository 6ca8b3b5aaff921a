"""Servers of instances as units and Compose services, read by systemd's and Docker Compose's own tools."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from corral.operations.cluster_file import read_cluster
from corral.rendering.targets import Rendering, render_cluster
from doubles.docker_compose import refuse
from doubles.environments import installed
from doubles.installed import REPOSITORY

LOCK = Path(__file__).with_name("check-jsonschema.lock")
FILE = """
apiVersion: corral/v1
name: home
nodes:
  - name: desk
    gpus:
      - {{index: 0, model: RTX 4090, uuid: GPU-11111111-1111-4111-8111-111111111111}}
      - {{index: 1, model: RTX 4090}}
engines:
  comfyui:
    instances:
      - name: left
        node: desk
        gpu: 0
        run: {{preset: comfyui, folder: "{folder}", arguments: [--lowvram, "a 100% b$"], env: {{TITLE: 'say "50%"'}}}}
      - {{name: right, node: desk, gpu: 1, run: {{preset: comfyui, folder: "{folder}", port: 9188}}}}
  ollama:
    instances:
      - {{name: desk, node: desk, gpu: 0, run: {{preset: ollama, env: {{PRICE: "5$"}}, envFrom: {{KEY: OLLAMA_KEY}}}}}}
      - {{name: slow, node: desk, run: {{preset: ollama}}}}
      - name: boxed
        node: desk
        gpu: 1
        run: {{container: {{image: "ollama/ollama:0.12.6", volumes: ["/srv/ollama:/root/.ollama"]}}, port: 11500}}
  openai:
    instances:
      - {{name: own, node: desk, run: {{command: [/bin/sleep, "{{port}}"], port: 9000, envFrom: {{HF_TOKEN: TOKEN}}}}}}
      - {{name: open, node: desk, run: {{command: [/bin/sleep, "{{port}}"]}}}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout of ComfyUI with its environment, as far as systemd sees it."""
    program = tmp_path / "Comfy UI" / "venv" / "bin" / "python"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    return tmp_path / "Comfy UI"


def render(folder: Path, *only: str) -> Rendering:
    opened = read_cluster(FILE.format(folder=folder), name="c.yaml")
    return render_cluster(opened.cluster, source="c.yaml", text=opened.text, only=only)


def list_units(folder: Path) -> dict[str, str]:
    files = render(folder, "systemd").files
    return {
        path.removeprefix("systemd/desk/"): text for path, text in files.items() if path.startswith("systemd/desk/")
    }


def verify(unit: Path) -> str:
    """What systemd says of a unit of a user; nothing of one that it understands whole."""
    command = ["systemd-analyze", "--user", "verify", "--man=no", str(unit)]
    environment = {**os.environ, "XDG_RUNTIME_DIR": str(unit.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environment)
    return done.stderr + (f"exit code {done.returncode}" if done.returncode else "")


def test_systemd_understands_the_unit_of_every_server_with_a_port(folder: Path, tmp_path: Path) -> None:
    units = list_units(folder)

    assert units.keys() == {
        "comfyui-left.service",
        "comfyui-right.service",
        "ollama-desk.service",
        "ollama-slow.service",
        "openai-own.service",
    }
    for name, text in units.items():
        if not name.startswith("ollama"):  # systemd looks for its program on this machine's own path
            (tmp_path / name).write_text(text)
            assert verify(tmp_path / name) == "", name


def test_the_check_of_units_sees_mistakes(folder: Path, tmp_path: Path) -> None:
    unit = tmp_path / "wrong.service"
    unit.write_text(list_units(folder)["comfyui-left.service"].replace("KillMode", "KillMod"))

    assert "Unknown key" in verify(unit)


def test_a_unit_has_the_program_the_port_and_the_gpu_of_its_instance(folder: Path) -> None:
    units = list_units(folder)

    left, slow = units["comfyui-left.service"], units["ollama-slow.service"]
    assert f"WorkingDirectory={folder}\n" in left, "a path with a space is not in quotes"
    assert "main.py --listen 127.0.0.1 --port 8188 --disable-auto-launch --lowvram a\\x20100%%\\x20b$$" in left
    assert 'Environment="CUDA_VISIBLE_DEVICES=GPU-11111111-1111-4111-8111-111111111111"' in left
    assert "run: {systemd: comfyui-left.service, port: 8188}" in left
    assert 'Environment="CUDA_VISIBLE_DEVICES=1"' in units["comfyui-right.service"]
    assert "--port 9188" in units["comfyui-right.service"]
    assert 'Environment="CUDA_VISIBLE_DEVICES="' in slow
    assert 'Environment="OLLAMA_HOST=127.0.0.1:11435"' in slow, "the second of a machine has the next port"
    assert "EnvironmentFile=-%h/.config/corral/openai-own.env" in units["openai-own.service"]


def test_a_folder_in_the_home_directory_is_systemds_own_word_for_it() -> None:
    unit = list_units(Path("~/ComfyUI"))["comfyui-left.service"]

    assert "WorkingDirectory=%h/ComfyUI\n" in unit
    assert "ExecStart=%h/ComfyUI/venv/bin/python main.py" in unit
    assert "the first of ~/ComfyUI/venv/bin/python, ~/ComfyUI/.venv/bin/python, python3: change ExecStart" in unit


def test_a_server_whose_port_is_open_has_no_unit_and_a_note(folder: Path) -> None:
    notes = render(folder, "systemd").notes

    assert any("No systemd unit has openai-open" in note and "add `port`" in note for note in notes)


def test_compose_takes_the_servers_that_have_images(folder: Path, tmp_path: Path) -> None:
    files = render(folder, "compose").files
    path = tmp_path / "desk.yaml"
    path.write_text(files["compose/instances/desk.yaml"])
    services: dict[str, Any] = yaml.safe_load(path.read_text())["services"]

    assert refuse(path, variables={"OLLAMA_KEY": "x"}) == ""
    assert "OLLAMA_KEY" in refuse(path)
    checker = installed(LOCK, "check-jsonschema")
    subprocess.run([checker, "--builtin-schema", "vendor.compose-spec", path], check=True, capture_output=True)
    assert services.keys() == {"ollama-desk", "ollama-slow", "ollama-boxed"}
    assert services["ollama-boxed"]["image"] == "ollama/ollama:0.12.6"
    assert services["ollama-boxed"]["ports"] == ["127.0.0.1:11500:11434"]
    assert services["ollama-boxed"]["volumes"] == ["/srv/ollama:/root/.ollama"]
    assert services["ollama-desk"]["ports"] == ["127.0.0.1:11434:11434"]
    assert services["ollama-slow"]["ports"] == ["127.0.0.1:11435:11434"]
    assert services["ollama-desk"]["environment"] == {"PRICE": "5$$", "KEY": "${OLLAMA_KEY:?set it in .env}"}
    (device,) = services["ollama-desk"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["device_ids"] == ["GPU-11111111-1111-4111-8111-111111111111"]
    assert "deploy" not in services["ollama-slow"]


def test_a_container_has_the_folder_of_models_that_its_variable_names(folder: Path, tmp_path: Path) -> None:
    text = FILE.replace('env: {{PRICE: "5$"}}', "env: {{OLLAMA_MODELS: /srv/models}}").format(folder=folder)
    cluster = read_cluster(text, name="c.yaml").cluster
    path = tmp_path / "desk.yaml"
    files = render_cluster(cluster, source="c.yaml", text=text, only=("compose",)).files
    path.write_text(files["compose/instances/desk.yaml"])
    project: dict[str, Any] = yaml.safe_load(path.read_text())

    assert refuse(path, variables={"OLLAMA_KEY": "x"}) == ""
    assert project["services"]["ollama-desk"]["volumes"] == ["/srv/models:/srv/models"]
    assert list(project["volumes"]) == ["ollama-slow"], "no volume is left that nothing uses"


@pytest.mark.parametrize("model", ["RX 7900 XTX", "Arc A770"])
def test_a_unit_points_to_the_page_that_has_the_variables_of_its_maker(folder: Path, model: str) -> None:
    text = FILE.replace("model: RTX 4090, uuid: GPU-11111111-1111-4111-8111-111111111111", f"model: {model}")
    cluster = read_cluster(text.format(folder=folder), name="c.yaml").cluster
    unit = render_cluster(cluster, source="c.yaml", text=text, only=("systemd",)).files[
        "systemd/desk/comfyui-left.service"
    ]
    page = re.search(r"Hide the other GPUs from it: (docs/\S+\.md) names the variables", unit)

    assert page is not None
    variable = "ROCR_VISIBLE_DEVICES" if model.startswith("RX") else "ONEAPI_DEVICE_SELECTOR"
    assert variable in (REPOSITORY / page[1]).read_text()
