"""How long the turns of guests take, as far as it was seen."""

from __future__ import annotations

from collections import deque
from statistics import median

from corral.slots.guests import Choice

UNKNOWN_TURN_S = 10.0
"""Charged and expected where no guest had a turn with the engine yet; corrected when it ends."""
KEPT_TURNS = 15
"""Of which the median is expected, as with tasks (`corral.scheduling.durations.KEPT`)."""


class TurnLengths:
    """The lengths of the last turns with each engine and model."""

    def __init__(self) -> None:
        self._took: dict[tuple[str, str | None], deque[float]] = {}

    def note(self, choice: Choice, seconds: float) -> None:
        """Note that a turn has taken so long."""
        for key in ((choice.engine, choice.model), (choice.engine, None)):
            self._took.setdefault(key, deque(maxlen=KEPT_TURNS)).append(seconds)

    def expect(self, choice: Choice) -> float:
        """Return how many seconds a turn should take, to two digits, so that like guests stay alike."""
        took = self._took.get((choice.engine, choice.model)) or self._took.get((choice.engine, None))
        return float(f"{median(took):.1e}") if took else UNKNOWN_TURN_S
