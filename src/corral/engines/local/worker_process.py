"""One worker process seen from the server: spoken to in messages, and ended.

Its reports are believed only as far as they can be checked: an output must be a file in the attempt's folder.

Belongs here: messages over pipes, read as `Produced`, `Resident` and errors.
Does not belong here: starting and ending processes (`corral.processes`), the life of a worker across attempts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from corral.engines.messages import MAX_LINE_BYTES, Message, WireError, decode, encode
from corral.processes.bounded_log import BoundedLog
from corral.processes.child import ChildProcess
from corral.units import Bytes
from corral.work import (
    EngineError,
    EngineUnavailableError,
    FailureScope,
    OutputFile,
    Produced,
    Resident,
    SlotLacksError,
    TaskInvalidError,
)


class WorkerGoneError(Exception):
    """The worker died or talks nonsense; it cannot be used any more."""


class WorkerProcess:
    """A started worker. `end` must be awaited once for each; it can be awaited more often."""

    def __init__(self, process: ChildProcess, output: asyncio.StreamReader) -> None:
        self._process = process
        self._output = output

    @classmethod
    async def start(cls, command: Sequence[str], environment: Mapping[str, str], log: BoundedLog) -> WorkerProcess:
        """Start the program. Raises: OSError when it cannot be started."""
        return cls(*await ChildProcess.start_talking(command, environment, log, longest_line=MAX_LINE_BYTES))

    @property
    def alive(self) -> bool:
        """Whether it could take another message."""
        return self._process.alive

    async def send(self, message: Mapping[str, Any]) -> None:  # Any: a JSON object
        """Send one message. Raises: WorkerGoneError."""
        try:
            self._process.input.write(encode(message))
            await self._process.input.drain()
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
        self._process.kill()

    async def end(self, *, grace_s: float = 0.0) -> None:
        """Let it end by itself for `grace_s`, then kill it; on return nothing that it started runs any longer."""
        await self._process.end(grace_s=grace_s)

    def describe_end(self) -> str:
        """Say how it ended, and the last lines that it printed."""
        return self._process.describe_end()


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
        case FailureScope.HERE:
            raise SlotLacksError(what, hint=hint)
        case FailureScope.ATTEMPT | FailureScope.WAIT:  # a worker has room for the one task that it is given
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
