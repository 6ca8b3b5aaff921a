"""Remembers which slots failed guests with which model, so that the next ones go elsewhere for a while.

After its wait a breaker lets one guest try; whether that succeeds decides for the others. A guest tries one slot at a
time, so each slot waits for a guest of its own; one that goes elsewhere leaves the trial to the next.
A slot whose server cannot be reached is closed by the queue itself (`GuestTurn.fail`); this is for servers that answer
and fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from corral.slots.guests import Choice
from corral.work import SlotId

WAITS_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Waits after failures in a row; the last one repeats."""


_Name = tuple[SlotId, Choice]


@dataclass(frozen=True, slots=True)
class Trial:
    """The slots that failed others, as a guest goes about them: those to avoid, and the one to try."""

    avoid: frozenset[SlotId]
    tries: tuple[SlotId, ...] = ()
    """The slot that it can try; empty where none is due."""


@dataclass(slots=True)
class _Breaker:
    failures: int
    closed_until: float


class Breakers:
    """The breakers of all slots, by model."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._breakers: dict[_Name, _Breaker] = {}

    def begin_trial(self, choices: Iterable[Choice]) -> Trial:
        """Return the slots for a guest to avoid, and of those whose wait is over the one that it can try."""
        if not self._breakers:
            return Trial(frozenset())
        wanted, now = frozenset(choices), self._clock()
        due: dict[SlotId, float] = {}
        waiting: set[SlotId] = set()
        for (slot, choice), breaker in self._breakers.items():
            if choice not in wanted:
                continue
            if now < breaker.closed_until:
                waiting.add(slot)
            else:
                due[slot] = min(breaker.closed_until, due.get(slot, now))
        tried = min(due.keys() - waiting, key=lambda slot: (due[slot], slot), default=None)
        if tried is None:
            return Trial(frozenset(waiting))
        for breaker in self._list_of(tried, wanted):
            breaker.closed_until = now + _find_wait(breaker.failures)
        return Trial(frozenset(waiting | due.keys() - {tried}), (tried,))

    def leave_trial(self, trial: Trial, choices: Iterable[Choice]) -> None:
        """Let the next guest try the slot: this one went elsewhere."""
        for slot in trial.tries:
            for breaker in self._list_of(slot, frozenset(choices)):
                breaker.closed_until = self._clock()

    def _list_of(self, slot: SlotId, choices: frozenset[Choice]) -> list[_Breaker]:
        return [self._breakers[slot, choice] for choice in choices if (slot, choice) in self._breakers]

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
