"""The output of a program: progress read from its lines, a log of bounded size kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

LOG_NAME = "log.txt"
KEPT_BYTES = 512 * 1024
"""Of each end of the log: the start has the setup, the end has the failure."""

_PROGRESS = re.compile(rb"corral: progress (\d(?:\.\d+)?|\.\d+)(?:\s+(.*))?")
_LINE_LENGTH = 4096
_LAST_WORDS = 1500


class Printed:
    """Takes output in pieces; holds at most twice `kept_bytes`."""

    def __init__(self, progress: Callable[[float, str], None], *, kept_bytes: int = KEPT_BYTES) -> None:
        self._progress = progress
        self._kept = kept_bytes
        self._head = bytearray()
        self._tail = bytearray()
        self._left_out = 0
        self._unfinished = b""

    def take(self, data: bytes) -> None:
        """Take the next piece."""
        self._keep(data)
        *lines, rest = (self._unfinished + data).split(b"\n")
        self._unfinished = rest[:_LINE_LENGTH]
        for line in lines:
            if match := _PROGRESS.fullmatch(line.strip()):
                self._progress(float(match[1]), (match[2] or b"").decode(errors="replace"))

    def write(self, path: Path) -> None:
        """Write the log, with the number of missing bytes between its two ends."""
        gap = f"\n[... {self._left_out} bytes left out ...]\n".encode() if self._left_out else b""
        path.write_bytes(bytes(self._head) + gap + bytes(self._tail))

    def quote_end(self) -> str:
        """Return the end of the output as `; it printed last: ...`, or nothing when it printed nothing."""
        end = bytes(self._tail or self._head)[-_LAST_WORDS:].decode(errors="replace").strip().replace("\0", "")
        return f"; it printed last: {end}" if end else ""

    def _keep(self, data: bytes) -> None:
        room = self._kept - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room < len(data) else b""
        if (excess := len(self._tail) - self._kept) > 0:
            del self._tail[:excess]
            self._left_out += excess
