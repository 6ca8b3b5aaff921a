"""Reads what a `BoundedLog` keeps: its last lines, and those that come after a position, across its moves.

A position is how far into the file it is, with a checksum of the bytes just before: they show which file it is in.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from corral.processes.bounded_log import make_printable, name_older

_CHECKED_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPart:
    """Lines of a log, oldest first, without empty ones; a line that is not finished comes with the next part."""

    lines: tuple[str, ...]
    position: str
    """Where the next part begins; means something to `read_after` alone."""


def read_last(path: Path, count: int) -> LogPart:
    """Return the last lines, at most `count`; none where nothing was printed yet."""
    part = read_after(path, "")
    return LogPart(lines=part.lines[-count:] if count else (), position=part.position)


def read_after(path: Path, position: str) -> LogPart:
    """Return the lines after a position; all that is kept, where the log has moved on beyond that."""
    older, current = _read(name_older(path)), _read(path)
    offset = _find_offset(current, position)
    if offset is not None:
        return _cut(current, offset, b"")
    return _cut(current, 0, older[_find_offset(older, position) or 0 :])


def _cut(current: bytes, offset: int, before: bytes) -> LogPart:
    """Keep the finished lines of what came before the file and of the file from an offset on.

    A progress bar ends its lines with a carriage return.
    """
    end = max(offset, current.rfind(b"\n") + 1, current.rfind(b"\r") + 1)
    data = (before + current[offset:end]).replace(b"\r", b"\n")
    lines = (make_printable(line) for line in data.split(b"\n"))
    return LogPart(
        lines=tuple(line for line in lines if line), position=f"{end}:{crc32(current[:end][-_CHECKED_BYTES:])}"
    )


def _find_offset(data: bytes, position: str) -> int | None:
    """Return how far into these data a position is; None where it is not in them."""
    match = re.fullmatch(r"(\d{1,15}):(\d{1,10})", position, re.ASCII)
    if match is None:
        return None
    offset = int(match[1])
    is_here = offset <= len(data) and crc32(data[:offset][-_CHECKED_BYTES:]) == int(match[2])
    return offset if is_here else None


def _read(path: Path) -> bytes:
    with suppress(OSError):
        return path.read_bytes()
    return b""
