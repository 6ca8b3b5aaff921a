"""Many nights one after the other, each starting with what the night before left loaded and measured.

A simulation is a pure function of its trace, so a night whose whole trace (tasks, places with what is resident,
history, outages, bounds) equals that of an earlier one has that night's run, and is not played again. Nothing is
inferred: the traces are compared. A year of equal nights is played as the two or three that differ, for from the second
night on the models are loaded and the durations are measured; where tasks or outages differ, every night is played.

Between nights no owner is owed anything: fair share starts even, as it does when the server starts.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from corral.scheduling.policy import decide
from corral.scheduling.simulator.simulation import simulate
from corral.scheduling.simulator.values import Policy, Run, Trace

_REMEMBERED = 8
"""Nights that a new one is compared with: enough for a weekly rhythm."""

PlayedNights = deque[tuple[Trace, Run]]
"""Nights that were played with one policy, each with its run; the newest are last."""


def remember_nights() -> PlayedNights:
    """Return an empty memory for several calls of `simulate_nights` with the same policy."""
    return deque(maxlen=_REMEMBERED)


def simulate_nights(
    nights: Iterable[Trace], policy: Policy = decide, *, played: PlayedNights | None = None
) -> Iterator[tuple[Trace, Run]]:
    """Play nights in order, and yield each as it was played; those in `played` are not played again.

    The places and the history of the first trace count; later ones start with those at the end of the night before.
    Raises: TraceError.
    """
    played = remember_nights() if played is None else played
    last: Run | None = None
    for night in nights:
        trace = night if last is None else replace(night, places=last.places, history=last.history)
        last = next((run for earlier, run in played if earlier == trace), None)
        if last is None:
            last = simulate(trace, policy)
            played.append((trace, last))
        yield trace, last
