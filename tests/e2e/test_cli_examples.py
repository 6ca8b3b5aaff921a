"""Every example that help shows, typed as it stands, against a real server."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from typing import Any

import pytest
from typer.main import get_command

from corral.cli.main import app
from doubles.installed import CORRAL, a_home, run, start, the_models

EXAMPLES = Path(__file__).parents[2] / "examples"
CLUSTER = """
apiVersion: corral/v1
name: test
nodes: [{name: node, gpus: [], cpu: {slots: 2}}]
engines: {llama: {}, whisper: {}, piper: {}, command: {enabled: true}}
"""
BATCH = {
    "apiVersion": "corral/v1",
    "kind": "Batch",
    "name": "small",
    "tasks": [{"name": f"t{n}", "engine": "command", "inputs": {"argv": ["echo", f"word {n}"]}} for n in range(6)],
}
"""Three of these make the numbers that examples use: tasks 17 and 18, batch 3."""
INVALID = 2
NO_SUCH_THING = 3
UNAVAILABLE = 6
ERRORS_FOUND = 1
CONFLICT = 4
EXPECTED = {
    "corral lint examples/faulty/compose.yaml": ERRORS_FOUND,
    "corral up --cluster examples/edge.yaml": CONFLICT,
    "corral hold --memory 8Gi -- python train.py": INVALID,
    "corral tasks cancel 17 18": CONFLICT,
    "corral tasks priority high 17 18": CONFLICT,
    "corral batches retry 3": CONFLICT,
    "corral loadtest --duration 30m --load 'gpu-burn 1800'": UNAVAILABLE,
    "corral sets show portraits": NO_SUCH_THING,
    "corral sets stale portraits": NO_SUCH_THING,
    "corral sets measures portraits --by shot --chart keepers.svg": NO_SUCH_THING,
    "corral sets reject portraits elena/portrait/1": NO_SUCH_THING,
    "corral sets cancel portraits --yes": NO_SUCH_THING,
    "corral characters show mira": NO_SUCH_THING,
    "corral characters remove mira --yes": NO_SUCH_THING,
    "corral characters history mira": NO_SUCH_THING,
    "corral slots pause node/gpu0": NO_SUCH_THING,
    "corral slots resume node/gpu0": NO_SUCH_THING,
    "corral slots drain node/gpu0/llama --yes": NO_SUCH_THING,
    "corral slots logs desk/gpu0/comfyui -f": NO_SUCH_THING,
    "corral slots yield node/gpu0 --for 2h": NO_SUCH_THING,
    "corral slots take-back node/gpu0": NO_SUCH_THING,
    "corral holds show 7": NO_SUCH_THING,
    "corral holds release 7": NO_SUCH_THING,
    "corral holds logs 7": NO_SUCH_THING,
    "corral notify test phone": NO_SUCH_THING,
    "corral apply --layout edge --dry-run": NO_SUCH_THING,
    "corral diff --layout edge": NO_SUCH_THING,
    "corral delete --dry-run": NO_SUCH_THING,
    "corral switch workstation --dry-run": NO_SUCH_THING,
    "corral verify --layout edge": NO_SUCH_THING,
    "corral logs ollama --follow": NO_SUCH_THING,
    "corral models load llama3.2 --on ollama --keep 30m": NO_SUCH_THING,
    "corral models unload llama3.2 --on ollama": NO_SUCH_THING,
    "corral models place ./paint.safetensors --as loras/p.safetensors": NO_SUCH_THING,
    "corral pictures decide keep 12/dot.png 13/dot.png": NO_SUCH_THING,
    "corral uploads rm 3fa4b1c2d5e6 --yes": NO_SUCH_THING,
    "corral rollback --dry-run": NO_SUCH_THING,
    "corral engines check portrait.json": ERRORS_FOUND,
    "corral engines convert drawn.json --out portrait.json": NO_SUCH_THING,
}
"""Examples that do not end with 0 here: a server runs already, all tasks have succeeded, there is neither a GPU nor
an instance of Ollama or ComfyUI, no hold, no character, no set, no receiver of notifications, nothing was uploaded or
upgraded, and the file that is linted has mistakes on purpose."""


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with a_home(models=asyncio.run(the_models())) as folder:
        (folder / "cluster.yaml").write_text(CLUSTER)
        (folder / "small.yaml").write_text(json.dumps(BATCH))
        (folder / "bin").mkdir(exist_ok=True)
        (folder / "bin" / "python").symlink_to(sys.executable)
        for name in ("portrait.json", "drawn.json"):
            copy(EXAMPLES / "portraits" / name, folder)
        server = start(folder, "up", "--cluster", "cluster.yaml", "--port", "0")
        assert server.stderr is not None
        while "listens on" not in (line := server.stderr.readline()):
            assert line, "the server ended before it listened"
        drain = subprocess.Popen(["cat"], stdin=server.stderr, stdout=subprocess.DEVNULL)
        for _ in range(3):
            submitted = run(folder, "submit", "small.yaml", "--wait")
            assert submitted.returncode == 0, submitted.stderr
        assert run(folder, "backup", "corral-backup.tar").returncode == 0
        yield folder
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
        drain.wait(10)


def examples(command: Any) -> Iterator[str]:  # typer's own types
    """Walk over the examples of every command, in the order of help."""
    if not getattr(command, "commands", {}):
        yield command.epilog.removeprefix("Example: ")
    for inner in getattr(command, "commands", {}).values():
        yield from examples(inner)


ALL = list(examples(get_command(app)))


STOPS = "corral down"


def type_example(example: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Type an example as it stands."""
    return subprocess.run(
        example.replace("corral", str(CORRAL), 1),
        shell=True,
        cwd=home,
        env={"CORRAL_DATA_DIR": str(home / "data"), "PATH": f"{home}/bin:/usr/bin:/bin", "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("example", [example for example in ALL if example != STOPS])
def test_the_example_runs_as_it_stands(example: str, home: Path) -> None:
    done = type_example(example, home)

    assert done.returncode == EXPECTED.get(example, 0), done.stderr


def test_the_example_that_stops_the_server_runs_as_it_stands() -> None:
    with a_home(models=asyncio.run(the_models())) as folder:
        (folder / "cluster.yaml").write_text(CLUSTER)
        with start(folder, "up", "--cluster", "cluster.yaml", "--port", "0") as server:
            assert server.stderr is not None
            while "listens on" not in (line := server.stderr.readline()):
                assert line, "the server ended before it listened"
            done = type_example(STOPS, folder)  # its parent, this process, has not asked yet how it ended
            assert done.returncode == 0, done.stderr
            assert server.wait(10) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("tasks", "list", "--json"),
        ("tasks", "show", "17", "--json"),
        ("tasks", "explain", "17", "--json"),
        ("batches", "list", "--json"),
        ("batches", "show", "3", "--json"),
        ("slots", "list", "--json"),
        ("queues", "list", "--json"),
        ("models", "list", "--json"),
        ("tokens", "list", "--json"),
        ("doctor", "--json"),
        ("inventory", "--json"),
        ("version", "--json"),
    ],
    ids=" ".join,
)
def test_every_read_has_json_on_stdout(arguments: tuple[str, ...], home: Path) -> None:
    done = run(home, *arguments)

    assert json.loads(done.stdout), done.stderr
