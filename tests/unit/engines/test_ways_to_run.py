"""The argument lists by which containers, services of Compose files and units are started and ended."""

from __future__ import annotations

from pathlib import Path

from corral.cluster.run_values import Compose, Container, Run
from corral.engine_kinds import COMFYUI, OLLAMA
from corral.engines.servers.recipe import Recipe, Surroundings, fill_environment, fill_port, make_recipe
from corral.engines.visible_gpus import list_device_files

CARD = "GPU-8c1f"
HERE = Surroundings(home=Path("/home/ada"), owner="0123abcd", gpu=CARD)


def list_words(recipe: Recipe) -> tuple[str, ...]:
    return fill_port(recipe.make_command(), 7001)


def test_container_of_docker_gets_its_port_its_gpu_its_variables_and_a_label() -> None:
    container = Container(image="ollama/ollama:0.12.6", volumes=("~/models:/root/.ollama",))
    run = Run(container=container, env={"OLLAMA_HOST": "0.0.0.0:{port}"}, env_from={"KEY": "OLLAMA_KEY"})

    recipe = make_recipe(OLLAMA, "desk", run, HERE)

    assert list_words(recipe) == (
        "docker",
        "run",
        "--rm",
        "--name=corral-0123abcd-ollama-desk",
        "--label=corral.instance=ollama/desk",
        "--publish=127.0.0.1:7001:11434",
        "--gpus=device=GPU-8c1f",
        "--env=OLLAMA_HOST",
        "--env=KEY",
        "--volume=/home/ada/models:/root/.ollama",
        "ollama/ollama:0.12.6",
    )
    assert fill_environment(recipe, 7001) == {"OLLAMA_HOST": "0.0.0.0:11434"}, "the port within"
    assert recipe.clean_up == (("docker", "rm", "--force", "corral-0123abcd-ollama-desk"),)


def test_container_of_podman_gets_nvidias_gpu_as_a_device_and_its_arguments_last() -> None:
    run = Run(container=Container(image="comfy", program="podman", port=9000), arguments=("--port", "{port}"))

    words = list_words(make_recipe(COMFYUI, "desk", run, HERE))

    assert words[0] == "podman"
    assert "--device=nvidia.com/gpu=GPU-8c1f" in words
    assert "--publish=127.0.0.1:7001:9000" in words
    assert words[-3:] == ("comfy", "--port", "9000")


def test_container_gets_a_gpu_of_amd_by_its_files(tmp_path: Path) -> None:
    address = "0000:03:00.0"
    (tmp_path / "dev/dri/by-path").mkdir(parents=True)
    (tmp_path / "dev/dri/renderD128").touch()
    (tmp_path / f"dev/dri/by-path/pci-{address}-render").symlink_to("../renderD128")
    (tmp_path / "sys/bus/pci/devices" / address).mkdir(parents=True)
    vendor = tmp_path / "sys/bus/pci/devices" / address / "vendor"
    vendor.write_text("0x1002\n")

    files = list_device_files(address, root=tmp_path)
    here = Surroundings(home=Path("/home/ada"), owner="o", gpu=address, gpu_files=files)
    words = list_words(make_recipe(COMFYUI, "desk", Run(container=Container(image="comfy")), here))

    assert [word for word in words if word.startswith(("--gpus", "--device"))] == [
        "--device=/dev/dri/renderD128",
        "--device=/dev/kfd",
    ]
    vendor.write_text("0x8086\n")
    assert list_device_files(address, root=tmp_path) == ("/dev/dri/renderD128",)
    assert list_device_files(CARD, root=tmp_path) == list_device_files(None, root=tmp_path) == ()


def test_container_without_a_gpu_gets_none() -> None:
    here = Surroundings(home=Path("/home/ada"), owner="o")
    words = list_words(make_recipe(COMFYUI, "desk", Run(container=Container(image="comfy")), here))
    assert not [word for word in words if word.startswith(("--gpus", "--device"))]


def test_service_of_a_compose_file_is_started_alone_with_its_port_and_gpu_as_variables() -> None:
    recipe = make_recipe(COMFYUI, "desk", Run(compose=Compose(file="~/ai/compose.yaml", service="comfy")), HERE)

    begin = ("docker", "compose", "--file=/home/ada/ai/compose.yaml")
    assert list_words(recipe) == (*begin, "up", "--no-deps", "--no-log-prefix", "--no-color", "comfy")
    assert recipe.clean_up == ((*begin, "rm", "--stop", "--force", "comfy"),)
    assert fill_environment(recipe, 7001) == {"CORRAL_PORT": "7001", "CORRAL_GPU": CARD}


def test_unit_is_started_and_waited_for_and_its_journal_is_followed() -> None:
    recipe = make_recipe(COMFYUI, "desk", Run(systemd="comfyui.service", port=8188), HERE)

    assert list_words(recipe) == ("systemctl", "--user", "start", "--wait", "comfyui.service")
    assert recipe.clean_up == (("systemctl", "--user", "stop", "comfyui.service"),)
    assert recipe.log_command == (
        "journalctl",
        "--user",
        "--unit=comfyui.service",
        "--follow",
        "--lines=0",
        "--output=cat",
    )
    of_root = make_recipe(
        COMFYUI,
        "desk",
        Run(systemd="comfyui.service", port=8188),
        Surroundings(home=Path("/root"), owner="o", is_root=True),
    )
    assert list_words(of_root) == ("systemctl", "start", "--wait", "comfyui.service")


def test_preset_is_told_the_lanes_of_its_instance_unless_the_instance_says_something_else() -> None:
    recipe = make_recipe(OLLAMA, "desk", Run(preset="ollama"), HERE, lanes=4)
    own = Run(preset="ollama", env={"OLLAMA_NUM_PARALLEL": "2"})

    assert fill_environment(recipe, 7001)["OLLAMA_NUM_PARALLEL"] == "4"
    assert fill_environment(make_recipe(OLLAMA, "desk", own, HERE, lanes=4), 7001)["OLLAMA_NUM_PARALLEL"] == "2"
    assert "OLLAMA_NUM_PARALLEL" not in fill_environment(make_recipe(OLLAMA, "desk", Run(preset="ollama"), HERE), 7001)
