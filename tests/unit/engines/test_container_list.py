"""Containers of instances are asked of the program that runs them; here it is a script, which writes down its calls."""

from __future__ import annotations

from pathlib import Path

import pytest

from corral.cluster import load
from corral.cluster.values import Cluster, Instance
from corral.engines.servers.containers import LISTED_FOR_S, ContainerList, name_listing
from corral.engines.servers.directory import Directory

ID = "ab" * 32
FILE = """\
apiVersion: corral/v1
name: desk
nodes: [{{name: desk, gpus: [{{index: 0}}]}}]
engines:
  ollama:
    instances:
      - {{name: desk, node: desk, gpu: 0, run: {{container: {{image: ollama/ollama, program: {program}}}}}}}
"""


class Running(Directory):
    """A directory in which every instance runs, or none."""

    def __init__(self) -> None:
        super().__init__()
        self.url: str | None = "http://127.0.0.1:4711"

    def find_url(self, engine: str, instance: Instance) -> str | None:
        return self.url


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    program = tmp_path / "docker"
    program.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/calls\necho {ID}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "calls").write_text("")
    return tmp_path / "calls"


def a_cluster(program: str = "docker") -> Cluster:
    return load(FILE.format(program=program), filename="cluster.yaml")


async def test_container_is_listed_while_its_server_runs_and_not_asked_for_at_each_look(calls: Path) -> None:
    directory, now = Running(), [0.0]
    containers = ContainerList(directory, monotonic=lambda: now[0])

    first = [await containers.list_ids(a_cluster()) for _ in range(3)]
    asked = calls.read_text().splitlines()
    now[0] = LISTED_FOR_S
    await containers.list_ids(a_cluster())
    again = calls.read_text().splitlines()
    directory.url = None
    ended = await containers.list_ids(a_cluster())

    assert first == [frozenset({ID})] * 3
    assert asked == ["ps --quiet --no-trunc --filter=label=corral.instance=ollama/desk"]
    assert len(again) == 2
    assert ended == frozenset()


async def test_program_that_is_not_there_lists_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))

    assert await ContainerList(Running()).list_ids(a_cluster("podman")) == frozenset()


def test_service_of_a_compose_file_is_asked_of_compose() -> None:
    text = FILE.format(program="docker").replace(
        "container: {image: ollama/ollama, program: docker}", "compose: {file: ~/ai/compose.yaml, service: ollama}"
    )
    (instance,) = load(text, filename="cluster.yaml").engines["ollama"].instances

    assert name_listing("ollama", instance, Path("/home/ada")) == (
        "docker", "compose", "--file=/home/ada/ai/compose.yaml", "ps", "--quiet", "--no-trunc", "ollama",
    )  # fmt: skip
