"""The first batch as a new user runs it: real engines, real models, real speech."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from doubles.installed import EXAMPLE, a_home, a_terminal, run, start, the_models
from doubles.words import word_error_rate

WORST_WORD_ERROR_RATE = 0.1


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with a_home(models=asyncio.run(the_models())) as folder:
        yield folder


def test_the_word_error_rate_counts_what_was_changed_added_and_lost() -> None:
    assert word_error_rate("one two three four", "One, two: three four.") == 0
    assert word_error_rate("one two three four", "one too three") == 0.5
    assert word_error_rate("one", "one two") == 1


def test_the_first_batch_succeeds_and_its_transcripts_match_the_spoken_lines(home: Path) -> None:
    done = run(home, "run", "examples/first-batch.yaml", "--json")

    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert {engine["engine"]: engine["succeeded"] for engine in figures["engines"]} == {
        "llama": 4,
        "piper": 4,
        "whisper": 4,
    }
    folder = home / "out" / "first-batch"
    manifest = json.loads((folder / "manifest.json").read_text())
    files = [output["file"] for task in manifest["tasks"] for output in task["outputs"]]
    assert {path.name for path in folder.iterdir()} == {*files, "manifest.json"}
    assert "paris" in (folder / "write-capital.txt").read_text().lower()
    lines = {task["name"]: task["inputs"].get("text") for task in YAML(typ="safe").load(EXAMPLE)["tasks"]}
    for number in range(1, 5):
        heard = (folder / f"hear-{number}.txt").read_text()
        assert word_error_rate(lines[f"say-{number}"], heard) <= WORST_WORD_ERROR_RATE
    assert not (home / "data" / "server.json").exists()


def test_an_interrupted_run_stops_its_server_and_the_next_one_continues_the_batch(home: Path) -> None:
    first = start(home, "run", "examples/first-batch.yaml")
    assert first.stderr is not None
    progress = ""
    for line in first.stderr:
        progress += line
        if "succeeded" in line:
            break
    first.send_signal(signal.SIGINT)
    rest = first.communicate(timeout=120)[1]

    assert first.returncode == 130, progress + rest
    assert "stopping the server" in rest
    assert not (home / "data" / "server.json").exists()
    batch = re.search(r"submitted batch (\d+)", progress)
    assert batch is not None

    second = run(home, "run", "examples/first-batch.yaml")

    assert second.returncode == 0, second.stderr
    assert f"continuing batch {batch[1]}, first-batch: 12 tasks" in second.stderr


@pytest.mark.alone  # the first batch must not end while the question is answered
def test_ctrl_c_on_a_terminal_asks_and_cancelling_ends_the_batch_and_the_server(home: Path) -> None:
    with a_terminal(home, "run", "examples/first-batch.yaml") as terminal:
        terminal.until("succeeded, 2 running")
        terminal.type("\x03")
        terminal.until("c/l/s/x? ")
        terminal.type("what?\n")
        terminal.until("c/l/s/x? ")
        terminal.type("x\n")
        shown = terminal.until("stopping the server")

        assert terminal.exit_code() == 130
    assert "cancelled" in shown
    manifest = json.loads((home / "out" / "first-batch" / "manifest.json").read_text())
    assert set(manifest["states"]) <= {"succeeded", "cancelled"}
    assert manifest["states"].get("cancelled", 0) >= 4, (manifest["states"], shown)
    assert not (home / "data" / "server.json").exists()
