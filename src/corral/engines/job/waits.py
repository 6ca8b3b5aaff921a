"""Measures how long an attempt waits: a stopwatch that is switched on and off."""

from __future__ import annotations

from collections.abc import Callable


class Stopwatch:
    """Runs from the start."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` counts seconds and never goes back."""
        self._clock = clock
        self._total_s = 0.0
        self._since: float | None = clock()

    def read(self) -> float:
        """Return the seconds that it has run."""
        return self._total_s + (0.0 if self._since is None else self._clock() - self._since)

    def switch(self, *, is_running: bool) -> None:
        """Let it run, or stand still."""
        self._total_s, self._since = self.read(), self._clock() if is_running else None

    def stop(self) -> None:
        """Let it stand still."""
        self.switch(is_running=False)
