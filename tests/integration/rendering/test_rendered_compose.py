"""Compose files, held to Docker Compose itself, to the schema of the Compose specification, and to our own linter.

The schema is the `compose-spec.json` that the program `check-jsonschema` carries, and the program reads the files.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from corral.linting.runner import lint
from corral.linting.values import Gap, Source
from corral.operations.cluster_file import read_cluster
from corral.operations.placing import find_places
from corral.rendering.targets import render_cluster
from doubles.clusters import forty_mixed_nodes, open_cluster
from doubles.docker_compose import refuse
from doubles.environments import installed

ROOT = Path(__file__).parents[3]
OURS = ["litellm", "compose", "nginx"]
LOCK = Path(__file__).with_name("check-jsonschema.lock")
EXAMPLES = ("examples/hydra/cluster.yaml", "examples/hydra/before.yaml", "examples/harvis/cluster.yaml")


def rendered(name: str) -> tuple[Any, dict[str, str]]:
    opened = read_cluster(forty_mixed_nodes(), name=name) if name == "forty" else open_cluster(ROOT / name)
    return opened.cluster, render_cluster(
        opened.cluster, source=name, text=opened.text, only=OURS, find_places=find_places
    ).files


@pytest.fixture(scope="module")
def checker() -> Path:
    """The program that knows the schema."""
    return installed(LOCK, "check-jsonschema")


def problems_of(checker: Path, files: list[Path]) -> str:
    command = [checker, "--builtin-schema", "vendor.compose-spec", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize("name", [*EXAMPLES, "forty"])
def test_the_schema_of_compose_accepts_every_file(name: str, checker: Path, tmp_path: Path) -> None:
    _, files = rendered(name)
    projects: list[Path] = []
    for path, text in files.items():
        if path.startswith("compose/") and path.count("/") == 2:
            projects.append(tmp_path / path.replace("/", "-"))
            projects[-1].write_text(text)
    assert projects
    assert problems_of(checker, projects) == ""


@pytest.mark.parametrize("name", [*EXAMPLES, "forty"])
def test_docker_compose_takes_every_file(name: str, tmp_path: Path) -> None:
    _, files = rendered(name)
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    projects = [tmp_path / path for path in files if path.startswith("compose/") and path.count("/") == 2]
    variables = {name: "/set" for project in projects for name in re.findall(r"\$\{(\w+):\?", project.read_text())}
    assert projects
    assert {project.name: refuse(project, variables=variables) for project in projects} == {
        project.name: "" for project in projects
    }


def test_the_schema_of_compose_refuses_what_is_wrong(checker: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("services: {one: {image: a, restrat: always}}\n")
    assert "restrat" in problems_of(checker, [tmp_path / "wrong.yaml"])


@pytest.mark.parametrize("name", [*EXAMPLES, "forty"])
def test_our_linter_finds_only_what_the_cluster_file_leaves_out(name: str) -> None:
    cluster, files = rendered(name)
    report = lint([Source(name=path, text=text) for path, text in files.items()], cluster=cluster)
    without_storage = {"E06"} if name == "forty" else set()  # its Ollama services have no volume
    assert {finding.rule.id for finding in report.findings} == without_storage, report.findings
    assert [part for part in report.unread if part.gap is not Gap.UNJUDGED] == []


def test_a_machine_without_services_has_no_file() -> None:
    assert rendered("examples/edge.yaml")[1] == {}
