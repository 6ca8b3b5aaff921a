"""Runs a program: `command`.

The program starts in the attempt's folder with copies of the task's files in `inputs/`, a small clean environment and
no shell. It reports its progress by printing a line of its own: `corral: progress 0.42 and a few words`. When it ends,
fails, is cancelled or runs too long, everything that it started is ended too.

Belongs here: one run from files to outputs.
Does not belong here: ending processes (`corral.processes.programs`), the bounded log (`corral.engines.printed`).
"""

from __future__ import annotations

import mimetypes
import os
import selectors
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from corral.engines.printed import LOG_NAME, Printed
from corral.engines.visible_gpus import VARIABLES
from corral.engines.worker.job import Answer, Job, Talk, WorkerSettings
from corral.processes.programs import Programs
from corral.units import format_duration
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
        printed = Printed(talk.report_progress)
        try:
            code = _run_program(self._programs, job, talk, cwd, printed)
        finally:
            self._programs.end_all()
        talk.check()
        log = _write_log(job, printed)
        if code != 0:
            what = f"{job.inputs['argv'][0]!r} ended with {_describe_exit(code)}{printed.quote_end()}"
            raise EngineError(what, files=(log,))
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


def _write_log(job: Job, printed: Printed) -> OutputFile:
    path = job.scratch / _OURS / LOG_NAME
    printed.write(path)
    return OutputFile(name=LOG_NAME, path=path, media_type="text/plain; charset=utf-8")


def _make_environment(job: Job) -> dict[str, str]:
    def present(names: Sequence[str]) -> Mapping[str, str]:
        return {name: os.environ[name] for name in names if name in os.environ}

    temporary = {"TMPDIR": str(job.scratch / _OURS / "tmp")}
    return {**present(_PASSED_ON), **temporary, **job.inputs["env"], **present(_OF_THE_SLOT)}


def _run_program(programs: Programs, job: Job, talk: Talk, cwd: Path, printed: Printed) -> int:
    deadline = time.monotonic() + job.timeout_s
    with _open_standard_input(job) as stdin:
        process = programs.start(
            job.inputs["argv"],
            environment=_make_environment(job),
            cwd=cwd,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    assert process.stdout is not None
    with _Alarm(process) as alarm, process.stdout as output:
        talk.call_when_cancelled(alarm.ring)
        _listen(output, alarm, printed, deadline)
        if process.poll() is None:
            talk.check()
            what = f"it ran longer than {format_duration(job.timeout_s)}{printed.quote_end()}"
            raise EngineError(what, files=(_write_log(job, printed),))
        return process.returncode


@contextmanager
def _open_standard_input(job: Job) -> Generator[IO[bytes] | int]:
    if job.inputs["stdin"] is None:
        yield subprocess.DEVNULL
        return
    with tempfile.TemporaryFile(dir=job.scratch) as file:
        file.write(job.inputs["stdin"].encode())
        file.seek(0)
        yield file


class _Alarm:
    """A descriptor that becomes readable when the program ends or the job is cancelled.

    The end of its output does not show that: what it started can hold the pipe open.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.descriptor, self._bell = os.pipe()
        self._lock = threading.Lock()
        self._closed = False
        threading.Thread(target=self._wait, daemon=True).start()

    def ring(self) -> None:
        with self._lock:
            if not self._closed:
                os.write(self._bell, b"!")

    def __enter__(self) -> _Alarm:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._closed = True
            os.close(self._bell)
            os.close(self.descriptor)

    def _wait(self) -> None:
        self._process.wait()
        self.ring()


def _listen(output: IO[bytes], alarm: _Alarm, printed: Printed, deadline: float) -> None:
    """Read what the program prints until it ends, is cancelled or reaches the deadline."""
    os.set_blocking(output.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(output, selectors.EVENT_READ)
        selector.register(alarm.descriptor, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            ready = {key.fd for key, _ in selector.select(left)}
            if output.fileno() in ready and not _drain(output, printed):
                selector.unregister(output)
            if alarm.descriptor in ready:
                _drain(output, printed)
                return


_DRAIN_BYTES = 2**20
"""Most that is read in one go, so that a program that prints without end cannot keep us from its deadline."""


def _drain(output: IO[bytes], printed: Printed) -> bool:
    """Read what is there; False at the end of the output."""
    total = 0
    while total < _DRAIN_BYTES:
        try:
            data = os.read(output.fileno(), 65536)
        except BlockingIOError:
            return True
        if not data:
            return False
        total += len(data)
        printed.take(data)
    return True


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


def _describe_exit(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"
