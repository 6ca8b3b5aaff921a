"""What each workload makes in an hour and in a night, before and after, as simulated with the production policy."""

from __future__ import annotations

from dataclasses import dataclass

from corral.figures import Figure
from corral.planning.upgrade.differences import Difference
from corral.scheduling.simulator.values import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """One workload by itself; None where nobody knows how long a task of it takes."""

    workload: str
    unit: str
    """What one task makes: `image`."""
    per_hour: Difference
    """After the upgrade with the adaptations that the report proposes."""
    per_night: Difference
    unadapted: Figure | None
    """In a night after the upgrade, if nothing but the cards changed."""
    opening_before: tuple[Span, ...] = ()
    """How the night begins: the first minutes, in order of their start."""
    opening_after: tuple[Span, ...] = ()

    @property
    def factor(self) -> float | None:
        """After over before; None when either is unknown or nothing was made before."""
        before, after = self.per_night.before, self.per_night.after
        return after.value / before.value if before and after and before.value else None
