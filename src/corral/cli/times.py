"""Instants as people read them: how long ago, or how long until."""

from __future__ import annotations

from datetime import UTC, datetime

from corral.units import format_duration
from corral.work import Json


def ago(text: Json, *, now: datetime | None = None) -> str:
    """Say how far an instant of the HTTP API is from now; empty where there is none."""
    if not isinstance(text, str):
        return ""
    seconds = ((now or datetime.now(UTC)) - datetime.fromisoformat(text)).total_seconds()
    return f"{format_duration(seconds)} ago" if seconds >= 0 else f"in {format_duration(-seconds)}"


def between(start: Json, end: Json) -> str:
    """Say how long it took from one instant to another; empty where one is missing."""
    if not isinstance(start, str) or not isinstance(end, str):
        return ""
    return format_duration(max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()))
