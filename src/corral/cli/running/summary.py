"""What a finished run says about itself, as lines for people; pure."""

from __future__ import annotations

from corral.cli.tables import aligned
from corral.client.summary import Summary
from corral.units import format_duration
from corral.work import Json

_LISTED_FAILURES = 20


def summary_lines(summary: Summary) -> list[str]:
    """Write the figures for people."""
    engines = [["engine", "succeeded", "p50", "p95"]]
    engines += [
        [one.engine, f"{one.succeeded} of {one.total}", _duration(one.p50_s), _duration(one.p95_s)]
        for one in summary.engines
    ]
    slots = [["slot", "tasks", "busy", "occupancy"]]
    slots += [[one.slot, str(one.tasks), format_duration(one.busy_s), f"{one.occupancy:.0%}"] for one in summary.slots]
    lines = [*aligned(engines), ""]
    if summary.slots:
        lines += [*aligned(slots), ""]
    rate = f", {summary.tasks_per_hour:,.0f} tasks per hour" if summary.tasks_per_hour else ""
    lines.append(f"{format_duration(summary.wall_s)} from the first start to the last end{rate}")
    return lines


def failure_lines(summary: Summary) -> list[str]:
    """Write every failure with its reason, and the command that shows more."""
    lines: list[str] = []
    for task in summary.failures[:_LISTED_FAILURES]:
        error: Json = task.error or {}
        reason = f"error[{error['code']}]: {error['what']}" if error else "cancelled"
        lines.append(f"{task.name} {task.state}: {reason}")
        if error.get("hint"):
            lines.append(f"  hint: {error['hint']}")
        lines.append(f"  more: corral tasks show {task.id}")
    more = len(summary.failures) - _LISTED_FAILURES
    if more > 0:
        lines.append(f"and {more} more: corral tasks list --state failed")
    return lines


def _duration(seconds: float | None) -> str:
    return "-" if seconds is None else format_duration(seconds)
