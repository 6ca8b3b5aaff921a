"""`corral loadtest` as it is installed: its verdict, its report, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from corral.telemetry.loadtest.recording import read_recording
from doubles.installed import CORRAL
from doubles.local_engines import LLAMA, real_models, running_below
from doubles.nvml_library import build_library, machine

NOT_PASSED, INVALID, NO_SUCH_THING, UNAVAILABLE, INTERRUPTED = 1, 2, 3, 6, 130
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("nvml"))


def environment(library: Path, load: str, name: str = "twins") -> dict[str, str]:
    return {**os.environ, **machine(library, name), "CORRAL_TEST_NVML_LOAD": load}


@pytest.fixture
def run(library: Path, tmp_path: Path) -> Run:
    """Run `corral loadtest` in a folder of its own, with the cards under some load."""

    def with_load(load: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        watched = () if "--load" in arguments else ("--watch",)
        command = [str(CORRAL), "loadtest", "--data-dir", "data", *watched, *arguments]
        return subprocess.run(
            command,
            cwd=tmp_path,
            env=environment(library, load),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return with_load


def test_cards_that_hold_their_load_pass_and_the_report_has_its_charts(run: Run, tmp_path: Path) -> None:
    done = run("steady", "--duration", "1s", "--report", "report.md", "--json")

    said = json.loads(done.stdout)
    report = (tmp_path / "report.md").read_text()
    assert (done.returncode, said["outcome"], said["ended"]) == (0, "pass", "finished")
    assert [card["slowed"] for card in said["cards"]] == [{"power cap": 1.0}] * 2
    assert said["cards"][0]["limits"]["slowdown_c"] == 90
    assert "![temperature](report-temperature.svg)" in report
    for name in ("temperature", "power", "clocks", "utilization"):
        assert (tmp_path / f"report-{name}.svg").read_text().startswith("<svg")


def test_idle_cards_are_inconclusive(run: Run) -> None:
    done = run("idle", "--duration", "1s", "--gpu", "1")

    assert done.returncode == NOT_PASSED
    assert "GPU 1: inconclusive: was not loaded: mean utilization 0 %, wanted 80 %" in done.stdout
    assert "GPU 0" not in done.stdout


def test_load_is_built_in_where_no_other_is_given(library: Path, tmp_path: Path) -> None:
    command = [str(CORRAL), "loadtest", "--data-dir", "data", "--duration", "1s", "--json"]

    def test_with(store: Path | None) -> subprocess.CompletedProcess[str]:
        if store is not None:
            (tmp_path / "data" / "models").rmdir()
            (tmp_path / "data" / "models").symlink_to(store)
        return subprocess.run(
            command, cwd=tmp_path, env=environment(library, "steady"), capture_output=True, text=True, timeout=60
        )

    (tmp_path / "data" / "models").mkdir(parents=True)
    without = test_with(None)
    done = test_with(real_models().path(LLAMA).parents[1])

    assert without.returncode == NO_SUCH_THING
    assert json.loads(without.stderr)["error"]["problems"][0]["code"] == "loadtest.no_load"
    answer = json.loads(done.stdout)
    assert "corral.engines.llama.load --model" in answer["load"]
    assert (answer["outcome"], answer["ended"]) == ("pass", "finished")
    assert running_below(tmp_path / "data" / "loadtests") == []


def test_ctrl_c_ends_the_load_and_still_prints_what_was_seen(library: Path, tmp_path: Path) -> None:
    command = [str(CORRAL), "loadtest", "--data-dir", "data", "--load", "echo $$ >> pids; sleep 600"]
    test = subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment(library, "steady"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert test.stderr is not None
    assert "GPU 0" in test.stderr.readline()  # the first look, after the loads were started

    test.send_signal(signal.SIGINT)
    out, _ = test.communicate(timeout=60)

    recorded = read_recording(next((tmp_path / "data" / "loadtests").glob("*.jsonl")))
    assert test.returncode == INTERRUPTED
    assert "the test ended early: interrupted" in out
    assert recorded is not None
    assert recorded.ended == "interrupted"
    assert not any(Path(f"/proc/{pid}").exists() for pid in _pids(tmp_path / "pids"))


def _pids(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


def test_a_test_that_was_killed_is_told_by_the_next_one(library: Path, run: Run, tmp_path: Path) -> None:
    test = subprocess.Popen(
        [str(CORRAL), "loadtest", "--data-dir", "data", "--watch"],
        cwd=tmp_path,
        env=environment(library, "steady"),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert test.stderr is not None
    assert "GPU 0" in test.stderr.readline()
    test.kill()
    test.communicate()

    done = run("steady", "--duration", "1s")

    assert "the program was killed" in done.stdout


def test_a_card_that_is_not_there_and_a_machine_without_a_driver_are_told(library: Path, tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "libnvidia-ml.so.1").write_bytes(b"not a library")
    no_driver = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path / "none")}
    missing, without = [
        subprocess.run(
            [str(CORRAL), "loadtest", "--data-dir", "data", *arguments],
            cwd=tmp_path,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        for arguments, variables in ((("--gpu", "7"), environment(library, "steady")), ((), no_driver))
    ]

    assert (missing.returncode, without.returncode) == (NO_SUCH_THING, UNAVAILABLE)
    assert "no GPU 7: the driver has 2, numbered from 0" in missing.stderr
    assert "error[loadtest.no_gpus]" in without.stderr


def test_what_is_asked_wrongly_is_told_before_half_an_hour_of_load(run: Run) -> None:
    done = run("steady", "--duration", "-5s", "--report", "nowhere/report.md", "--json")
    nothing = run("steady", "--duration", "0s")

    problems = json.loads(done.stderr)["error"]["problems"]
    assert [(problem["code"], problem["where"]) for problem in problems] == [
        ("report.unwritable", "--report nowhere/report.md"),
        ("units.invalid", "--duration"),
    ]
    assert (done.returncode, nothing.returncode) == (INVALID, INVALID)
    assert "of no length" in nothing.stderr
