"""Counts of guests, for metrics."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field

MOST_WAITS = 10_000
"""Waits kept between two readings; beyond that the oldest are lost, and only those."""


@dataclass(slots=True)
class GuestCounts:
    """What happened to guests."""

    refused: Counter[str] = field(default_factory=Counter[str])
    """By the code of the error."""
    preempted: int = 0
    """Tasks that were interrupted for a guest."""
    _waits: deque[tuple[str, float]] = field(default_factory=lambda: deque[tuple[str, float]](maxlen=MOST_WAITS))

    def note_wait(self, engine: str, seconds: float) -> None:
        """Count a guest that gets its turn, and the seconds that it waited."""
        self._waits.append((engine, seconds))

    def note_refusal(self, code: str) -> None:
        """Count a guest that gets none."""
        self.refused[code] += 1

    def take_waits(self) -> list[tuple[str, float]]:
        """Take out the engines and waits of the guests that got their turn since the last time."""
        waits = list(self._waits)
        self._waits.clear()
        return waits
