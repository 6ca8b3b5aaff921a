"""Outputs of an attempt, written into its folder."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from corral.work import EngineError, OutputFile

TEXT = "text/plain; charset=utf-8"


class OutputUnwritableError(EngineError):
    """An output could not be written on this machine."""

    code = "instance.output_unwritable"


async def write_answer(scratch: Path, texts: Mapping[str, str]) -> tuple[OutputFile, ...]:
    """Write an answer's texts by file name; `text.txt` also when it is empty. Raises: OutputUnwritableError."""
    return tuple(
        [await write_text(scratch, name, text, TEXT) for name, text in texts.items() if text or name == "text.txt"]
    )


async def write_text(scratch: Path, name: str, content: str, media_type: str) -> OutputFile:
    """Write one output. Raises: OutputUnwritableError."""
    return await write_bytes(scratch, name, content.encode(), media_type)


async def write_bytes(scratch: Path, name: str, content: bytes, media_type: str) -> OutputFile:
    """Write one output. Raises: OutputUnwritableError."""
    await append(scratch / name, content)
    return OutputFile(name=name, path=scratch / name, media_type=media_type)


async def append(path: Path, content: bytes) -> None:
    """Append to an output, on a thread. Raises: OutputUnwritableError."""

    def write() -> None:
        with path.open("ab") as file:
            file.write(content)

    try:
        await asyncio.to_thread(write)
    except OSError as error:
        raise OutputUnwritableError(f"cannot write {path.name!r}: {error.strerror}", where=str(path.parent)) from error
