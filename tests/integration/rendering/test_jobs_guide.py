"""The guide to training and burn-in: its cluster file is rendered, and becomes what the guide shows and names."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from corral.cluster import load
from corral.hardware.catalogue import find_gpu
from corral.linting.runner import lint
from corral.linting.values import Source
from corral.rendering.targets import render_cluster
from doubles.kubernetes_schemas import NEWEST, OLDEST, objects_in, refusals

GUIDE = (Path(__file__).parents[3] / "docs" / "guides" / "training-and-burn-in.md").read_text(encoding="utf-8")
SHOWN = re.findall(r"^```yaml\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
_TRAINER, CLUSTER_FILE, JOB, _BURN_IN, _LENDING, TWO_LAYOUTS = SHOWN

Json = Any  # Kubernetes objects, and parts of them


def rendered(text: str = CLUSTER_FILE) -> dict[str, str]:
    cluster = load(text, filename="home.yaml", find_gpu=find_gpu)
    return dict(render_cluster(cluster, source="home.yaml", text=text).files)


def kinds(files: dict[str, str], kind: str, folder: str = "kubernetes/") -> dict[str, Json]:
    items = [item for _, item in objects_in(files, folder) if item["kind"] == kind]
    return {item["metadata"]["name"]: item for item in items}


def lacks(whole: Json, part: Json, place: str = "") -> list[str]:
    """Where a part is not in the whole; of lists of named things, those with the same name are compared."""
    if isinstance(part, dict):
        return [lack for key, value in part.items() for lack in lacks((whole or {}).get(key), value, f"{place}.{key}")]
    if isinstance(part, list) and part and isinstance(part[0], dict):
        by_name = {entry["name"]: entry for entry in whole or []}
        return [lack for item in part for lack in lacks(by_name.get(item["name"]), item, f"{place}.{item['name']}")]
    return [] if whole == part else [f"{place}: {whole!r} instead of {part!r}"]


def test_the_job_that_is_shown_is_in_what_is_rendered() -> None:
    assert lacks(kinds(rendered(), "Job")["lora"], yaml.safe_load(JOB)) == []


def test_every_file_that_is_named_is_written() -> None:
    named = set(re.findall(r"\bhome/((?:kubernetes|kueue|compose)/[\w./-]*\bday\b[\w./-]*)", GUIDE))
    files = rendered()
    assert len(named) >= 6
    assert [path for path in named if path not in files and f"{path}/kustomization.yaml" not in files] == []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_kubernetes_accepts_what_is_rendered(version: str) -> None:
    assert refusals(rendered(), version) == []


def test_our_linter_finds_nothing_in_it() -> None:
    cluster = load(CLUSTER_FILE, filename="home.yaml", find_gpu=find_gpu)
    report = lint([Source(name=path, text=text) for path, text in rendered().items()], cluster=cluster)
    assert [f"{finding.place} {finding.rule.id} {finding.what}" for finding in report.findings] == []


def test_the_layout_brings_what_its_jobs_need_and_starts_none(tmp_path: Path) -> None:
    files = rendered()
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    built = subprocess.run(
        ["kubectl", "kustomize", tmp_path / "kueue/day"], capture_output=True, text=True, check=True
    ).stdout
    applied = [(item["kind"], item["metadata"]["name"]) for item in yaml.safe_load_all(built)]

    jobs = kinds(files, "Job")
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for job in jobs.values()
        for volume in job["spec"]["template"]["spec"]["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    queues = [job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] for job in jobs.values()]
    assert (claims, queues) == (["training"], ["training", "training"])
    assert ("PersistentVolumeClaim", "training") in applied
    assert ("LocalQueue", "training") in applied
    assert "Job" not in {kind for kind, _ in applied}


def test_the_queue_has_the_cards_of_its_pool() -> None:
    shown = re.search(r"do not hold: (\d) for `training`", GUIDE)
    assert shown is not None
    assert _cards(rendered(), "day") == int(shown[1])


def test_a_layout_without_the_services_gives_their_cards_to_the_queue() -> None:
    services = [
        {"name": "comfyui", "engines": ["comfyui"], "image": "a:1.0", "gpus": 1, "node": "forge", "lends": False},
        {"name": "lora", "kind": "job", "image": "lora:1.0", "gpus": 2, "node": "forge"},
    ]
    parts = yaml.safe_load(CLUSTER_FILE) | yaml.safe_load(TWO_LAYOUTS) | {"services": services, "storage": []}
    parts["nodes"] = [node for node in parts["nodes"] if node["name"] == "forge"]
    files = rendered(yaml.safe_dump(parts))

    replicas = {
        layout: kinds(files, "StatefulSet", f"kubernetes/overlays/{layout}")["comfyui"]["spec"]["replicas"]
        for layout in ("day", "training")
    }
    assert replicas == {"day": 2, "training": 0}
    assert (_cards(files, "day"), _cards(files, "training")) == (0, 2)


def _cards(files: dict[str, str], layout: str) -> int:
    queue = kinds(files, "ClusterQueue", f"kueue/{layout}/")["home-training"]
    flavors = [flavor for group in queue["spec"]["resourceGroups"] for flavor in group["flavors"]]
    quotas = [quota for flavor in flavors for quota in flavor["resources"] if quota["name"] == "nvidia.com/gpu"]
    return sum(int(quota["nominalQuota"]) for quota in quotas)
