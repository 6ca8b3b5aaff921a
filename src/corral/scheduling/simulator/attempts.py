"""Attempts while a simulation goes on, and how those that compute on one processor slow each other down.

N places that compute on a processor get a part of 1/N each: a GPU that several programs keep busy gives them its time
in turn. Attempts in lanes of one place compute together: the seconds of the trace are those that a task takes next to
as many others as there usually are. An attempt that still loads its model loads at full speed, and counts as one that
computes. Where nothing else computes on a processor, an attempt takes exactly the time of the trace.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from corral.scheduling.simulator.values import Span
from corral.scheduling.values import Assignment, QueuedTask
from corral.work import SlotId

SECOND = 1_000_000
"""Time is in whole microseconds, which is what `datetime` holds."""


@dataclass(slots=True, kw_only=True, eq=False)
class Attempt:
    """One run of a task on its places, from its assignment on."""

    task: QueuedTask
    assignment: Assignment
    processors: Mapping[str, SlotId]
    """Those that others can compute on too, and its place on each."""
    from_us: int
    load_us: int
    """How long it waits for its model."""
    loads: bool = True
    """Whether it loads the model itself; not in a lane next to one that does."""
    work_us: int
    """Left of the work, without loading, at `counted_us`."""
    counted_us: int
    until_us: int = -1
    """When it should end, as things are; negative before it was let begin."""
    ended: bool = False
    lost: bool = False

    def to_span(self) -> Span:
        """Return the attempt as the run has it."""
        return Span(
            task=self.task.id,
            places=self.assignment.places,
            from_s=self.from_us / SECOND,
            until_s=self.until_us / SECOND,
            load_s=min(self.load_us, self.until_us - self.from_us) / SECOND if self.loads else 0.0,
            lost=self.lost,
        )


class Processors:
    """Who computes on each processor now."""

    def __init__(self) -> None:
        self._computing: dict[str, dict[int, Attempt]] = {}

    def begin(self, attempt: Attempt, now_us: int) -> list[Attempt]:
        """Let an attempt compute, and return it and those whose end moves by that."""
        touched = self._count_work(attempt, now_us)
        for name in attempt.processors:
            self._computing.setdefault(name, {})[attempt.task.id] = attempt
        return self._set_ends([*touched, attempt], now_us)

    def end(self, attempt: Attempt, now_us: int) -> list[Attempt]:
        """Let an attempt compute no more, and return those whose end moves by that."""
        touched = self._count_work(attempt, now_us)
        for name in attempt.processors:
            del self._computing[name][attempt.task.id]
        return self._set_ends([other for other in touched if other is not attempt], now_us)

    def _count_work(self, attempt: Attempt, now_us: int) -> list[Attempt]:
        """Count what the attempts on its processors did with their part until now, and return them."""
        touched = {
            other.task.id: other for name in attempt.processors for other in self._computing.get(name, {}).values()
        }
        for other in touched.values():
            begun_us = max(other.counted_us, min(now_us, other.from_us + other.load_us))
            other.work_us = max(0, other.work_us - (now_us - begun_us) // self._count_sharing(other))
            other.counted_us = now_us
        return list(touched.values())

    def _set_ends(self, attempts: Iterable[Attempt], now_us: int) -> list[Attempt]:
        moved: list[Attempt] = []
        for attempt in attempts:
            loaded_us = max(now_us, attempt.from_us + attempt.load_us)
            until_us = loaded_us + attempt.work_us * self._count_sharing(attempt)
            if until_us != attempt.until_us:
                attempt.until_us = until_us
                moved.append(attempt)
        return moved

    def _count_sharing(self, attempt: Attempt) -> int:
        """How many places compute on the busiest of an attempt's processors."""
        return max(
            (len({other.processors[name] for other in self._computing[name].values()}) for name in attempt.processors),
            default=1,
        )
