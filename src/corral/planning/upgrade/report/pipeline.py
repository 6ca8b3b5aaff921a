"""Part 6 of the report: what the machines make in an hour and in a night."""

from __future__ import annotations

from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import UNKNOWN, figure_text, number, origin_text
from corral.planning.upgrade.report.pieces import bullets, paragraph, table
from corral.planning.upgrade.throughput import Throughput
from corral.units import format_duration


def pipeline(upgrade: Upgrade) -> list[str]:
    """Write Part 6."""
    night = format_duration(upgrade.adapted.night.total_seconds())
    lines = ["## Part 6: Throughput of the pipeline", "", f"### 6.1 A night of {night}", ""]
    known = [one for one in upgrade.findings.throughput if one.per_night.after is not None]
    unknown = [one.workload for one in upgrade.findings.throughput if one.per_night.after is None]
    lines += _nights(known)
    if unknown:
        lines += paragraph(
            f"Unknown: {', '.join(unknown)}. The file gives no duration and nothing was measured; a `duration` in "
            "`workloads`, or some finished tasks, settle it."
        )
    return lines


def _nights(known: list[Throughput]) -> list[str]:
    if not known:
        return paragraph("No workload of the file has a duration, so nothing could be simulated.")
    rows = [
        (
            one.workload,
            figure_text(one.per_hour.before),
            figure_text(one.per_hour.after),
            figure_text(one.per_night.before),
            figure_text(one.per_night.after),
            UNKNOWN if one.factor is None else f"{number(one.factor)}x",
        )
        for one in known
    ]
    lines = paragraph("Each workload by itself, simulated with the policy that the queue runs on; loading included.")
    lines += table(
        ("Workload", "In an hour, before", "after", "In a night, before", "after", "Factor"),
        rows,
    )
    return lines + bullets(told for one in known for told in _notes(one))


def _notes(one: Throughput) -> list[str]:
    told = [f"{one.workload}: {origin_text(one.per_night.after)}"]
    alone = one.unadapted
    if alone is not None and one.per_night.after is not None and alone.value != one.per_night.after.value:
        told.append(
            f"{one.workload} with the new cards alone, and nothing sent to them: {figure_text(alone)} in a night; "
            "section 4.5 says what is missing"
        )
    return told
