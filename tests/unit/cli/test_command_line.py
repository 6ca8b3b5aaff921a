"""The command line itself: help with examples, exit codes, the form of errors."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from corral.cli import exits
from corral.cli.help_page import COMMANDS_BY_PURPOSE
from corral.cli.main import app, run_command
from corral.cli.running.watching import Choice, read_choice
from corral.errors import Kind


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:  # typer's own types
    """Walk over every command, groups included."""
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))


ALL = list(commands(get_command(app)))


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) or "corral" for path, _ in ALL])
def test_help_of_every_command_ends_with_an_example_of_it(
    path: tuple[str, ...], command: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command([*path, "--help"]) == 0

    last = capsys.readouterr().out.rstrip().splitlines()[-1].strip()
    assert last.startswith(f"Example: corral {' '.join(path)}".rstrip())


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) or "corral" for path, _ in ALL])
def test_every_example_is_understood(path: tuple[str, ...], command: Any) -> None:
    words = shlex.split(command.epilog.removeprefix("Example: ").partition(" > ")[0])
    known = [parts for parts, _ in ALL if parts == tuple(words[1 : 1 + len(parts)])]
    parts = max(known, key=len)
    target = dict(ALL)[parts]

    context = target.make_context("corral", words[1 + len(parts) :])

    assert context.params is not None


@pytest.mark.parametrize(("path", "command"), ALL[1:], ids=[" ".join(path) for path, _ in ALL[1:]])
def test_a_command_is_described_in_one_line_of_80_columns(path: tuple[str, ...], command: Any) -> None:
    longest = max(len(other[-1]) for other, _ in ALL[1:] if other[:-1] == path[:-1])

    assert not command.get_short_help_str(80 - longest - 6).endswith("...")


def test_every_command_is_under_one_title_of_the_help() -> None:
    titled = [name for names in COMMANDS_BY_PURPOSE.values() for name in names]

    assert sorted(titled) == sorted(name for (name,) in (path for path, _ in ALL if len(path) == 1))


REQUIRING = [path for path, command in ALL if any(parameter.required for parameter in command.params)]


@pytest.mark.parametrize("path", REQUIRING, ids=" ".join)
def test_a_missing_argument_is_named_with_the_help_and_an_example(
    path: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(list(path)) == exits.CODES[Kind.INVALID]

    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.match(r"error\[cli\.usage\]: missing (argument|option) '\S+", captured.err)
    assert f"run `corral {' '.join(path)} --help`; for example `corral {' '.join(path)} " in captured.err


@pytest.mark.parametrize("path", [(), ("tasks",)])
def test_a_group_without_a_command_prints_its_help(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(list(path)) == exits.CODES[Kind.INVALID]

    captured = capsys.readouterr()
    assert captured.out.startswith(f"Usage: {' '.join(['corral', *path])}")
    assert captured.err == ""


def test_every_kind_of_error_has_an_exit_code_of_its_own() -> None:
    assert set(exits.CODES) == set(Kind)
    assert len({*exits.CODES.values(), 0, exits.TASKS_FAILED, exits.INTERRUPTED}) == len(Kind) + 3


def test_a_misspelt_command_is_refused_with_the_word_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["taks"]) == 2

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error[cli.usage]: no such command 'taks'. Did you mean 'tasks'")


def test_every_problem_is_printed_and_nothing_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("apiVersion: corral/v1\nkind: Batch\nname: b\nx: 1\ny: 2\ntasks: [{name: a}]\n")

    assert run_command(["submit", str(file), "--dry-run"]) == exits.CODES[Kind.INVALID]

    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("error[batchfile.unknown_key]") == 2
    assert f"at: {file}:4:1 x" in captured.err


def test_errors_are_json_on_stderr_where_json_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["tasks", "list", "--data-dir", str(tmp_path), "--json"]) == exits.CODES[Kind.UNAVAILABLE]

    captured = capsys.readouterr()
    error = json.loads(captured.err)["error"]
    assert (error["code"], error["kind"], error["where"]) == ("server.none", "unavailable", str(tmp_path))
    assert [problem["code"] for problem in error["problems"]] == ["server.none"]


def test_a_step_that_cannot_be_undone_is_refused_when_nobody_can_be_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["models", "rm", "smollm2", "--data-dir", str(tmp_path)]) == exits.CODES[Kind.INVALID]
    assert "add `--yes`" in capsys.readouterr().err


def test_a_dry_run_needs_no_server_and_submits_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    example = Path(__file__).parents[3] / "examples" / "first-batch.yaml"

    assert run_command(["run", str(example), "--dry-run", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["tasks"]) == 12


@pytest.mark.parametrize("arguments", [["schema"], ["schema", "--batch"]])
def test_schemas_are_json_on_stdout(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(arguments) == 0
    assert json.loads(capsys.readouterr().out)["$schema"].startswith("https://json-schema.org/")


def test_an_answer_is_understood_by_its_first_letter_if_it_is_offered() -> None:
    offered = (Choice.CONTINUE, Choice.LEAVE)

    assert read_choice(" Leave\n", offered) is Choice.LEAVE
    assert read_choice("s\n", offered) is None
    assert read_choice("\n", offered) is None


def test_a_command_loads_what_it_needs_and_not_what_others_need() -> None:
    others = ("asyncio", "aiohttp", "pydantic", "ruamel.yaml", "corral.cluster", "corral.operations", "corral.hardware")
    probe = f"import sys, corral.cli.main\nprint([name for name in {others!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
