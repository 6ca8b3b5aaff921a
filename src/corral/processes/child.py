"""One process seen from Corral: started, killed, and nothing of it left behind.

It runs in a session of its own, so that Ctrl-C at a terminal does not reach it. Its standard input is a pipe from here:
a program of ours ends when that ends, however this process dies.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from corral.processes.bounded_log import BoundedLog
from corral.processes.leftovers import MARK, end_marked

_REAP_S = 5.0
"""How long a killed process can take to disappear; only a driver that hangs in the kernel takes longer."""
_LAST_LINES = 4
_STACK = ("File ", "Current thread", "Thread 0x", "Extension modules")
"""How the lines of Python's own crash report begin; the lines of native code before them explain more."""


class ChildProcess:
    """A started process. `end` must be awaited once for each; it can be awaited more often."""

    def __init__(self, process: asyncio.subprocess.Process, logged: asyncio.StreamReader, log: BoundedLog, mark: str):
        assert process.stdin is not None
        self._process = process
        self._log = log
        self._mark = mark
        self._pump = asyncio.create_task(self._keep_output(logged))
        self._ending: asyncio.Task[None] | None = None
        self.input = process.stdin

    @classmethod
    async def start(
        cls, command: Sequence[str], environment: Mapping[str, str], log: BoundedLog, *, folder: Path | None = None
    ) -> ChildProcess:
        """Start a program whose whole output goes to its log. `environment` holds its mark.

        Raises: OSError when it cannot be started.
        """
        log.forget()
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
        )
        assert process.stdout is not None
        return cls(process, process.stdout, log, environment[MARK])

    @classmethod
    async def start_talking(
        cls, command: Sequence[str], environment: Mapping[str, str], log: BoundedLog, *, longest_line: int
    ) -> tuple[ChildProcess, asyncio.StreamReader]:
        """Start a program whose standard error goes to its log, and return its output too.

        `longest_line` is in bytes. Raises: OSError when it cannot be started.
        """
        log.forget()
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
            limit=longest_line,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        return cls(process, process.stderr, log, environment[MARK]), process.stdout

    @property
    def alive(self) -> bool:
        """Whether it runs and was not asked to end."""
        return self._process.returncode is None and self._ending is None

    @property
    def was_killed(self) -> bool:
        """Whether it ended by SIGKILL, and so without doing anything more."""
        return self._process.returncode == -signal.SIGKILL

    @property
    def pid(self) -> int:
        """Its process id, which is the id of its process group too."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """As the system reports it, negative for a signal; None while it runs."""
        return self._process.returncode

    async def wait(self) -> None:
        """Return when the process has ended by itself or was killed."""
        await self._process.wait()

    def kill(self) -> None:
        """Kill it and its process group at once, without waiting."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def end(self, *, grace_s: float = 0.0) -> None:
        """Let it end by itself for `grace_s`, then kill it; on return nothing that it started runs any longer."""
        if self._ending is None:
            self._ending = asyncio.create_task(self._end(grace_s))
        await asyncio.shield(self._ending)

    def describe_end(self) -> str:
        """Say how it ended, and the last lines that it printed."""
        lines = "; ".join([line for line in self._log.tail if not line.startswith(_STACK)][-_LAST_LINES:])
        return f"{_describe_exit(self._process.returncode)}{f'; last lines: {lines}' if lines else ''}"

    async def _end(self, grace_s: float) -> None:
        self.input.close()
        if grace_s > 0:
            await self._wait(grace_s)
        self.kill()
        # Before waiting: what it left behind can hold its pipes, and asyncio waits for those as well.
        await asyncio.to_thread(end_marked, self._mark, spare=self._process.pid)
        await self._wait(_REAP_S)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._pump, _REAP_S)

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._process.wait(), seconds)

    async def _keep_output(self, output: asyncio.StreamReader) -> None:
        while data := await output.read(65536):
            self._log.write(data)


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "it stopped answering"
    if code >= 0:
        return f"it ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    cause = " (the system kills so when memory runs out)" if -code == signal.SIGKILL else ""
    return f"it was killed by {name}{cause}"
