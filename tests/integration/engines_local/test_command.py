"""Programs: what they are given, what is kept of them, and that nothing of them survives."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from corral.processes.leftovers import sweep
from corral.work import Engine, EngineError, Produced, TaskInvalidError
from doubles.local_engines import REPOSITORY, Remembering, a_work, running_below

DAEMON = "setsid sleep 3600 & nohup sleep 3600 >/dev/null 2>&1 & "


@pytest.fixture
def command(engine: Callable[..., Engine]) -> Engine:
    return engine("command")


def shell(script: str, tmp_path: Path, *, timeout_s: float = 60.0, **inputs: Any) -> Any:  # inputs of `command`
    return a_work("command", tmp_path, argv=["sh", "-c", script], timeout_s=timeout_s, **inputs)


def texts(produced: Produced) -> dict[str, str]:
    return {file.name: file.path.read_text() for file in produced.files}


async def test_program_gets_its_files_folder_text_and_variables(
    command: Engine, tmp_path: Path, report: Remembering
) -> None:
    original = tmp_path / "original"
    original.write_text("from a file\n")
    script = 'cat ../inputs/in.txt; cat; echo "$GREETING"; echo changed > ../inputs/in.txt; basename "$PWD"'
    work = a_work(
        "command",
        tmp_path,
        argv=["sh", "-c", script],
        files={"in.txt": original},
        stdin="from stdin\n",
        env={"GREETING": "from env"},
        cwd="below",
    )

    produced = await command.run(work, report)

    assert texts(produced)["log.txt"] == "from a file\nfrom stdin\nfrom env\nbelow\n"
    assert original.read_text() == "from a file\n"
    assert produced.values == {"exit_code": 0}


async def test_declared_outputs_are_kept_and_others_are_not(
    command: Engine, tmp_path: Path, report: Remembering
) -> None:
    script = "mkdir out; echo 1 > out/one.csv; echo 2 > out/two.csv; echo 3 > three.csv; ln -s /etc/passwd out/x.csv"

    produced = await command.run(shell(script, tmp_path, outputs=["out/*.csv", "**/one.csv"]), report)

    assert texts(produced) == {"log.txt": "", "one.csv": "1\n", "two.csv": "2\n"}
    assert {file.media_type for file in produced.files if file.name != "log.txt"} == {"text/csv"}


async def test_temporary_files_and_the_log_are_no_declared_outputs(
    command: Engine, tmp_path: Path, report: Remembering
) -> None:
    script = 'echo t > "$TMPDIR/t.csv"; echo 1 > one.csv'

    produced = await command.run(shell(script, tmp_path, outputs=["**/*"]), report)

    assert texts(produced) == {"log.txt": "", "one.csv": "1\n"}


async def test_missing_output_fails_the_attempt(command: Engine, tmp_path: Path, report: Remembering) -> None:
    with pytest.raises(EngineError, match=r"no file matches the declared output '\*\.png'"):
        await command.run(shell("true", tmp_path, outputs=["*.png"]), report)


@pytest.mark.parametrize("script", ["mkdir a; touch x.txt a/x.txt", "touch log.txt"])
async def test_outputs_of_one_name_are_refused(
    command: Engine, tmp_path: Path, report: Remembering, script: str
) -> None:
    with pytest.raises(TaskInvalidError, match="two outputs are called"):
        await command.run(shell(script, tmp_path, outputs=["**/*.txt"]), report)


async def test_progress_lines_are_reported(command: Engine, tmp_path: Path, report: Remembering) -> None:
    await command.run(shell("echo corral: progress 0.42 epoch 3", tmp_path), report)

    assert report.notes == [(0.42, "epoch 3")]


async def test_failure_says_the_code_and_the_last_words(command: Engine, tmp_path: Path, report: Remembering) -> None:
    with pytest.raises(EngineError, match=r"'sh' ended with exit code 3; it printed last: out of paper"):
        await command.run(shell("echo out of paper >&2; exit 3", tmp_path), report)


async def test_failure_brings_the_whole_log(command: Engine, tmp_path: Path, report: Remembering) -> None:
    with pytest.raises(EngineError) as caught:
        await command.run(shell("echo first; echo last >&2; exit 3", tmp_path), report)

    (log,) = caught.value.files
    assert log.path.read_text() == "first\nlast\n"


async def test_program_that_is_not_there_is_named(command: Engine, tmp_path: Path, report: Remembering) -> None:
    with pytest.raises(EngineError, match="cannot start 'no-such-program': No such file"):
        await command.run(a_work("command", tmp_path, argv=["no-such-program"]), report)


async def test_program_that_is_killed_says_by_what(command: Engine, tmp_path: Path, report: Remembering) -> None:
    with pytest.raises(EngineError, match="signal 9"):
        await command.run(shell("kill -9 $$", tmp_path), report)


async def test_variables_of_the_server_stay_with_the_server(
    engine: Callable[..., Engine], tmp_path: Path, report: Remembering, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://user:secret@host/db")

    produced = await engine("command").run(shell("env", tmp_path), report)

    assert "secret" not in texts(produced)["log.txt"]
    assert "CUDA_VISIBLE_DEVICES=\n" in texts(produced)["log.txt"]


async def test_task_sees_the_gpus_that_it_was_given(command: Engine, tmp_path: Path, report: Remembering) -> None:
    script = 'echo "$CUDA_VISIBLE_DEVICES"'
    alone = shell(script, tmp_path)
    both = type(alone)(**{name: getattr(alone, name) for name in alone.__slots__} | {"devices": ("0", "1")})

    seen = [texts(await command.run(work, report))["log.txt"] for work in (alone, both, alone)]

    assert seen == ["\n", "0,1\n", "\n"]


async def test_endless_output_is_bounded(command: Engine, tmp_path: Path, report: Remembering) -> None:
    produced = await command.run(shell("head -c 20000000 /dev/zero; echo end", tmp_path), report)

    log = produced.files[0].path.read_bytes()
    assert len(log) < 1_100_000
    assert log.endswith(b"end\n")


async def test_program_that_runs_too_long_is_ended(
    command: Engine, tmp_path: Path, logs: Path, report: Remembering
) -> None:
    with pytest.raises(EngineError, match="it ran longer than 500ms; it printed last: ready"):
        await command.run(shell("echo ready; " + DAEMON + "sleep 3600", tmp_path, timeout_s=0.5), report)

    assert programs_below(logs) == []


async def test_daemons_do_not_outlive_a_success(
    command: Engine, tmp_path: Path, logs: Path, report: Remembering
) -> None:
    await command.run(shell(DAEMON + "true", tmp_path), report)

    assert programs_below(logs) == []


async def test_cancel_ends_the_program_and_its_daemons(
    command: Engine, tmp_path: Path, logs: Path, report: Remembering
) -> None:
    running = asyncio.create_task(
        command.run(shell("trap '' TERM INT HUP; " + DAEMON + "echo corral: progress 0; sleep 3600", tmp_path), report)
    )
    await report.under_way.wait()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert programs_below(logs) == []


async def test_nothing_survives_a_killed_worker(
    command: Engine, tmp_path: Path, logs: Path, report: Remembering
) -> None:
    running = asyncio.create_task(command.run(shell(DAEMON + "echo corral: progress 0; sleep 3600", tmp_path), report))
    await report.under_way.wait()

    worker_below(logs).kill()
    with pytest.raises(EngineError, match="SIGKILL"):
        await running

    assert running_below(logs) == []


async def test_nothing_survives_a_killed_server(tmp_path: Path, logs: Path) -> None:
    server = await a_server(logs, tmp_path)
    remains = running_below(logs)
    assert len(remains) >= 4  # worker, shell, two daemons

    server.kill()
    await server.wait()

    _, alive = psutil.wait_procs(remains, timeout=20)
    assert alive == []


async def test_next_server_ends_what_a_killed_server_and_worker_left(tmp_path: Path, logs: Path) -> None:
    server = await a_server(logs, tmp_path)
    worker = worker_below(logs)
    remains = running_below(logs)

    worker.suspend()  # so that it cannot end its children when the server dies
    server.kill()
    worker.kill()
    await server.wait()

    assert sweep(logs.parent) >= 2  # the daemons; the program itself died with its worker
    _, alive = psutil.wait_procs(remains, timeout=20)
    assert alive == []


def test_program_that_is_ended_keeps_its_exit_code() -> None:
    """In a process of its own: `end_all` ends every child of the process that calls it."""
    ended = subprocess.run((sys.executable, "-c", ENDING), capture_output=True, text=True, check=True)

    assert ended.stdout == "-9"


ENDING = """
import subprocess, sys
from pathlib import Path
from corral.processes.programs import Programs

programs = Programs()
null = subprocess.DEVNULL
process = programs.start(["sleep", "3600"], environment={}, cwd=Path("/"), stdin=null, stdout=null, stderr=null)
programs.end_all()
sys.stdout.write(str(process.wait()))
"""

SERVER = """
import asyncio, sys
from pathlib import Path
from corral.engines.building import Device, build
from doubles.local_engines import Remembering, a_work

async def main():
    engine = build("command", device=Device(name="cpu0"), threads=1, options={}, locate=Path, log_dir=Path(sys.argv[1]))
    report = Remembering()
    work = a_work("command", Path(sys.argv[2]), argv=["sh", "-c", sys.argv[3]])
    running = asyncio.create_task(engine.run(work, report))
    await report.under_way.wait()
    sys.stdout.write("under way\\n")
    sys.stdout.flush()
    await running

asyncio.run(main())
"""


async def a_server(logs: Path, tmp_path: Path) -> asyncio.subprocess.Process:
    """A process that stands for the server: it runs a program with two daemons, and is there to be killed."""
    script = DAEMON + "echo corral: progress 0; sleep 3600"
    server = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SERVER, str(logs), str(tmp_path), script),
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "tests")},
    )
    assert server.stdout is not None
    assert await server.stdout.readline() == b"under way\n"
    return server


def worker_below(logs: Path) -> psutil.Process:
    (worker,) = [process for process in running_below(logs) if "corral.engines.worker" in process.cmdline()]
    return worker


def programs_below(logs: Path) -> list[psutil.Process]:
    return [process for process in running_below(logs) if "corral.engines.worker" not in process.cmdline()]
