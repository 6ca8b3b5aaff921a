"""The values of a cluster file that say where outputs go and how long finished things are kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFolder:
    """A folder below which outputs can be written by themselves."""

    path: str
    mounted: bool = False
    """Whether it is a mount point, below which nothing is written while nothing is mounted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long finished things are kept; None is for ever."""

    tasks: timedelta | None = timedelta(days=30)
    artifacts: timedelta | None = timedelta(days=30)
