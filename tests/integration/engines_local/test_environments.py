"""Environments of engines: built with the real uv from the locked files, killed on the way, and worked in."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from corral.engine_kinds import LLAMA, PIPER
from corral.engines.building import Device, build
from corral.engines.environments.finding import Environments, find_python, read_environment
from corral.engines.environments.installing import (
    EnvironmentBusyError,
    EnvironmentFailedError,
    NoEnvironmentError,
    UvMissingError,
    choose_environment,
    find_uv,
    install,
)
from corral.engines.environments.judging import examine_environment
from corral.weights.store import Store
from doubles.local_engines import LLAMA as SMALL_MODEL
from doubles.local_engines import Remembering, a_work, running_below

(LLAMA_CPU,) = LLAMA.environments
CORRAL = Path(sys.executable).parent / "corral"
COMMAND = (str(CORRAL), "engines", "install", "llama", "--data-dir")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Environments:
    """A data directory with llama's environment, installed by the command."""
    data_dir = tmp_path_factory.mktemp("data")
    finished = subprocess.run((*COMMAND, str(data_dir)), capture_output=True, text=True, check=False)
    assert (finished.returncode, "installed llama (cpu)" in finished.stdout) == (0, True), finished.stderr
    return Environments(data_dir / "engines")


@pytest.fixture
def data_dir(tmp_path: Path) -> Iterator[Path]:
    """A data directory, in which nothing is left running."""
    yield tmp_path
    assert running_below(tmp_path) == []


def start_install(data_dir: Path) -> subprocess.Popen[str]:
    return subprocess.Popen((*COMMAND, str(data_dir)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


async def test_engine_works_from_its_environment(
    installed: Environments, models: Store, logs: Path, tmp_path: Path, report: Remembering
) -> None:
    engine = build(
        "llama",
        device=Device(name="cpu0"),
        threads=1,
        options={"contextSize": 512},
        locate=models.path,
        log_dir=logs,
        environments=installed,
    )
    asked = {"prompt": "What is the capital of France? Answer in one short sentence.", "max_tokens": 40}
    work = a_work("llama", tmp_path, model=SMALL_MODEL, temperature=0.0, **asked)

    await engine.check()
    produced = await engine.run(work, report)
    programs = [process.cmdline()[0] for process in running_below(logs)]
    await engine.close()

    environment = installed.read("llama")
    assert environment is not None
    assert "Paris" in produced.values["text"]
    assert str(environment.python) in programs


def test_environment_sees_corrals_modules_and_none_of_its_packages(installed: Environments) -> None:
    environment = installed.read("llama")
    assert environment is not None
    looked_for = (
        "import corral.work; from importlib.util import find_spec;"
        "print(find_spec('aiohttp'), find_spec('xllamacpp').origin)"
    )

    printed = subprocess.check_output((str(environment.python), "-P", "-c", looked_for), text=True, cwd="/")

    assert printed.startswith(f"None {environment.folder}")


def test_environment_follows_a_corral_that_moved(installed: Environments) -> None:
    environment = installed.read("llama")
    assert environment is not None
    link = environment.folder / "corral-code" / "corral"
    link.unlink()
    link.symlink_to("/nowhere")

    installed.require(LLAMA)

    assert (link / "work.py").is_file()


async def test_what_is_installed_already_is_left_as_it_is(installed: Environments) -> None:
    before = installed.read("llama")
    lines: list[str] = []

    again = await install(LLAMA, LLAMA_CPU, installed, lines.append)

    assert (again, lines) == (before, [])
    assert examine_environment(LLAMA, installed, []).fix is None


@pytest.mark.parametrize("line", ["Using Python", "Resolved", "+ psutil"])
def test_command_that_is_killed_goes_on_when_it_is_run_again(data_dir: Path, line: str) -> None:
    killed = start_install(data_dir)
    assert killed.stdout is not None
    for printed in killed.stdout:
        if printed.startswith(line):
            break
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()
    before = Environments(data_dir / "engines").read("llama")

    finished = start_install(data_dir)
    printed, _ = finished.communicate()

    environment = Environments(data_dir / "engines").read("llama")
    assert before is None
    assert (finished.returncode, environment is not None) == (0, True), printed
    assert [path.name for path in (data_dir / "engines" / "llama").glob("cpu-*")] == [
        environment.folder.name if environment else ""
    ]


def test_uv_ends_with_the_command_that_was_killed(data_dir: Path) -> None:
    killed = start_install(data_dir)
    assert killed.stdout is not None
    killed.stdout.readline()  # uv runs
    children = psutil.Process(killed.pid).children(recursive=True)

    killed.send_signal(signal.SIGKILL)
    killed.wait()
    killed.stdout.close()

    psutil.wait_procs(children, timeout=20)
    assert [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE] == []


async def test_an_environment_that_cannot_be_built_leaves_the_one_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environments = Environments(tmp_path / "engines")
    old = await install(LLAMA, LLAMA_CPU, environments, lambda _: None)
    facts = old.folder / "environment.json"
    facts.write_text(facts.read_text().replace(old.digest, "of-an-earlier-version"))
    assert "another locked file" in examine_environment(LLAMA, environments, []).what
    # The registry is away, and nothing of it is kept; variables are how a user configures uv.
    monkeypatch.setenv("UV_DEFAULT_INDEX", "http://127.0.0.1:1/simple")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    old.folder.rename(old.folder.with_name("cpu-earlier"))
    (tmp_path / "engines" / "llama" / "current").unlink()
    (tmp_path / "engines" / "llama" / "current").symlink_to("cpu-earlier")

    with pytest.raises(EnvironmentFailedError, match="uv failed"):
        await install(LLAMA, LLAMA_CPU, environments, lambda _: None)

    assert environments.read("llama") == read_environment(tmp_path / "engines" / "llama" / "cpu-earlier")
    assert find_python(tmp_path / "engines" / "llama" / "current").exists()


async def test_two_commands_do_not_build_one_environment(tmp_path: Path) -> None:
    folder = tmp_path / "engines" / "llama"
    folder.mkdir(parents=True)

    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(EnvironmentBusyError):
            await install(LLAMA, LLAMA_CPU, Environments(tmp_path / "engines"), lambda _: None)


def test_what_there_is_not_is_named_with_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(NoEnvironmentError, match="no variant 'cdua'"):
        choose_environment(PIPER, "cdua")
    with pytest.raises(UvMissingError, match="no `uv` on PATH"):
        find_uv({"PATH": str(tmp_path)}, beside=tmp_path)
    command = (*COMMAND[:-2], "whispr", "--data-dir", str(tmp_path))

    refused = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))

    assert "no engine is called 'whispr'" in refused.stderr
    assert "`whisper`" in refused.stderr
