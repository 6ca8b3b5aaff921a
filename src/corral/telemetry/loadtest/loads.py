"""Runs a load command for each GPU, and ends it whatever happens.

Each command is the leader of its own process group, so that what it starts ends with it. A guard process holds the
other end of a pipe: when this process dies, even by `kill -9`, the pipe closes and the guard kills the groups.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from corral.telemetry.sampling import GpuLimits

_GRACE_S = 5.0
_TOLD = 200
"""Letters of a command's last line that a report shows."""
_GUARD = """
import os, signal, sys
sys.stdin.buffer.read()
for group in sys.argv[1:]:
    try:
        os.killpg(int(group), signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedLoad:
    """A load command that ended by itself."""

    gpu: int
    exit_code: int
    last_words: str
    """The last line that it printed."""


class Loads:
    """The load commands of one test; a context manager that leaves none of them running."""

    def __init__(self, command: str, gpus: Sequence[GpuLimits], folder: Path, stem: str) -> None:
        """Prepare; `folder` and `stem` name the files that take what the commands print."""
        self._command = command
        self._gpus = gpus
        self._logs = {limits.gpu: folder / f"{stem}-gpu{limits.gpu}.log" for limits in gpus}
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Loads:
        try:
            for limits in self._gpus:
                self._running[limits.gpu] = self._start(limits)
            groups = [str(process.pid) for process in self._running.values()]
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-c", _GUARD, *groups],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,  # a pipe with a reader must not stay open for the guard's sake
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def list_ended(self) -> tuple[EndedLoad, ...]:
        """List the commands that ended by themselves since the test began."""
        return tuple(
            EndedLoad(gpu=gpu, exit_code=code, last_words=_read_last_line(self._logs[gpu]))
            for gpu, process in self._running.items()
            if (code := process.poll()) is not None
        )

    def _start(self, limits: GpuLimits) -> subprocess.Popen[bytes]:
        with self._logs[limits.gpu].open("wb") as log:
            return subprocess.Popen(
                ["/bin/sh", "-c", self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=_make_environment(os.environ, limits),
                start_new_session=True,
            )

    def _stop(self) -> None:
        for process in self._running.values():
            _kill(process, signal.SIGTERM)
        for process in self._running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)
            _kill(process, signal.SIGKILL)  # the leader can be gone and its children not
            process.wait()
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()


def _make_environment(own: Mapping[str, str], limits: GpuLimits) -> dict[str, str]:
    """Name the GPU by its UUID: CUDA numbers GPUs otherwise than the driver does."""
    return {**own, "CUDA_VISIBLE_DEVICES": limits.uuid or str(limits.gpu)}


def _kill(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _read_last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1][-_TOLD:] if lines else ""
