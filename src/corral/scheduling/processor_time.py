"""How much of its processors each running task had: seconds, divided among what computes there at the same time.

Each processor has a clock that goes forward by 1/N of a second in a second in which N tasks compute there, so what a
task had is the difference of two of its readings: O(1) for each start and end, however many share. This is the virtual
time of fair queuing (Demers, Keshav, Shenker, "Analysis and simulation of a fair queueing algorithm", 1989).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(slots=True)
class _Clock:
    reading: float = 0.0
    read_at: float = 0.0
    computing: int = 0

    def read(self, at: float) -> float:
        if self.computing:
            self.reading += max(0.0, at - self.read_at) / self.computing
        self.read_at = at
        return self.reading


class ProcessorTime:
    """The clocks of processors on which several tasks can compute; instants are seconds of one monotonic clock."""

    def __init__(self) -> None:
        self._clocks: dict[str, _Clock] = {}
        self._begun: dict[int, tuple[tuple[str, float], ...]] = {}

    def begin(self, task: int, processors: Iterable[str | None], at: float) -> None:
        """Let a task compute on processors; those that are None are its own."""
        shared = [(name, self._clocks.setdefault(name, _Clock())) for name in processors if name is not None]
        self._begun[task] = tuple((name, clock.read(at)) for name, clock in shared)
        for _, clock in shared:
            clock.computing += 1

    def end(self, task: int, at: float) -> list[float]:
        """End what a task computes, and return the seconds that it had of each shared processor; none if unknown."""
        had: list[float] = []
        for name, reading in self._begun.pop(task, ()):
            clock = self._clocks[name]
            had.append(clock.read(at) - reading)
            clock.computing -= 1
            if not clock.computing:
                del self._clocks[name]
        return had
