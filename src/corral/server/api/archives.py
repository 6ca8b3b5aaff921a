"""Several files as one ZIP, written while it is sent: nothing of it is on the disk or in memory as a whole.

Pictures are compressed already, so they are stored as they are.
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

_CHUNK = 256 * 1024


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


def write_archive(files: Sequence[tuple[str, Path]]) -> Iterator[bytes]:
    """Yield a ZIP of files under their names; blocks while it reads. One that is gone by then is left out."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for name, path in files:
            try:
                source = path.open("rb")
            except FileNotFoundError:
                continue
            entry = zipfile.ZipInfo(name, time.localtime(path.stat().st_mtime)[:6])
            with source, archive.open(entry, "w", force_zip64=True) as target:
                while chunk := source.read(_CHUNK):
                    target.write(chunk)
                    yield sink.take()
    yield sink.take()
