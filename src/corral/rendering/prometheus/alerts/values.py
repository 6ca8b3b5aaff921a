"""An alert, with its message to people when it fires."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How soon a person should look."""

    CRITICAL = "critical"
    """Now: work is lost, or nothing runs."""
    WARNING = "warning"
    """Today: it will break, or costs time."""
    INFO = "info"
    """When there is time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """One rule."""

    name: str
    expression: str
    lasting: str
    """How long it must hold: the rule's `for`."""
    severity: Severity
    summary: str
    """One line; `{{ $labels.node }}` and `{{ $value }}` are filled in by Prometheus."""
    description: str
    """The meaning, and the command that helps."""
    reason: str
    """Why it is watched, and where its bound comes from; for the documentation."""

    def to_rule(self) -> dict[str, Any]:
        """As Prometheus reads it."""
        return {
            "alert": self.name,
            "expr": self.expression,
            "for": self.lasting,
            "labels": {"severity": self.severity.value},
            "annotations": {"summary": self.summary, "description": self.description},
        }
