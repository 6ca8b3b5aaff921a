"""What a check found, with its remedy: the one shape in which `corral doctor` speaks, whoever looked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How a finding is to be taken."""

    OK = "ok"
    WARNING = "warning"
    """Works, and will hurt."""
    ERROR = "error"
    """Does not work."""
    UNKNOWN = "unknown"
    """Could not be looked at; that says neither well nor ill."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    name: str
    """What was looked at, in a word or two: `driver`, `GPU 0`, `disk`."""
    state: State
    what: str
    """The fact with the value seen, lower case, without a final period."""
    fix: str | None = None
    """One imperative or a command; None when there is nothing to mend."""
