"""Reads what a worker says about its work, and believes none of it without a look.

Belongs here: messages to `Produced`, `Resident` and errors.
Does not belong here: pipes, processes.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from corral.engines.local.worker_process import WorkerGoneError
from corral.engines.wire import Message
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
