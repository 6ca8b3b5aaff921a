"""`corral inventory` on machines with two equal cards, two different ones, and a lost one."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from corral.cluster import load
from corral.hardware.catalogue import find_gpu
from doubles.clusters import forty_mixed_nodes
from doubles.installed import CORRAL, a_terminal
from doubles.nvml_library import build_library, machine

EXAMPLES = Path(__file__).parents[3] / "examples"
Run = Callable[..., subprocess.CompletedProcess[str]]
NO_SUCH_THING, INVALID, CONFLICT = 3, 2, 4


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def run(library: Path, tmp_path: Path) -> Run:
    """Run `corral inventory` on one of the machines, in a folder of its own."""

    def on(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **machine(library, name)}
        command = [str(CORRAL), "inventory", *arguments]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60
        )

    return on


def cards(text: str) -> list[tuple[int, str | None, int | None]]:
    cluster = load(text, filename="printed", find_gpu=find_gpu)
    return [(gpu.index, gpu.model, gpu.power_limit_w) for gpu in cluster.nodes[0].gpus or ()]


@pytest.mark.parametrize(
    ("name", "gpus"),
    [
        ("twins", [(0, "RTX 5070 Ti", None), (1, "RTX 5070 Ti", None)]),
        ("mixed", [(0, "RTX 5090", None), (1, "RTX 4090", 400)]),
        ("lost", [(0, "RTX 5070 Ti", None), (1, "RTX 5070 Ti", None)]),
    ],
)
def test_what_is_printed_is_a_cluster_file_with_the_cards_of_the_machine(
    run: Run, name: str, gpus: list[tuple[int, str | None, int | None]]
) -> None:
    done = run(name)

    assert done.returncode == 0, done.stderr
    assert cards(done.stdout) == gpus


def test_a_lost_card_is_told_on_stderr_and_marked_in_the_file(run: Run) -> None:
    done = run("lost", "--section")

    assert "GPU 1 (NVIDIA GeForce RTX 5070 Ti): lost" in done.stderr
    assert done.stdout.count("# lost: it does not answer the driver") == 1


@pytest.mark.parametrize("name", ["mismatch", "unloaded"])
def test_without_a_working_driver_the_file_leaves_the_gpus_open(run: Run, name: str) -> None:
    done = run(name)

    assert load(done.stdout, filename="printed", find_gpu=find_gpu).nodes[0].gpus is None
    assert "GPUs: unknown" in done.stderr


def test_json_has_what_the_driver_says_of_limits_and_links(run: Run) -> None:
    done = run("mixed", "--json")

    first, second = json.loads(done.stdout)["gpus"]
    assert first["power_limit"] == {"watts": 575.0, "default": 575.0, "min": 400.0, "max": 600.0}
    assert second["power_limit"]["watts"] == 400.0
    assert first["pcie"] == {"now": {"generation": 1, "width": 8}, "best": {"generation": 5, "width": 16}}
    assert (first["model"], first["driver_name"]) == ("RTX 5090", "NVIDIA GeForce RTX 5090")


def test_json_of_a_lost_card_has_its_state_and_no_guesses(run: Run) -> None:
    _, lost = json.loads(run("lost", "--json").stdout)["gpus"]

    assert (lost["state"], lost["problem"], lost["memory"]) == ("lost", "GPU is lost", None)
    assert lost["power_limit"] == {"watts": None, "default": None, "min": None, "max": None}


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ((EXAMPLES / "hydra/before.yaml").read_text(), "hydra-compute"),
        ((EXAMPLES / "hydra/cluster.yaml").read_text(), "hydra-compute"),
        ((EXAMPLES / "harvis/cluster.yaml").read_text(), "pop-os"),
        (forty_mixed_nodes(), "node-13"),
    ],
    ids=["before", "hydra", "harvis", "forty"],
)
def test_it_merges_into_any_file_and_keeps_every_comment(run: Run, tmp_path: Path, text: str, node: str) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text(text)

    done = run("twins", "--merge", "cluster.yaml", "--node", node, "--yes", "--json")

    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["node"], report["is_new"], report["changed"], report["written"]) == (node, False, True, True)
    after = load(file.read_text(), filename="merged", find_gpu=find_gpu)
    uuids = [gpu.uuid for entry in after.nodes if entry.name == node for gpu in entry.gpus or ()]
    assert "GPU-11111111-1111-4111-8111-111111111111" in uuids
    comments = [line.partition("#")[2] for line in text.splitlines() if "#" in line]
    assert [comment for comment in comments if comment not in file.read_text()] == []


def test_a_lost_card_is_never_removed_by_a_merge(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(run("twins").stdout)

    done = run("lost", "--merge", "cluster.yaml", "--yes")

    assert "GPU 1 is lost; it stays in the file" in done.stderr
    assert len(cards((tmp_path / "cluster.yaml").read_text())) == 2


def test_a_merge_shows_what_would_change_and_writes_only_when_it_is_agreed_to(run: Run, tmp_path: Path) -> None:
    before = (EXAMPLES / "hydra/before.yaml").read_text()
    (tmp_path / "cluster.yaml").write_text(before)
    options = ("--merge", "cluster.yaml", "--node", "hydra-compute")

    looked, unasked = run("twins", *options, "--dry-run"), run("twins", *options)

    assert looked.returncode == 0
    assert "-      - {model: RTX 3060 12GB, index: 1}\n" in looked.stdout
    assert unasked.returncode == INVALID
    assert "there is no terminal to ask on" in unasked.stderr
    assert (tmp_path / "cluster.yaml").read_text() == before


def test_a_machine_that_is_no_node_of_the_file_is_not_merged_into_any(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text((EXAMPLES / "hydra/before.yaml").read_text())

    done = run("twins", "--merge", "cluster.yaml", "--yes", "--json")

    assert done.returncode == NO_SUCH_THING
    assert json.loads(done.stderr)["error"]["code"] == "inventory.which_node"


def test_a_file_that_somebody_edits_before_the_answer_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("apiVersion: corral/v1\nname: a\nnodes:\n  - name: box\n")

    with a_terminal(tmp_path, "inventory", "--merge", "cluster.yaml", "--node", "box") as terminal:
        terminal.until("write this into cluster.yaml? [y/N] ")
        file.write_text("apiVersion: corral/v1\nname: b\nnodes:\n  - name: box\n")
        terminal.type("y\n")
        terminal.until("the file was changed after it was read")
        assert terminal.exit_code() == CONFLICT

    assert "name: b\n" in file.read_text()


def test_an_answer_of_yes_writes_the_file(tmp_path: Path) -> None:
    file = tmp_path / "cluster.yaml"
    file.write_text("apiVersion: corral/v1\nname: a\nnodes:\n  - name: box # mine\n")

    with a_terminal(tmp_path, "inventory", "--merge", "cluster.yaml", "--node", "box") as terminal:
        terminal.until("[y/N] ")
        terminal.type("y\n")
        assert terminal.exit_code() == 0

    assert "  - name: box # mine\n    os: " in file.read_text()


def test_line_ends_of_a_file_stay_as_they_are(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_bytes(b"apiVersion: corral/v1\r\nname: a\r\nnodes:\r\n  - name: box # me\r\n")

    run("twins", "--merge", "cluster.yaml", "--node", "box", "--yes")

    text = (tmp_path / "cluster.yaml").read_bytes()
    assert b"GPU-2222" in text
    assert text.count(b"\n") == text.count(b"\r\n")
