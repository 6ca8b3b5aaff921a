"""When a GPU that answers must not get tasks: its driver reports errors of the GPU; a pure function of what was seen.

A GPU is closed by an XID that is not a program's, by memory errors that could not be corrected, and by hardware that
has slowed it down for heat or for power for `SLOWED_FOR`. It opens again when nothing of that was seen for `QUIET`,
which doubles with each closing within `REMEMBERED`; memory errors count until the GPU was reset. A person who resumes
its slots after a pause opens it at once, whatever was seen before.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from corral.hardware.xids import XIDS_OF_PROGRAMS, describe_xid

SLOWED_FOR = timedelta(minutes=1)
"""A GPU that is slowed down for less is at the edge of what it can bear, and works on."""
QUIET = timedelta(minutes=10)
"""As long as a GPU takes to cool down, with room to spare; the first of the pauses."""
MOST_QUIET = timedelta(hours=4)
REMEMBERED = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """The errors of a GPU that one look shows; what its driver does not report is None."""

    xids: tuple[int, ...] = ()
    """Those since the look before."""
    ecc_uncorrected: int | None = None
    """Memory errors that could not be corrected since the driver loaded; most consumer GPUs do not count them."""
    slowdowns: tuple[str, ...] | None = None
    """Why the hardware slows it down now, in words; reasons of the driver and of its limits are not here."""


NO_SIGNS = Signs()
"""Nothing is known of its errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The memory of a GPU's errors between two looks."""

    fault: str | None = None
    """Why it is closed, for people; None while it is open."""
    seen_at: datetime | None = None
    """When a reason to close it was seen last."""
    closings: int = 0
    """How often it was closed within `REMEMBERED`."""
    slowed_since: datetime | None = None
    ecc_accepted: int = 0
    """Memory errors that a person has seen, and opened it nevertheless."""

    @property
    def quiet(self) -> timedelta:
        """How long nothing must be seen before it opens."""
        return min(MOST_QUIET, QUIET * 2 ** max(0, self.closings - 1))


def judge(before: Health, signs: Signs, now: datetime, *, is_resumed: bool) -> Health:
    """Return the health after a look at a GPU that answers; `is_resumed` is whether a person has just opened it."""
    if is_resumed:
        before = Health(ecc_accepted=signs.ecc_uncorrected or before.ecc_accepted)
    elif signs.ecc_uncorrected is not None and signs.ecc_uncorrected < before.ecc_accepted:  # the GPU was reset
        before = replace(before, ecc_accepted=0)
    if signs.slowdowns is not None:
        before = replace(before, slowed_since=(before.slowed_since or now) if signs.slowdowns else None)
    fault = _find_fault(before, signs, now)
    if fault is not None:
        is_recent = before.seen_at is not None and now - before.seen_at < REMEMBERED
        closings = (before.closings if is_recent else 0) + (before.fault is None)
        return replace(before, fault=fault, seen_at=now, closings=closings)
    if before.fault is not None and before.seen_at is not None and now - before.seen_at >= before.quiet:
        return replace(before, fault=None)
    return before


def _find_fault(health: Health, signs: Signs, now: datetime) -> str | None:
    xid = next((xid for xid in signs.xids if xid not in XIDS_OF_PROGRAMS), None)
    if xid is not None:
        return f"its driver reported {describe_xid(xid)}"
    errors = signs.ecc_uncorrected or 0
    if errors > health.ecc_accepted:
        return f"its memory had errors that could not be corrected ({errors} since its driver was loaded)"
    is_lasting = health.slowed_since is not None and now - health.slowed_since >= SLOWED_FOR
    if signs.slowdowns and (is_lasting or health.fault is not None):
        return f"its hardware slows it down ({', '.join(signs.slowdowns)})"
    return None
