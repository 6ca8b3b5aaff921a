"""Checks of an installation, and the verdict that they make."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Mark(StrEnum):
    """The result of a check."""

    OK = "ok"
    BAD = "bad"
    UNKNOWN = "unknown"
    """It could not be found out."""


class Subject(StrEnum):
    """The kind of a check."""

    PODS = "pods"
    GPUS = "gpus"
    ENDPOINTS = "endpoints"
    CALLS = "calls"
    """A service reaches another one that it calls."""
    MODELS = "models"
    ENGINES = "engines"
    """An engine of the queue answers."""
    TARGETS = "targets"
    """Prometheus reads what dashboards show."""
    EXPORTS = "exports"
    """An NFS export answers, and can be written to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that has to be true of an installation."""

    subject: Subject
    name: str
    """`ollama on pop-os`, `backend -> ollama`"""
    mark: Mark
    what: str
    """The fact with the values seen, lower case, without a final period."""
    evidence: tuple[str, ...] = ()
    """Values that it is concluded from: `Pod ai/ollama-0 spec.nodeName: pop-os`."""
    fix: str | None = None
    """One imperative, or a command; None where nothing has to be done."""

    def __str__(self) -> str:
        return f"{self.mark} {self.name}: {self.what}"


def conclude(checks: Iterable[Check]) -> Mark:
    """Conclude one verdict: bad when any check is, else unknown when any is; without checks nothing is known."""
    marks = {check.mark for check in checks}
    if Mark.BAD in marks:
        return Mark.BAD
    return Mark.OK if marks == {Mark.OK} else Mark.UNKNOWN
