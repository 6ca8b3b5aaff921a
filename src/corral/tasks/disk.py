"""Whether the disk on which attempts work and outputs are kept has room.

A full disk is this server's trouble and no task's: the server starts nothing until there is room, with an alarm, and an
attempt that met it is lost and tried again, not spent. Free bytes are looked at now and then. A quota, or a disk that
became read-only, shows only when something is written: that is tried after an attempt failed, and until it works.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from corral.errors import Problem
from corral.tasks.alarms import Alarms
from corral.tasks.artifacts import ArtifactStore, DiskFullError, count_free
from corral.units import Bytes, format_bytes

ALARM = "disk"
LOOK_EVERY_S = 5.0
"""Between two looks at a disk that has room."""
TRY_EVERY_S = 1.0
"""Between two tries while it has none."""


class DiskWatch:
    """The disk of one server's artifacts and scratch folders; `problem` is written by the event loop alone."""

    def __init__(self, artifacts: ArtifactStore, alarms: Alarms, *, reserve: Bytes) -> None:
        """`reserve` is the free bytes below which nothing new starts."""
        self._artifacts = artifacts
        self._alarms = alarms
        self.reserve = reserve
        self.problem: Problem | None = None

    async def try_writing(self) -> Problem | None:
        """Look at the free bytes and write a file; return why that does not work, and None when it does."""
        self._note(await asyncio.to_thread(self._find_problem, is_tried=True))
        return self.problem

    async def watch(self, changed: Callable[[], None]) -> None:
        """Look for ever, and call `changed` when the disk has become full, or has room again."""
        while True:
            before = self.problem
            self._note(await asyncio.to_thread(self._find_problem, is_tried=before is not None))
            if (self.problem is None) != (before is None):
                changed()
            await asyncio.sleep(LOOK_EVERY_S if self.problem is None else TRY_EVERY_S)

    def _note(self, problem: Problem | None) -> None:
        self.problem = problem
        self._alarms.show(ALARM, problem)

    def _find_problem(self, *, is_tried: bool) -> Problem | None:
        folder = self._artifacts.root
        try:
            free = count_free(folder)
            if free is not None and free < self.reserve:
                raise DiskFullError(
                    f"the disk has {format_bytes(free)} free, and nothing starts below {format_bytes(self.reserve)}",
                    where=str(folder),
                    hint=DiskFullError.remedy,
                )
            if is_tried:
                self._artifacts.try_writing()
        except DiskFullError as error:
            return error.problems[0]
        except OSError:  # the folder is gone, say: attempts report that in their own words
            return None
        return None
