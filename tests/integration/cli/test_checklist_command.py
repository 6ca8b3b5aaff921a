"""`corral checklist` as it is installed: on the examples, with and without somebody at the terminal."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from corral.cli.main import run_command
from doubles.clusters import forty_mixed_nodes
from doubles.installed import CORRAL, a_terminal
from doubles.nvml_library import build_library, machine

EXAMPLES = Path(__file__).parents[3] / "examples"
HYDRA = (str(EXAMPLES / "hydra" / "before.yaml"), "--to", str(EXAMPLES / "hydra" / "cluster.yaml"))
NOT_SETTLED, INVALID, NO_SUCH_THING, CONFLICT = 1, 2, 3, 4
CARDS, SUPPLY = "hardware.hydra-compute.cards", "hardware.hydra-compute.supply"
BOX = """\
apiVersion: corral/v1
name: box
nodes: [{name: box, psu: {watts: 1000, otherWatts: 150}, gpus: [{model: RTX 5070 Ti}]}]
"""
Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `corral checklist` in this process, with nobody at the terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def unattended(*arguments: str) -> Done:
        code = run_command(["checklist", *arguments, "--data-dir", "data"])
        out, err = capsys.readouterr()
        return Done(arguments, code, out, err)

    return unattended


@pytest.fixture
def run_on_twins(library: Path, tmp_path: Path) -> Run:
    """Run it as a process on a machine with two RTX 5070 Ti, without kubectl and with nobody at the terminal."""

    def unattended(*arguments: str) -> Done:
        environment = {**os.environ, **machine(library, "twins"), "PATH": "/nonexistent"}
        return subprocess.run(
            [str(CORRAL), "checklist", *arguments, "--data-dir", "data"],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return unattended


def statuses(done: Done) -> dict[str, str]:
    record: Any = json.loads(done.stdout)
    return {item["id"]: item["status"] for item in record["items"]}


def test_showing_writes_nothing(run: Run, tmp_path: Path) -> None:
    done = run(*HYDRA, "-v")

    assert done.returncode == 0, done.stderr
    assert "$ kubectl label node hydra-compute hydra.io/has-3060-" in done.stdout
    assert done.stdout.startswith("0 of 36 settled; 36 open; next: hydra-compute: the power supply carries the GPUs")
    assert not (tmp_path / "data").exists()


def test_a_run_that_nobody_attends_looks_asks_nothing_runs_nothing_and_says_what_is_left(run_on_twins: Run) -> None:
    done = run_on_twins(*HYDRA, "--run", "--json")

    seen = statuses(done)
    assert done.returncode == NOT_SETTLED
    assert seen[CARDS] == "done"
    assert seen["hardware.hydra-compute.limits"] == "failed"
    assert seen["software.hydra-compute.ready"] == "unknown"
    assert seen["hardware.hydra-compute.load-test"] == "unknown"
    assert seen["hardware.hydra-compute.drain"] == "open"
    assert "nothing puts the GPUs under load" in done.stderr
    assert "would ask: is the GPU in its slot" in done.stderr
    assert '--done hardware.hydra-compute.install.gpu1 --reason "..."' in done.stderr


def test_answers_are_kept_between_runs_with_their_reason(run: Run, run_on_twins: Run) -> None:
    first = run(*HYDRA, "--done", "hardware.hydra-compute.connectors", "--reason", "two cables of 12V-2x6", "--json")
    second = run_on_twins(*HYDRA, "--run", "--item", CARDS, "--json")

    seen = {item["id"]: item for item in json.loads(second.stdout)["items"]}
    assert first.returncode == 0
    assert seen["hardware.hydra-compute.connectors"]["evidence"] == "two cables of 12V-2x6"
    assert seen[CARDS]["status"] == "done"
    assert "PCIe x8 of x16" in seen[CARDS]["evidence"]


def test_a_dry_run_does_nothing_and_says_what_it_would_do(run: Run, tmp_path: Path) -> None:
    done = run(*HYDRA, "--run", "--yes", "--dry-run", "--json")

    would = {item["id"]: item["would"] for item in json.loads(done.stdout)["items"]}
    assert done.returncode == 0
    assert would[CARDS] == "would look"
    assert would["software.hydra-compute.rebuild"] == "would run"
    assert would["documentation.report"] == "would ask"
    assert not (tmp_path / "data").exists()


def test_another_upgrade_of_the_same_cluster_is_noticed(run: Run) -> None:
    run(*HYDRA, "--done", SUPPLY, "--reason", "measured")

    other = run(HYDRA[0], "--replace", "hydra-compute/gpu1=RTX 5090", "--run", "--item", SUPPLY)
    shown = run(HYDRA[0], "--replace", "hydra-compute/gpu1=RTX 5090")
    again = run(HYDRA[0], "--replace", "hydra-compute/gpu1=RTX 5090", "--run", "--item", SUPPLY, "--restart", "--json")

    assert (other.returncode, shown.returncode) == (CONFLICT, 0)
    assert "add `--carry-over`" in other.stderr
    assert "not shown: there are answers" in shown.stderr
    assert set(statuses(again).values()) == {"open"}


def test_the_report_is_markdown_json_and_a_chart(run: Run, tmp_path: Path) -> None:
    run(*HYDRA, "--done", SUPPLY, "--reason", "measured")
    done = run(*HYDRA, "--run", "--item", SUPPLY, "--report", "migration.md")

    assert done.returncode == NOT_SETTLED
    assert "- [x] **hydra-compute: the power supply carries the GPUs**" in (tmp_path / "migration.md").read_text()
    assert json.loads((tmp_path / "migration.json").read_text())["counts"] == {"open": 35, "done": 1}
    assert (tmp_path / "migration-phases.svg").read_text().startswith("<svg")


def test_wrong_input_is_told_with_its_hint(run: Run) -> None:
    unknown = run(*HYDRA, "--run", "--item", "hardware.hydra-compute.card")
    no_reason = run(*HYDRA, "--done", CARDS)
    unclear = run(HYDRA[0])
    nowhere = run(*HYDRA, "--run", "--report", "nowhere/report.md")

    assert (unknown.returncode, no_reason.returncode, unclear.returncode) == (NO_SUCH_THING, INVALID, INVALID)
    assert (nowhere.returncode, nowhere.stdout) == (INVALID, "")
    assert f"did you mean `{CARDS}`?" in unknown.stderr
    assert "error[checklist.no_reason]" in no_reason.stderr


@pytest.mark.parametrize(
    ("before", "change"),
    [
        ("hydra/before.yaml", ("--replace", "hydra-compute/gpu1=RTX 5070 Ti", "--adapt")),
        ("hydra/cluster.yaml", ("--remove", "hydra-compute/gpu1")),
        ("harvis/cluster.yaml", ("--add", "pop-os=RTX 4090")),
    ],
)
def test_every_example_has_a_checklist(run: Run, before: str, change: tuple[str, ...]) -> None:
    done = run(str(EXAMPLES / before), *change, "--json")

    assert done.returncode == 0, done.stderr
    assert statuses(done)


def test_forty_mixed_nodes_have_one_too(run: Run, tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(forty_mixed_nodes())

    done = run("--add", "node-05=RTX 5090", "--json")

    assert done.returncode == 0, done.stderr
    assert "hardware.node-05.install.gpu0" in statuses(done)


def test_a_person_answers_at_the_terminal_and_may_leave_at_any_moment(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text(BOX)
    arguments = ("checklist", "--limit", "box=250", "--run", "--item", "hardware.box.limit.gpu0", "--item")

    with a_terminal(tmp_path, *arguments, "software.box.limits-unit") as terminal:
        terminal.until("$ sudo nvidia-smi -i 0 -pl 250")
        terminal.until("Enter for later: ")
        terminal.type("d\n")
        terminal.until("a note for the report (Enter for none): ")
        terminal.type("set by hand\n")
        terminal.until("ExecStart=/usr/bin/nvidia-smi -i 0 -pl 250")
        terminal.until("Enter for later: ")
        terminal.type("\x03")  # Ctrl-C
        assert terminal.exit_code() == 130

    kept = json.loads((tmp_path / "data" / "checklists" / "box.json").read_text())["answers"]
    assert list(kept) == ["hardware.box.limit.gpu0"]
    assert kept["hardware.box.limit.gpu0"]["evidence"] == "a person confirmed it: set by hand"
