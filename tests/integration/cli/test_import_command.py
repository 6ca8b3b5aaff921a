"""`corral import` as people use it: the file on stdout, the report on stderr, exit codes."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from corral.cli.main import run_command
from doubles.imports import CASES

COMPOSE = str(CASES / "compose" / "compose.yaml")
NOT_USABLE, INVALID, MISSING, CONFLICT = 1, 2, 3, 4
Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `corral import` in this process, in a folder of its own, with no terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())

    def import_(*arguments: str) -> Done:
        code = run_command(["import", *arguments])
        out, err = capsys.readouterr()
        return Done(arguments, code, out, err)

    return import_


def test_stdout_is_the_file_alone_and_stderr_says_what_is_not_in_it(run: Run) -> None:
    done = run(COMPOSE, "--node", "desk", "--gpu", "desk=RTX 4090", "--name", "home")

    file = yaml.safe_load(done.stdout)
    assert done.returncode == 0, done.stderr
    assert (file["name"], file["nodes"][0]["gpus"][0]["model"]) == ("home", "RTX 4090")
    assert f"not imported: {COMPOSE}:14:" in done.stderr
    assert "rendered otherwise: trainer service: a service becomes it names no image" in done.stderr


def test_a_file_that_exists_is_overwritten_only_when_agreed(run: Run, tmp_path: Path) -> None:
    first = run(COMPOSE, "--out", "cluster.yaml")
    text = (tmp_path / "cluster.yaml").read_text()
    (tmp_path / "cluster.yaml").write_text("mine")
    second = run(COMPOSE, "--out", "cluster.yaml")
    third = run(COMPOSE, "--out", "cluster.yaml", "--yes")

    assert (first.returncode, second.returncode, third.returncode) == (0, CONFLICT, 0)
    assert first.stdout == ""
    assert (tmp_path / "cluster.yaml").read_text() == text


def test_json_has_the_file_the_gaps_and_the_differences(run: Run) -> None:
    answer = json.loads(run(COMPOSE, "--json").stdout)

    assert answer["services"] == 3
    assert answer["text"].startswith("# Written by `corral import`")
    assert answer["gaps"][0]["place"] == {"file": COMPOSE, "line": 14, "column": 13}
    assert answer["differences"][0]["subject"] == "trainer"


def test_a_file_that_needs_an_edit_is_printed_with_each_problem_and_exit_code_1(run: Run, tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_text("services: {web: {image: 'example.org/web:1', expose: [99999]}}\n")

    done = run("compose.yaml")

    assert done.returncode == NOT_USABLE
    assert "needs an edit: " in done.stderr
    assert "web" in done.stdout


def test_what_is_no_input_is_refused_with_what_to_do(run: Run, tmp_path: Path) -> None:
    (tmp_path / "notes.yaml").write_text("hello: world\n")

    assert run().returncode == INVALID
    assert run(COMPOSE, "--from-cluster").returncode == INVALID
    assert run(COMPOSE, "--gpu", "desk").returncode == INVALID
    assert run("missing.yaml").returncode == INVALID
    nothing = run("notes.yaml")
    assert nothing.returncode == MISSING
    assert "no service was found (notes.yaml:1:1: not imported" in nothing.stderr
