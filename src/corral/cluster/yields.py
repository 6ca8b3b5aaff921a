"""The values of a GPU's `yieldTo`: the programs and users outside of Corral that it is given to."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class OthersUse:
    """How much programs outside of Corral compute on a GPU before it yields."""

    above: float
    """The share of the time, 0 to 1, of all of them together."""
    lasting: timedelta = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class YieldTo:
    """The programs and users that get a GPU as soon as they use it."""

    programs: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    others: OthersUse | None = None
    interrupt_after: timedelta | None = None
    """How long tasks can go on; None lets them end."""
    quiet: timedelta = timedelta(minutes=5)
    """How long none of them must use it before it takes tasks again."""
