"""What is rendered for the examples: kept as it was, accepted by its readers, and without a finding of our own linter.

After a change that is meant, write the kept files anew, and read the difference:

    corral render examples/hydra/cluster.yaml --out tests/golden/rendering/hydra
    corral render examples/harvis/cluster.yaml --out tests/golden/rendering/harvis
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from corral.linting.runner import lint
from corral.linting.values import Gap, Source
from corral.operations.cluster_file import read_cluster
from corral.operations.placing import find_places
from corral.rendering.targets import render_cluster
from doubles.clusters import forty_mixed_nodes, open_cluster
from doubles.kubernetes_schemas import NEWEST, OLDEST, objects_in, refusals

ROOT = Path(__file__).parents[3]
GOLDEN = ROOT / "tests" / "golden" / "rendering"
EXAMPLES = {
    "hydra": "examples/hydra/cluster.yaml",
    "hydra-before": "examples/hydra/before.yaml",
    "harvis": "examples/harvis/cluster.yaml",
}
KEPT = ("hydra", "harvis")


def rendered(name: str) -> dict[str, str]:
    if name == "forty":
        text = forty_mixed_nodes() + "kubernetes: {}\n"
        return render_cluster(
            read_cluster(text, name="cluster.yaml").cluster, source="cluster.yaml", text=text, find_places=find_places
        ).files
    opened = open_cluster(ROOT / EXAMPLES[name])
    return render_cluster(opened.cluster, source=EXAMPLES[name], text=opened.text, find_places=find_places).files


@pytest.mark.parametrize("name", KEPT)
def test_what_is_rendered_is_what_was_kept(name: str) -> None:
    folder = GOLDEN / name
    kept = {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}
    assert rendered(name) == kept


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("name", [*EXAMPLES, "forty"])
def test_the_schemas_of_kubernetes_accept_every_object(name: str, version: str) -> None:
    files = rendered(name)
    assert any(objects_in(files))
    assert refusals(files, version) == []


@pytest.mark.parametrize("name", [*EXAMPLES, "forty"])
def test_kustomize_builds_every_overlay(name: str, tmp_path: Path) -> None:
    files = rendered(name)
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    folders = sorted({path.rpartition("/")[0] for path in files if path.endswith("kustomization.yaml")})
    assert len(folders) >= 3
    for folder in folders:
        done = subprocess.run(["kubectl", "kustomize", tmp_path / folder], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("\nkind: ") >= 3


@pytest.mark.parametrize("name", EXAMPLES)
def test_our_own_linter_finds_nothing_in_it(name: str) -> None:
    cluster = open_cluster(ROOT / EXAMPLES[name]).cluster
    report = lint([Source(name=path, text=text) for path, text in rendered(name).items()], cluster=cluster)
    assert [f"{finding.place} {finding.rule.id} {finding.what}" for finding in report.findings] == []
    assert [part for part in report.unread if part.gap is not Gap.UNJUDGED] == []


def test_rendering_the_same_twice_gives_the_same_bytes() -> None:
    assert rendered("forty") == rendered("forty")


def test_every_file_of_harvis_own_documents_has_its_counterpart() -> None:
    files = rendered("harvis")
    assert "kubernetes/overlays/workstation/harvis-ai-ollama-workstation.yaml" in files  # ollama-workstation.yaml
    assert "kubernetes/overlays/workstation/harvis-ai-backend-workstation.yaml" in files  # backend-workstation.yaml
    assert "kubernetes/overlays/edge/merged-ollama-backend.yaml" in files
    urls = {  # base/configmaps.yaml, and its table of both layouts
        item["metadata"]["name"]: item["data"]["OLLAMA_URL"]
        for _, item in objects_in(files)
        if item["kind"] == "ConfigMap" and "OLLAMA_URL" in item["data"] and "backend" in item["metadata"]["name"]
    }
    assert urls == {
        "harvis-ai-backend-config": "http://frontend:11434",  # Corral's door, in front of both
        "harvis-ai-backend-workstation-config": "http://frontend:11434",
    }
