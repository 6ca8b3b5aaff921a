"""Tasks that have arrived and wait for others to end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from corral.scheduling.simulator.values import Arrival


class Needs:
    """Who waits for whom."""

    __slots__ = ("_ended", "_open", "_waiting")

    def __init__(self) -> None:
        self._ended: set[int] = set()
        self._open: dict[int, set[int]] = {}
        self._waiting: defaultdict[int, list[int]] = defaultdict(list)

    def hold(self, arrival: Arrival) -> bool:
        """Whether the task has to wait for others; it is then kept until the last of them has ended."""
        missing = set(arrival.needs) - self._ended
        if not missing:
            return False
        self._open[arrival.id] = missing
        for need in missing:
            self._waiting[need].append(arrival.id)
        return True

    def end(self, task: int) -> list[int]:
        """Note that a task has ended, and return those that waited for nothing else."""
        self._ended.add(task)
        freed: list[int] = []
        for waiting in self._waiting.pop(task, ()):
            self._open[waiting].discard(task)
            if not self._open[waiting]:
                del self._open[waiting]
                freed.append(waiting)
        return freed

    def left(self) -> Iterator[tuple[int, int]]:
        """Tasks that still wait, each with the first one that it waits for."""
        return ((task, min(missing)) for task, missing in sorted(self._open.items()))
