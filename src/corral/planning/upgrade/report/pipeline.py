"""Part 6 of the report: what the machines make in an hour and in a night."""

from __future__ import annotations

from corral.hardware.power import CardPower
from corral.planning.forecast import Forecast
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import UNKNOWN, figure_text, format_number, origin_text
from corral.planning.upgrade.power import PowerComparison
from corral.planning.upgrade.report.pieces import bullets, differences, paragraph, table
from corral.planning.upgrade.throughput import Throughput
from corral.units import format_duration

_INSTANTS = 4
_MOST_STARTS = 4


def pipeline(upgrade: Upgrade) -> list[str]:
    """Write Part 6."""
    night = format_duration(upgrade.adapted.night.total_seconds())
    lines = ["## Part 6: Throughput of the pipeline", "", f"### 6.1 A night of {night}", ""]
    known = [workload for workload in upgrade.findings.throughput if workload.per_night.after is not None]
    lines += _nights(known)
    if known:
        lines += bullets(dict.fromkeys(note for machine in upgrade.power for note in _limits(machine)))
    unknown = [
        f"{workload.workload}: unknown: {why}" for workload in upgrade.findings.throughput for why in workload.unknown
    ]
    if unknown:
        lines += bullets(unknown)
        lines += paragraph("A `duration` in `workloads`, or some finished tasks, settle that.")
    return lines


def _limits(machine: PowerComparison) -> list[str]:
    """Say what the power limits of the file cost in speed, which the durations do not know of."""
    gpus = [gpu for gpu in machine.after.cards if gpu.limit] if machine.after else []
    return [
        f"Not in these figures: what a limit of {figure_text(gpu.limit)} costs on {gpu.model or 'the GPUs'} of "
        f"{machine.node}. {_losses(gpu)}"
        for gpu in gpus
    ]


def _losses(gpu: CardPower) -> str:
    if not gpu.speed_losses:
        return "Not measured for this model: unknown."
    return "; ".join(f"At most {figure_text(loss)} ({origin_text(loss)})" for loss in gpu.speed_losses) + "."


def _nights(known: list[Throughput]) -> list[str]:
    if not known:
        return paragraph("No workload of the file has a duration, so nothing could be simulated.")
    rows = [
        (
            forecast.workload,
            figure_text(forecast.per_hour.before),
            figure_text(forecast.per_hour.after),
            figure_text(forecast.per_night.before),
            figure_text(forecast.per_night.after),
            UNKNOWN if forecast.factor is None else f"{format_number(forecast.factor)}x",
        )
        for forecast in known
    ]
    lines = paragraph("Each workload by itself, simulated with the policy that the queue runs on; loading included.")
    lines += table(("Workload", "In an hour, before", "after", "In a night, before", "after", "Factor"), rows)
    lines += differences(forecast.energy_each for forecast in known if forecast.energy_each.after)
    lines += bullets(note for forecast in known for note in _notes(forecast))
    faster = [forecast for forecast in known if forecast.factor is not None and forecast.factor != 1]
    return lines + [line for workload in faster for line in _timeline(workload)]


def _timeline(workload: Throughput) -> list[str]:
    """Write how the night begins, before and after."""
    before, after = _starts(workload.before), _starts(workload.after)
    instants = sorted({*before, *after})[:_INSTANTS]
    if not instants:
        return []
    rows = [(_clock(at), before.get(at, "-"), after.get(at, "-")) for at in instants]
    lines = paragraph(f"How a night of {workload.workload} begins, task by task:")
    return lines + table(("At", "Before", "After"), rows)


def _starts(forecast: Forecast | None) -> dict[float, str]:
    """Say what starts at each of the first instants."""
    starts: dict[float, list[str]] = {}
    for span in forecast.run.spans if forecast and forecast.run else ():
        if len(starts) == _INSTANTS and span.from_s not in starts:
            break
        starts.setdefault(span.from_s, []).append(f"{span.task} on {', '.join(span.slots)}")
    return {
        at: ", ".join(start) if len(start) <= _MOST_STARTS else f"{len(start)} tasks on as many GPUs"
        for at, start in starts.items()
    }


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _notes(workload: Throughput) -> list[str]:
    notes = [f"{workload.workload}: {origin_text(workload.per_night.after)}"]
    notes += [
        f"{workload.workload}: assumed: {assumed}" for assumed in (workload.after.assumed if workload.after else ())
    ]
    alone = workload.unadapted
    if alone is not None and workload.per_night.after is not None and alone.value != workload.per_night.after.value:
        notes.append(
            f"{workload.workload} with the new GPUs alone, and nothing sent to them: {figure_text(alone)} in a night; "
            "section 4.5 says what is missing"
        )
    return notes
