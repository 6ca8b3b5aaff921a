"""Remembers which slots failed guests with which model, so that the next ones go elsewhere for a while.

After its wait a breaker lets one guest try; whether that succeeds decides for the others. A slot whose server cannot be
reached is closed by the queue itself (`GuestTurn.fail`); this is for servers that answer and fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from corral.slots.guests import Choice
from corral.work import SlotId

WAITS_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Waits after failures in a row; the last one repeats."""


@dataclass(slots=True)
class _Breaker:
    failures: int
    closed_until: float


class Breakers:
    """The breakers of all slots, by model."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._breakers: dict[tuple[SlotId, Choice], _Breaker] = {}

    def list_open(self, choices: Iterable[Choice]) -> frozenset[SlotId]:
        """List the slots to avoid; one whose wait is over is not listed once, so that this guest tries it."""
        if not self._breakers:
            return frozenset()
        wanted, now = frozenset(choices), self._clock()
        avoided: set[SlotId] = set()
        for (slot, choice), breaker in self._breakers.items():
            if choice not in wanted:
                continue
            if now < breaker.closed_until:
                avoided.add(slot)
            else:
                breaker.closed_until = now + _find_wait(breaker.failures)
        return frozenset(avoided)

    def note_failure(self, slot: SlotId, choice: Choice) -> None:
        """Note that a slot failed a guest."""
        known = self._breakers.get((slot, choice))
        failures = 1 if known is None else known.failures + 1
        self._breakers[slot, choice] = _Breaker(failures, self._clock() + _find_wait(failures))

    def note_success(self, slot: SlotId, choice: Choice) -> None:
        """Note that a slot served a guest."""
        if self._breakers:
            self._breakers.pop((slot, choice), None)


def _find_wait(failures: int) -> float:
    return WAITS_S[min(failures, len(WAITS_S)) - 1]
