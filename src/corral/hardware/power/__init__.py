"""A node's power draw, whether its power supply carries it, its heat and the cost of a night.

Belongs here: formulas over catalogue and cluster file, each with its source; advice on power limits.
Does not belong here: setting a limit, reading a sensor, printing.
May import: `corral.hardware.catalogue`, `corral.cluster`, `corral.figures`, `corral.units`, `corral.errors`.
"""

from __future__ import annotations

from corral.hardware.power.limits import LimitRange, advise_limit, list_speed_losses
from corral.hardware.power.node import compute_power, find_models
from corral.hardware.power.values import SUPPLY, TRANSIENTS, Connector, Draw, GpuPower, Judgement, NodePower, Verdict

__all__ = [
    "SUPPLY",
    "TRANSIENTS",
    "Connector",
    "Draw",
    "GpuPower",
    "Judgement",
    "LimitRange",
    "NodePower",
    "Verdict",
    "advise_limit",
    "compute_power",
    "find_models",
    "list_speed_losses",
]
