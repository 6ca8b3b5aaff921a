"""A wall clock that a test moves for a server and all that it starts: tests/clock/clock.c, built here.

Checked against a server at work with its embedded PostgreSQL: both agree on the moved time, and a task that runs while
the clock is moved by hours goes on.
"""

from __future__ import annotations

import struct
import time
from datetime import datetime, timedelta
from pathlib import Path

from doubles.c_library import compile_library

SOURCE = Path(__file__).parents[1] / "clock" / "clock.c"
_SECOND = 10**9


class MovedClock:
    """The system's wall clock, moved as a whole; sleeps and monotonic clocks are as they were."""

    def __init__(self, folder: Path, now: datetime) -> None:
        self._library = folder / "clock.so"
        self._offset = folder / "clock-offset"
        compile_library(SOURCE, self._library)
        self._write(round((now.timestamp() - time.time()) * _SECOND))

    @property
    def environment(self) -> dict[str, str]:
        """The variables that give a process this clock."""
        return {"LD_PRELOAD": str(self._library), "CORRAL_TEST_CLOCK": str(self._offset)}

    def move_to(self, now: datetime) -> None:
        """Make it this time, for every process that has the clock, at once."""
        self._write(round((now.timestamp() - time.time()) * _SECOND))

    def read(self, like: datetime) -> datetime:
        """Return the time that it shows, in the time zone of another."""
        (offset,) = struct.unpack("<q", self._offset.read_bytes())
        return datetime.fromtimestamp(time.time(), like.tzinfo) + timedelta(microseconds=offset // 1000)

    def _write(self, offset: int) -> None:
        """Write in place: processes have the file's page in their memory."""
        with self._offset.open("r+b" if self._offset.exists() else "xb") as file:
            file.write(struct.pack("<q", offset))
