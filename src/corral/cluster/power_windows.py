"""Hours in which a GPU has a lower power limit: values of a cluster file that was checked."""

from __future__ import annotations

from dataclasses import dataclass

from corral.hours import Hours


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerWindow:
    """Hours in which the power limit of a GPU is another."""

    watts: int
    """At most the limit outside of all windows, so that no figure of power is above it."""
    hours: Hours

    def __str__(self) -> str:
        return f"{self.watts} W {self.hours}"
