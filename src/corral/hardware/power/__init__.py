"""What a node draws, whether its power supply carries that, what it heats and what a night of it costs.

Belongs here: formulas over catalogue and cluster file, each with its source; advice on power limits.
Does not belong here: setting a limit, reading a sensor, printing.
May import: `corral.hardware.catalogue`, `corral.cluster`, `corral.figures`, `corral.units`, `corral.errors`.
"""

from __future__ import annotations

from corral.hardware.power.limits import LimitRange, advised_limit
from corral.hardware.power.node import models_of, power_of
from corral.hardware.power.speeds import speed_losses
from corral.hardware.power.values import SUPPLY, TRANSIENTS, CardPower, Connector, Draw, Judgement, NodePower, Verdict

__all__ = [
    "SUPPLY",
    "TRANSIENTS",
    "CardPower",
    "Connector",
    "Draw",
    "Judgement",
    "LimitRange",
    "NodePower",
    "Verdict",
    "advised_limit",
    "models_of",
    "power_of",
    "speed_losses",
]
