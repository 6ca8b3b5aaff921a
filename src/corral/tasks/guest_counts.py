"""Counts of guests, for metrics."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

MOST_WAITS = 10_000
"""Waits kept until they are read; of more, the newest are not counted."""


@dataclass(slots=True)
class GuestNews:
    """What became of guests since the last reading."""

    waits: list[tuple[str, float]] = field(default_factory=list[tuple[str, float]])
    """Of guests that got their turn: the engine, and the seconds that they waited."""
    refused: Counter[str] = field(default_factory=Counter[str])
    """Guests that got none, by the code of the error."""
    preempted: int = 0
    """Tasks that were interrupted for a guest."""


class GuestCounts:
    """Counts what becomes of guests."""

    def __init__(self) -> None:
        self._news = GuestNews()

    def note_wait(self, engine: str, seconds: float) -> None:
        """Count a guest that gets its turn, and the seconds that it waited."""
        if len(self._news.waits) < MOST_WAITS:
            self._news.waits.append((engine, seconds))

    def note_refusal(self, code: str) -> None:
        """Count a guest that gets none."""
        self._news.refused[code] += 1

    def note_preempted(self, tasks: int) -> None:
        """Count tasks that were interrupted for a guest."""
        self._news.preempted += tasks

    def take_news(self) -> GuestNews:
        """Return what was counted since the last time, and begin anew."""
        news, self._news = self._news, GuestNews()
        return news
