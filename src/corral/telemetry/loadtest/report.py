"""Writes what a load test gave: for people as Markdown with charts; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from corral.charts import draw_lines
from corral.telemetry.loadtest.running import LoadTest
from corral.telemetry.loadtest.verdict import CardVerdict, Measured
from corral.telemetry.sampling import CardLimits, Sample
from corral.units import format_duration

_POINTS = 600
"""Points that a line keeps; half an hour of seconds is thinned to every third, its highest value kept."""


def charts_of(test: LoadTest) -> Mapping[str, str]:
    """Draw temperature, power, clocks and utilization over time as SVG, by name; what no driver gave is left out."""
    wanted: tuple[tuple[str, str, str, Callable[[Sample], float | None]], ...] = (
        ("temperature", "Temperature", "°C", lambda sample: sample.temperature_c),
        ("power", "Power", "W", lambda sample: sample.power_w),
        ("clocks", "SM clock", "MHz", lambda sample: sample.sm_mhz),
        ("utilization", "Utilization", "%", lambda sample: sample.utilization),
    )
    drawn: dict[str, str] = {}
    for name, title, unit, value in wanted:
        series = {_title(card.limits): thinned(_points(test, card.limits.gpu, value)) for card in test.cards}
        if any(series.values()):
            drawn[name] = draw_lines(f"{title} under load", unit, series)
    return drawn


def thinned(points: list[tuple[float, float]], most: int = _POINTS) -> list[tuple[float, float]]:
    """Keep at most so many points, of each stretch the highest: a peak that lasts a second stays in the chart."""
    if len(points) <= most:
        return points
    stretch = -(-len(points) // most)
    return [
        max(points[start : start + stretch], key=lambda point: point[1]) for start in range(0, len(points), stretch)
    ]


def load_test_markdown(test: LoadTest, charts: Mapping[str, str], *, level: int = 1) -> str:
    """Write the verdict, the figures and links to charts; `charts` maps their names to the files beside the report."""
    head = "#" * level
    parts = [
        f"{head} Load test: {test.outcome.value}",
        f"{format_duration(test.wanted_s)} wanted, from {test.started_at:%Y-%m-%d %H:%M:%S} UTC; {test.ended}. "
        f"Load: {f'`{test.load}`' if test.load else 'whatever ran'}.",
        "\n".join(f"- {remark.outcome.value}: {remark.what}" for remark in test.remarks),
        "\n\n".join("\n".join(_card(card, level + 1)) for card in test.cards),
        "\n\n".join(f"![{name}]({file})" for name, file in charts.items()),
        f"Every sample: `{test.recording.name}`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def rows_of(test: LoadTest) -> Iterator[tuple[str, ...]]:
    """List each card's figures as a table's cells: card, verdict, temperature, power, clock, load, slowed."""
    for card in test.cards:
        yield (
            _title(card.limits),
            card.outcome.value,
            _range(card.temperature_c, "°C"),
            _range(card.power_w, "W"),
            _range(card.sm_mhz, "MHz"),
            _range(card.utilization, "%"),
            _slowed(card),
        )


ROW_TITLES = ("card", "verdict", "temperature", "power", "SM clock", "load", "held back by")


def _card(card: CardVerdict, level: int) -> Iterator[str]:
    yield f"{'#' * level} {_title(card.limits)}: {card.outcome.value}"
    yield ""
    yield from (f"- {remark.outcome.value}: {remark.what}" for remark in card.remarks)
    if not card.remarks:
        yield "- pass: loaded to the end, inside of all limits"
    yield ""
    yield "| quantity | least | mean | most | limit |"
    yield "|---|---|---|---|---|"
    limits = card.limits
    yield _line("temperature", card.temperature_c, "°C", limits.slowdown_c)
    yield _line("memory temperature", card.memory_temperature_c, "°C", None)
    yield _line("power", card.power_w, "W", limits.power_limit_w)
    yield _line("SM clock", card.sm_mhz, "MHz", limits.sm_mhz)
    yield _line("utilization", card.utilization, "%", None)
    yield ""
    yield f"Held back by: {_slowed(card)}. {card.samples} samples over {format_duration(card.seconds)}."


def _line(name: str, measured: Measured | None, unit: str, limit: float | None) -> str:
    bound = "not given" if limit is None else f"{limit:.0f} {unit}"
    if measured is None:
        return f"| {name} | unknown | unknown | unknown | {bound} |"
    values = " | ".join(f"{value:.0f} {unit}" for value in (measured.least, measured.mean, measured.most))
    return f"| {name} | {values} | {bound} |"


def _title(limits: CardLimits) -> str:
    return f"GPU {limits.gpu} {(limits.name or 'of unknown model').removeprefix('NVIDIA GeForce ')}"


def _range(measured: Measured | None, unit: str) -> str:
    return "unknown" if measured is None else f"{measured.mean:.0f} (at most {measured.most:.0f}) {unit}"


def _slowed(card: CardVerdict) -> str:
    return ", ".join(f"{reason.value} {share:.0%}" for reason, share in card.slowed.items()) or "nothing"


def _points(test: LoadTest, gpu: int, value: Callable[[Sample], float | None]) -> list[tuple[float, float]]:
    mine = (sample for sample in test.samples if sample.gpu == gpu)
    return [(sample.at_s, float(one)) for sample in mine if (one := value(sample)) is not None]
