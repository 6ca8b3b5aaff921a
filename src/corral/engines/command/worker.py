"""Runs a program: `command`.

The program starts in the attempt's folder with copies of the task's files in `inputs/`, a small clean environment and
no shell. It reports its progress by printing a line of its own: `corral: progress 0.42 and a few words`. When it ends,
fails, is cancelled or runs too long, everything that it started is ended too.

Belongs here: one run from files to outputs.
Does not belong here: following a program (`corral.engines.worker.running`), ending its processes
(`corral.processes.programs`).
"""

from __future__ import annotations

import mimetypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from corral.engines.printed import LOG_NAME
from corral.engines.visible_gpus import VARIABLES
from corral.engines.worker.job import Answer, Job, Talk, WorkerSettings
from corral.engines.worker.running import ProgramRun, run_program
from corral.processes.programs import Programs
from corral.work import EngineError, OutputFile, TaskInvalidError

_PASSED_ON = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "LD_LIBRARY_PATH")
_OF_THE_SLOT = (*VARIABLES, "OMP_NUM_THREADS", "CORRAL_WORKER")
"""The server's environment can hold secrets; a program sees these variables and those of its task, nothing else."""

_OURS = ".corral"
"""Folder next to the program's own files, for its log and its temporary files; never an output."""


class Command:
    """The engine inside its worker."""

    has_children = True

    def __init__(self, settings: WorkerSettings) -> None:
        del settings  # the device and the threads are in the environment
        self._programs = Programs()

    def run(self, job: Job, talk: Talk) -> Answer:
        """Run the program once. Raises: EngineError when it fails, Cancelled."""
        cwd = _prepare(job)
        with _open_standard_input(job) as stdin:
            run = ProgramRun(
                argv=job.inputs["argv"],
                environment=_make_environment(job),
                cwd=cwd,
                log=job.scratch / _OURS / LOG_NAME,
                stdin=stdin,
            )
            log = run_program(self._programs, run, job, talk)
        return Answer(files=(log, *_collect(job, cwd)), values={"exit_code": 0})

    def stop(self) -> None:
        """End the program and all that it started."""
        self._programs.end_all()


def _prepare(job: Job) -> Path:
    """Make the folders, copy the files (a program can write to them, and the originals are not its own)."""
    inputs, temporary = job.scratch / "inputs", job.scratch / _OURS / "tmp"
    cwd = job.scratch / job.inputs["cwd"]
    for folder in (inputs, temporary, cwd):
        folder.mkdir(parents=True, exist_ok=True)
    for name, path in job.files.items():
        if Path(name).name != name:
            raise TaskInvalidError(f"{name!r} is not a plain file name")
        shutil.copyfile(path, inputs / name)
    return cwd


def _make_environment(job: Job) -> dict[str, str]:
    def present(names: Sequence[str]) -> Mapping[str, str]:
        return {name: os.environ[name] for name in names if name in os.environ}

    temporary = {"TMPDIR": str(job.scratch / _OURS / "tmp")}
    return {**present(_PASSED_ON), **temporary, **job.inputs["env"], **present(_OF_THE_SLOT)}


@contextmanager
def _open_standard_input(job: Job) -> Generator[IO[bytes] | int]:
    if job.inputs["stdin"] is None:
        yield subprocess.DEVNULL
        return
    with tempfile.TemporaryFile(dir=job.scratch) as file:
        file.write(job.inputs["stdin"].encode())
        file.seek(0)
        yield file


def _collect(job: Job, cwd: Path) -> list[OutputFile]:
    """Find the declared outputs. Raises: EngineError when one is missing, TaskInvalidError when two share a name."""
    root = job.scratch.resolve()
    outputs: dict[str, Path] = {}
    for pattern in job.inputs["outputs"]:
        matches = sorted(path for path in cwd.glob(pattern) if _is_output(path, root))
        if not matches:
            raise EngineError(f"no file matches the declared output {pattern!r}")
        for path in matches:
            if path.name == LOG_NAME or outputs.setdefault(path.name, path) != path:
                raise TaskInvalidError(f"two outputs are called {path.name!r}", hint="give each output its own name")
    return [
        OutputFile(name=name, path=path, media_type=mimetypes.guess_type(name)[0] or "application/octet-stream")
        for name, path in outputs.items()
    ]


def _is_output(path: Path, root: Path) -> bool:
    real = path.resolve()
    return real.is_file() and real.is_relative_to(root) and not real.is_relative_to(root / _OURS)
