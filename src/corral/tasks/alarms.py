"""Alarms: what is wrong with this server now, for as long as it is.

An alarm is raised by the part that met the trouble and cleared by the same part when it works again; health, `doctor`
and metrics show those that are raised. Names are few and fixed, since they are labels of a metric.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from corral.errors import Problem

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """Something that does not work now."""

    name: str
    what: str
    hint: str | None
    since: datetime


class Alarms:
    """The alarms of one server; used by one event loop."""

    def __init__(self, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._now = now
        self._raised: dict[str, Alarm] = {}

    @property
    def raised(self) -> tuple[Alarm, ...]:
        """What does not work now, the oldest first."""
        return tuple(self._raised.values())

    def ring(self, name: str, what: str, *, hint: str | None = None) -> None:
        """Raise an alarm; one that is raised already keeps its beginning, and takes the newer words."""
        before = self._raised.get(name)
        if before is None:
            log.error("alarm_raised", alarm=name, what=what, hint=hint)
        since = self._now() if before is None else before.since
        self._raised[name] = Alarm(name=name, what=what, hint=hint, since=since)

    def show(self, name: str, problem: Problem | None) -> None:
        """Raise an alarm for a problem, and end it when there is none."""
        if problem is None:
            self.clear(name)
        else:
            self.ring(name, problem.what, hint=problem.hint)

    def clear(self, name: str) -> None:
        """End an alarm; nothing happens when it is not raised."""
        if self._raised.pop(name, None) is not None:
            log.info("alarm_cleared", alarm=name)
