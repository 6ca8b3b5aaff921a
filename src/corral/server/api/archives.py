"""Several files as one ZIP, written while it is sent: nothing of it is on the disk or in memory as a whole.

Pictures are compressed already, so they are stored as they are.
"""

from __future__ import annotations

import io
import os
import time
import zipfile
from collections.abc import Iterator, Sequence
from itertools import chain, count
from pathlib import Path
from typing import BinaryIO

_CHUNK = 256 * 1024
_Time = tuple[int, int, int, int, int, int]
_FIRST, _LAST = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)
"""The times that a ZIP can write."""


class _Sink:
    """Takes bytes of an archive until they are sent; it cannot seek, so sizes follow each file."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def flush(self) -> None:
        """Keep nothing back."""

    def close(self) -> None:
        """Nothing is open."""

    def take(self) -> bytes:
        whole = b"".join(self._parts)
        self._parts.clear()
        return whole


def name_entries(wanted: Sequence[str]) -> list[str]:
    """Return a name without folders for each, in their order; no two are the same."""
    names: dict[str, None] = {}
    for flat in (name.replace("/", "-") for name in wanted):
        free = chain([flat], (f"{number}-{flat}" for number in count(2)))
        names[next(name for name in free if name not in names)] = None
    return [*names]


def write_archive(files: Sequence[tuple[str, Path | bytes]]) -> Iterator[bytes]:
    """Yield a ZIP of files and texts under their names; blocks while it reads. One that is gone by then is left out."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files:
            try:
                source = io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
            except FileNotFoundError:
                continue
            with source:
                changed_at = _FIRST if isinstance(content, bytes) else _read_time(source)
                entry = zipfile.ZipInfo(name, min(max(changed_at, _FIRST), _LAST))
                with archive.open(entry, "w", force_zip64=True) as target:
                    while chunk := source.read(_CHUNK):
                        target.write(chunk)
                        yield sink.take()
    yield sink.take()


def _read_time(file: BinaryIO) -> _Time:
    return time.localtime(os.fstat(file.fileno()).st_mtime)[:6]
