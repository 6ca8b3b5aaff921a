"""Part 6 of the report: what the machines make in an hour and in a night."""

from __future__ import annotations

from corral.hardware.power import CardPower
from corral.planning.forecast import Forecast
from corral.planning.upgrade.comparing import Upgrade
from corral.planning.upgrade.differences import UNKNOWN, figure_text, number, origin_text
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
    known = [one for one in upgrade.findings.throughput if one.per_night.after is not None]
    lines += _nights(known)
    if known:
        lines += bullets(dict.fromkeys(told for one in upgrade.power for told in _limits(one)))
    unknown = [f"{one.workload}: unknown: {why}" for one in upgrade.findings.throughput for why in one.unknown]
    if unknown:
        lines += bullets(unknown)
        lines += paragraph("A `duration` in `workloads`, or some finished tasks, settle that.")
    return lines


def _limits(one: PowerComparison) -> list[str]:
    """Say what the power limits of the file cost in speed, which the durations do not know of."""
    cards = [card for card in one.after.cards if card.limit] if one.after else []
    return [
        f"Not in these figures: what a limit of {figure_text(card.limit)} costs on {card.model or 'the cards'} of "
        f"{one.node}. {_losses(card)}"
        for card in cards
    ]


def _losses(card: CardPower) -> str:
    if not card.speed_losses:
        return "Nobody has measured that for this model: unknown."
    return "; ".join(f"At most {figure_text(loss)} ({origin_text(loss)})" for loss in card.speed_losses) + "."


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
    lines += table(("Workload", "In an hour, before", "after", "In a night, before", "after", "Factor"), rows)
    lines += differences(one.energy_each for one in known if one.energy_each.after)
    lines += bullets(told for one in known for told in _notes(one))
    faster = [one for one in known if one.factor is not None and one.factor != 1]
    return lines + [line for one in faster for line in _timeline(one)]


def _timeline(one: Throughput) -> list[str]:
    """Write how the night begins, before beside after."""
    before, after = _starts(one.before), _starts(one.after)
    instants = sorted({*before, *after})[:_INSTANTS]
    if not instants:
        return []
    rows = [(_clock(at), before.get(at, "-"), after.get(at, "-")) for at in instants]
    lines = paragraph(f"How a night of {one.workload} begins, task by task:")
    return lines + table(("At", "Before", "After"), rows)


def _starts(one: Forecast | None) -> dict[float, str]:
    """Say what starts at each of the first instants."""
    starts: dict[float, list[str]] = {}
    for span in one.run.spans if one and one.run else ():
        if len(starts) == _INSTANTS and span.from_s not in starts:
            break
        starts.setdefault(span.from_s, []).append(f"{span.task} on {', '.join(span.slots)}")
    return {
        at: ", ".join(told) if len(told) <= _MOST_STARTS else f"{len(told)} tasks on as many GPUs"
        for at, told in starts.items()
    }


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _notes(one: Throughput) -> list[str]:
    told = [f"{one.workload}: {origin_text(one.per_night.after)}"]
    told += [f"{one.workload}: assumed: {assumed}" for assumed in (one.after.assumed if one.after else ())]
    alone = one.unadapted
    if alone is not None and one.per_night.after is not None and alone.value != one.per_night.after.value:
        told.append(
            f"{one.workload} with the new cards alone, and nothing sent to them: {figure_text(alone)} in a night; "
            "section 4.5 says what is missing"
        )
    return told
