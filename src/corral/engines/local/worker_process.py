"""One worker process seen from the server: started, spoken to, killed, and nothing of it left behind.

It runs in a session of its own, so that Ctrl-C at a terminal does not reach it, and it ends when its standard input
does, however this process dies.

Its reports are believed only as far as they can be checked: an output must be a file in the attempt's folder.

Belongs here: pipes, signals, exit codes, and messages read as `Produced`, `Resident` and errors.
Does not belong here: the life of a worker across attempts.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from corral.engines.local.bounded_log import BoundedLog
from corral.engines.local.leftovers import MARK, end_marked
from corral.engines.messages import MAX_LINE_BYTES, Message, WireError, decode, encode
from corral.units import Bytes
from corral.work import (
    EngineError,
    EngineUnavailableError,
    FailureScope,
    OutputFile,
    Produced,
    Resident,
    TaskInvalidError,
)

_REAP_S = 5.0
"""How long a killed process can take to disappear; only a driver that hangs in the kernel takes longer."""

_LAST_LINES = 4
_STACK = ("File ", "Current thread", "Thread 0x", "Extension modules")
"""How the lines of Python's own crash report begin; the lines of native code before them explain more."""


class WorkerGoneError(Exception):
    """The worker died or talks nonsense; it cannot be used any more."""


class WorkerProcess:
    """A started worker. `end` must be awaited once for each; it can be awaited more often."""

    def __init__(self, process: asyncio.subprocess.Process, log: BoundedLog, mark: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._input = process.stdin
        self._output = process.stdout
        self._log = log
        self._mark = mark
        self._pump = asyncio.create_task(self._keep_stderr())
        self._ending: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str], log: BoundedLog) -> WorkerProcess:
        """Start the program. Raises: OSError when it cannot be started."""
        log.forget()
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
            limit=MAX_LINE_BYTES,
        )
        return cls(process, log, environment[MARK])

    @property
    def alive(self) -> bool:
        """Whether it could take another message."""
        return self._process.returncode is None and self._ending is None

    @property
    def pid(self) -> int:
        """Its process id, which is the id of its process group too."""
        return self._process.pid

    async def send(self, message: Mapping[str, Any]) -> None:  # Any: a JSON object
        """Send one message. Raises: WorkerGoneError."""
        try:
            self._input.write(encode(message))
            await self._input.drain()
        except (OSError, WireError) as error:
            raise WorkerGoneError(str(error)) from error

    async def receive(self) -> Message:
        """Return the next message; cancelling the call loses none. Raises: WorkerGoneError."""
        try:
            line = await self._output.readline()
            if not line:
                raise WorkerGoneError("it closed its output")
            return decode(line)
        except (OSError, ValueError, WireError) as error:  # ValueError: a line longer than the limit
            raise WorkerGoneError(str(error)) from error

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
        self._input.close()
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

    async def _keep_stderr(self) -> None:
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(65536):
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


def raise_failure(message: Message, scratch: Path | None = None) -> NoReturn:
    """Raise the error that the worker reported, with its files in `scratch`; WorkerGoneError when it reported none."""
    if message.get("type") != "error":
        raise WorkerGoneError(f"it sent an unexpected message: {message.get('type')!r}")
    what, hint = str(message.get("what")), message.get("hint")
    match FailureScope(message["scope"]):
        case FailureScope.TASK:
            raise TaskInvalidError(what, hint=hint)
        case FailureScope.SLOT:
            raise EngineUnavailableError(what, hint=hint)
        case FailureScope.ATTEMPT:
            raise EngineError(what, hint=hint, files=_read_files(message, scratch))


def read_residents(message: Message) -> tuple[Resident, ...]:
    """Read a `resident` message."""
    return tuple(
        Resident(model=entry["model"], memory=None if entry["memory"] is None else Bytes(entry["memory"]))
        for entry in message["models"]
    )


def read_produced(message: Message, scratch: Path) -> Produced:
    """Read a `result` message. Raises: EngineError when a file is not a file in the attempt's folder."""
    return Produced(files=_read_files(message, scratch), values=message["values"])


def _read_files(message: Message, scratch: Path | None) -> tuple[OutputFile, ...]:
    if scratch is None:
        return ()
    return tuple(_read_file(entry, scratch.resolve()) for entry in message.get("files", ()))


def _read_file(entry: Message, scratch: Path) -> OutputFile:
    name, path = str(entry["name"]), Path(entry["path"])
    resolved = path.resolve()
    if not resolved.is_relative_to(scratch) or not resolved.is_file():
        raise EngineError(f"output {name!r} is not a file in the attempt's folder")
    return OutputFile(name=name, path=resolved, media_type=str(entry["media_type"]))
