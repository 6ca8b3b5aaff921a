"""What is documented is what is there: pages are generated anew and compared, and what the code has is looked for.

The second half reads the code in its own way, not with the generator's, so that a thing that the generator overlooks is
missed here.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from typer.main import get_command

import corral
from corral.batchfile.shape import json_schema as batch_schema
from corral.cli.main import app
from corral.cluster.schema import make_json_schema as cluster_schema
from corral.engine_kinds import ENGINES
from corral.engines.inputs import load_inputs, load_options
from corral.scheduling.values import Rule
from corral.server.api.app import create_app
from corral.server.services import Services
from corral.tasks.lifecycle import TRANSITIONS, TaskState
from corral.units import format_bytes
from corral.weights.catalogue import CATALOGUE

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
SOURCES = [path.read_text(encoding="utf-8") for path in sorted(Path(corral.__file__).parent.rglob("*.py"))]


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def in_sources(pattern: str) -> set[str]:
    return {match for text in SOURCES for match in re.findall(pattern, text, re.MULTILINE)}


def commands(command: Any, *words: str) -> Iterator[tuple[str, Any]]:  # Any: Typer's command has no public type
    yield " ".join(words), command
    for word, subcommand in getattr(command, "commands", {}).items():
        yield from commands(subcommand, *words, word)


def properties(schema: Any) -> Iterator[str]:  # Any: JSON Schema
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from properties(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from properties(value)


def test_every_generated_page_is_up_to_date() -> None:
    command = [sys.executable, str(DOCS / "generate" / "all.py"), "--check"]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


@pytest.fixture
def generate(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """The generator in this process, which has loaded most of it: arguments and a folder in, the exit code out."""
    monkeypatch.syspath_prepend(DOCS / "generate")
    return import_module("all").main


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(DOCS, tmp_path / "docs"))


def test_stale_pages_are_named_by_a_check_that_changes_nothing_and_made_anew_by_a_run(
    copy: Path, generate: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, in_part = copy / "reference" / "metrics.md", copy / "concepts" / "tasks.md"
    good = {path: path.read_text(encoding="utf-8") for path in (whole, in_part)}
    stale = {whole: "old\n", in_part: good[in_part].replace("queued --> leased", "queued --> running")}
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")

    named = [path.relative_to(copy).as_posix() for path in stale]
    code = generate(["--check", *named], copy)

    shown = capsys.readouterr().out
    assert code == 1
    assert "docs/reference/metrics.md is stale" in shown
    assert "docs/concepts/tasks.md is stale" in shown
    assert {path: path.read_text(encoding="utf-8") for path in stale} == stale
    assert generate(named, copy) == 0
    assert {path: path.read_text(encoding="utf-8") for path in good} == good


def test_a_part_that_nobody_generates_is_an_error(copy: Path, generate: Callable[..., int]) -> None:
    tasks = copy / "concepts" / "tasks.md"
    tasks.write_text("<!-- generated: nothing -->\n<!-- end -->\n", encoding="utf-8")
    with pytest.raises(LookupError, match="no region is called 'nothing'"):
        generate(["--check", "concepts/tasks.md"], copy)


def test_every_command_and_every_option_is_documented() -> None:
    text = page("reference/cli.md")
    listed = list(commands(get_command(app), "corral"))
    assert {name for name, _ in listed[1:] if f"# {name}\n" not in text} == set()
    options = {flag for _, command in listed for param in command.params for flag in param.opts if flag.startswith("-")}
    assert {flag for flag in options if not re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", text)} == set()


def test_every_route_is_documented() -> None:
    description = create_app(cast("Services", SimpleNamespace(pool=None, alarms=None, guests=None))).openapi()
    routes = {f"### {method.upper()} {path}\n" for path, all in description["paths"].items() for method in all}
    assert {route for route in routes if route not in page("reference/api.md")} == set()
    shapes = {name for name in description["components"]["schemas"] if f"### {name}\n" not in page("reference/api.md")}
    assert shapes == set()


@pytest.mark.parametrize(("name", "schema"), [("cluster-file", cluster_schema), ("batch-file", batch_schema)])
def test_every_setting_of_a_file_is_documented(name: str, schema: Any) -> None:
    text = page(f"reference/{name}.md")
    assert {key for key in properties(schema()) if f"| `{key}` |" not in text} == set()


def test_every_error_code_is_documented() -> None:
    text = page("reference/errors.md")
    codes = in_sources(r"^    code(?:: ClassVar\[str\])? = \"([a-z]+\.[a-z_]+)\"")
    codes |= in_sources(r"Problem\(\s*code=\"([a-z]+\.[a-z_]+)\"")
    assert codes
    assert {code for code in codes if f"| `{code}` |" not in text} == set()


def test_every_metric_is_documented() -> None:
    text = page("reference/metrics.md")
    metrics = in_sources(r"(?:Gauge|Counter|Histogram)\(\s*\"(corral_\w+)\"")
    assert metrics
    assert {name for name in metrics if not re.search(rf"`{name}(_total)?`", text)} == set()


def test_every_environment_variable_is_documented() -> None:
    text = page("reference/configuration.md")
    variables = in_sources(r"\b(CORRAL_[A-Z_]+)\b") | in_sources(r"environ(?:\.get\(|\[)\"([A-Z_]+)\"")
    assert variables
    assert {name for name in variables if f"`{name}`" not in text} == set()


def test_every_file_of_the_data_directory_is_documented() -> None:
    text = page("reference/configuration.md")
    names = in_sources(r"\bdata(?:_dir)? / \"([\w.]+)\"")
    names |= in_sources(
        r"^(?:LOCK_FILE|PRESENCE_FILE|HOLDER_FILE|CLUSTER_FILE|SERVER_LOG|MODELS_FOLDER) = \"([\w.]+)\""
    )
    assert names
    assert {name for name in names if not re.search(rf"\| `{re.escape(name)}/?` \|", text)} == set()


def test_every_state_event_and_rule_is_documented() -> None:
    tasks, scheduling = page("concepts/tasks.md"), page("concepts/scheduling.md")
    assert {state for state in TaskState if f"**{state}**" not in tasks} == set()
    events = {re.sub(r"(?<!^)([A-Z])", r"_\1", event.__name__).lower() for event in TRANSITIONS}
    assert {event for event in events if f"| `{event}` |" not in tasks} == set()
    assert {rule for rule in Rule if f"| `{rule}` |" not in scheduling} == set()


def test_the_diagram_has_every_transition_and_no_other() -> None:
    drawn = set(re.findall(r"^    (\w+) --> (\w+): ", page("concepts/tasks.md"), re.MULTILINE))
    table = {
        (before.value, after.value)
        for ways in TRANSITIONS.values()
        for before, to in ways.items()
        for after in to
        if before is not after
    }
    assert drawn == table


def test_every_engine_has_a_section_with_its_inputs_outputs_and_values() -> None:
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page("concepts/engines.md"), re.MULTILINE | re.DOTALL))
    assert set(ENGINES) <= set(sections)
    for name, kind in ENGINES.items():
        words = [field.alias or key for key, field in load_inputs(kind).model_fields.items()]
        words += [field.alias or key for key, field in load_options(kind).model_fields.items()]
        words += [rule.name for rule in (*kind.outputs, *kind.values)]
        assert {word for word in words if f"| `{word}` |" not in sections[name]} == set()


def test_every_model_of_the_catalogue_is_documented() -> None:
    text = page("concepts/engines.md")
    for entry in CATALOGUE:
        assert f"| `{entry.name}` |" in text
        assert format_bytes(entry.size or 0) in text
