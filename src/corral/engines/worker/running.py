"""Runs one program for a job: follows what it prints, ends it at the deadline or when the job is cancelled.

Belongs here: one program from its start to its log.
Does not belong here: which program, what becomes of its files; ending processes (`corral.processes.programs`).
"""

from __future__ import annotations

import os
import selectors
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from corral.engines.printed import Printed
from corral.engines.worker.job import Job, Talk
from corral.processes.programs import Programs
from corral.units import format_duration
from corral.work import EngineError, OutputFile


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramRun:
    """A program to run."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    """All of it."""
    cwd: Path
    log: Path
    """Where its output is written, bounded."""
    stdin: int | IO[bytes] = subprocess.DEVNULL
    name: str | None = None
    """As people know it; the first of `argv` when None."""


def run_program(programs: Programs, run: ProgramRun, job: Job, talk: Talk) -> OutputFile:
    """Run a program until it ends, and nothing of it goes on; return its log.

    Raises: EngineError, with the log, when it fails or runs too long; Cancelled.
    """
    printed = Printed(talk.report_progress)
    try:
        code = _follow(programs, run, job, talk, printed)
    finally:
        programs.end_all()
    talk.check()
    log = _write_log(run, printed)
    if code is None:
        what = f"it ran longer than {format_duration(job.timeout_s)}{printed.quote_end()}"
        raise EngineError(what, files=(log,))
    if code != 0:
        what = f"{run.name or repr(run.argv[0])} ended with {_describe_exit(code)}{printed.quote_end()}"
        raise EngineError(what, files=(log,))
    return log


def _follow(programs: Programs, run: ProgramRun, job: Job, talk: Talk, printed: Printed) -> int | None:
    """Return the program's exit code; None when it reached the deadline."""
    deadline = time.monotonic() + job.timeout_s
    process = programs.start(
        run.argv,
        environment=run.environment,
        cwd=run.cwd,
        stdin=run.stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert process.stdout is not None
    with _Alarm(process) as alarm, process.stdout as output:
        talk.call_when_cancelled(alarm.ring)
        _listen(output, alarm, printed, deadline)
        return process.poll()


def _write_log(run: ProgramRun, printed: Printed) -> OutputFile:
    printed.write(run.log)
    return OutputFile(name=run.log.name, path=run.log, media_type="text/plain; charset=utf-8")


def _describe_exit(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


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
