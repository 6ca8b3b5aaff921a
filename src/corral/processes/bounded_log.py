"""The output of a process, kept in a file that cannot grow without end."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from pathlib import Path

LIMIT_BYTES = 2 * 2**20
"""Two files of half of this are kept: enough for the start of any engine and thousands of lines after it."""

_TAIL_LINES = 60
_TAIL_LINE_LENGTH = 400


class BoundedLog:
    """Appends to `path`, moves it to `<path>.1` when it is half the limit, and remembers the last lines."""

    def __init__(
        self, path: Path, *, limit_bytes: int = LIMIT_BYTES, follow: Callable[[str], None] = lambda _: None
    ) -> None:
        """`follow` is called with each line that is remembered."""
        self._path = path
        self._follow = follow
        self._half = limit_bytes // 2
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._unfinished = b""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._size = path.stat().st_size if path.exists() else 0

    def write(self, data: bytes) -> None:
        """Append; never raises for a full disk, because an engine must not fail for its log."""
        self._remember(data)
        try:
            self._append(data)
        except OSError:
            return

    def forget(self) -> None:
        """Start a new tail, for a new process."""
        self._tail.clear()
        self._unfinished = b""

    @property
    def path(self) -> Path:
        """The file of its newest part."""
        return self._path

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines that are not empty, oldest first; long ones are cut."""
        last = make_printable(self._unfinished)
        return (*self._tail, last) if last else tuple(self._tail)

    def _append(self, data: bytes) -> None:
        if self._size + len(data) > self._half:
            if self._path.exists():
                self._path.replace(name_older(self._path))
            self._size = 0
            data = data[-self._half :]
        with self._path.open("ab") as file:
            file.write(data)
        self._size += len(data)

    def _remember(self, data: bytes) -> None:
        *lines, rest = (self._unfinished + data).split(b"\n")
        self._unfinished = rest[-_TAIL_LINE_LENGTH:]
        for line in lines:
            if text := make_printable(line):
                self._tail.append(text)
                self._follow(text)


def name_older(path: Path) -> Path:
    """Return the file of a log's older half."""
    return path.with_name(f"{path.name}.1")


def make_printable(line: bytes) -> str:
    """Return the end of a line without what steers a terminal."""
    text = line[-_TAIL_LINE_LENGTH:].decode("utf-8", errors="replace").strip()
    return "".join(character if character.isprintable() else " " for character in text)
