"""Instances that write files have a folder each: two real processes that save at the same moment lose nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import yaml

from doubles.rendered_clusters import Json, pod_of, rendered

SAVING = """
import os, pathlib, sys
folder, text = pathlib.Path(sys.argv[1]), sys.argv[2]
folder.mkdir(parents=True, exist_ok=True)
# As ComfyUI's folder_paths.get_save_image_path and SaveImage: the next number after those that the folder lists.
numbers = [int(path.name.split("_")[1]) for path in folder.glob("ComfyUI_*_.png")]
name = f"ComfyUI_{max(numbers, default=0) + 1:05}_.png"
print("listed", flush=True)
sys.stdin.readline()
(folder / name).write_text(text)
"""
"""A double of what ComfyUI does between listing its output folder and saving an image (folder_paths.py of 0.3)."""

STORAGE = [
    {"name": "models", "kind": "nfs", "node": "one", "path": "/models"},
    {"name": "results", "kind": "nfs", "node": "one", "path": "/results"},
]
COMFYUI = {
    "name": "comfyui",
    "engines": ["comfyui"],
    "image": "registry.local/comfyui:1.0",
    "gpus": 1,
    "replicas": 2,
    "storage": ["models", "results"],
    "mounts": {"models": "/root/ComfyUI/models", "results": "/root/ComfyUI/output"},
}


def save_at_once(folders: list[Path]) -> None:
    """Two processes list their folders, then both save."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SAVING, str(folder), f"image {number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number, folder in enumerate(folders)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "listed\n"
    for process in processes:
        process.communicate("save\n", timeout=60)
        assert process.returncode == 0


def saved_in(root: Path) -> list[str]:
    return sorted(path.read_text() for path in root.rglob("*.png"))


def find_folder(mount: Json, pod: str) -> str:
    """The folder below a volume's root that a kubelet mounts in a pod."""
    return str(mount.get("subPathExpr", "")).replace("$(POD_NAME)", pod)


def test_two_replicas_that_save_at_once_lose_no_image(tmp_path: Path) -> None:
    pod = pod_of("StatefulSet", "comfyui", services=[COMFYUI], storage=STORAGE)
    container = pod["containers"][0]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}} in container["env"]
    assert "subPathExpr" not in mounts["models"]  # weights are read, and shared

    save_at_once([tmp_path / "own" / find_folder(mounts["results"], f"comfyui-{number}") for number in (0, 1)])
    assert saved_in(tmp_path / "own") == ["image 0", "image 1"]

    save_at_once([tmp_path / "shared"] * 2)
    assert len(saved_in(tmp_path / "shared")) == 1  # what the folders of their own prevent


def test_each_service_of_compose_has_a_folder_or_a_volume_of_its_own() -> None:
    nodes: list[Json] = [{"name": "one", "gpus": [{"model": "RTX 4090"}] * 2}, {"name": "two", "gpus": []}]
    places: tuple[tuple[Json, set[str]], ...] = (
        (
            {"kind": "local", "node": "one", "path": "/srv/results"},
            {"/srv/results/comfyui-0", "/srv/results/comfyui-1"},
        ),
        ({"kind": "local", "node": "one"}, {"results-comfyui-0", "results-comfyui-1"}),
        ({"kind": "nfs", "node": "two", "path": "/export"}, {"results-comfyui-0", "results-comfyui-1"}),
    )
    for place, sources in places:
        storage = [STORAGE[0], {"name": "results", **place}]
        text = rendered("compose", nodes=nodes, services=[COMFYUI], storage=storage)["compose/all/one.yaml"]
        project = yaml.safe_load(text)
        mounts = [service["volumes"] for service in project["services"].values()]
        assert {entry["source"] for volumes in mounts for entry in volumes if "output" in entry["target"]} == sources
        if place["kind"] == "nfs":
            devices = {project["volumes"][name]["driver_opts"]["device"] for name in sources}
            assert devices == {":/export/comfyui-0", ":/export/comfyui-1"}
            assert "mkdir -p /export/comfyui-1" in text
