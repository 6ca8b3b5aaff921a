"""Runs a workload through the policy in simulated time: the very function that production calls.

Belongs here: the clock, the places, failures and loading of models; what came of it in numbers.
Does not belong here: any choice of what runs where (that is `corral.scheduling.policy`), real time, files.
May import: `corral.scheduling`, `corral.figures`, `corral.units`, `corral.errors`.
"""

from corral.scheduling.simulator.nights import PlayedNights, remember_nights, simulate_nights
from corral.scheduling.simulator.outcome import Outcome, Waits, Watts, summarise
from corral.scheduling.simulator.simulation import simulate

__all__ = [
    "Outcome",
    "PlayedNights",
    "Waits",
    "Watts",
    "remember_nights",
    "simulate",
    "simulate_nights",
    "summarise",
]
