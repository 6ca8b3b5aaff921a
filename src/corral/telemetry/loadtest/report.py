"""Writes what a load test gave: for people as Markdown with charts; pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from corral.charts import draw_lines
from corral.telemetry.loadtest.running import LoadTest
from corral.telemetry.loadtest.verdict import GpuVerdict, Measured
from corral.telemetry.sampling import GpuLimits, Sample
from corral.units import format_duration

_POINTS = 600
"""Points that a line keeps; half an hour of seconds is thinned to every third, its highest value kept."""


def draw_charts(test: LoadTest) -> Mapping[str, str]:
    """Draw temperature, power, clocks and utilization over time as SVG, by name; what no driver gave is left out."""
    wanted: tuple[tuple[str, str, str, Callable[[Sample], float | None]], ...] = (
        ("temperature", "Temperature", "°C", lambda sample: sample.temperature_c),
        ("power", "Power", "W", lambda sample: sample.power_w),
        ("clocks", "SM clock", "MHz", lambda sample: sample.sm_mhz),
        ("utilization", "Utilization", "%", lambda sample: sample.utilization),
    )
    drawn: dict[str, str] = {}
    for name, title, unit, value in wanted:
        series = {_title(verdict.limits): thin(_list_points(test, verdict.limits.gpu, value)) for verdict in test.cards}
        if any(series.values()):
            drawn[name] = draw_lines(f"{title} under load", unit, series)
    return drawn


def thin(points: list[tuple[float, float]], most: int = _POINTS) -> list[tuple[float, float]]:
    """Keep at most so many points, of each stretch the highest: a peak that lasts a second stays in the chart."""
    if len(points) <= most:
        return points
    stretch = -(-len(points) // most)
    return [
        max(points[start : start + stretch], key=lambda point: point[1]) for start in range(0, len(points), stretch)
    ]


def render_load_test(test: LoadTest, charts: Mapping[str, str], *, level: int = 1) -> str:
    """Write the verdict, the figures and links to charts; `charts` maps their names to the files next to the report."""
    head = "#" * level
    parts = [
        f"{head} Load test: {test.outcome.value}",
        f"{format_duration(test.wanted_s)} wanted, from {test.started_at:%Y-%m-%d %H:%M:%S} UTC; {test.ended}. "
        f"Load: {f'`{test.load}`' if test.load else 'whatever ran'}.",
        "\n".join(f"- {remark.outcome.value}: {remark.what}" for remark in test.remarks),
        "\n\n".join("\n".join(_render_gpu(verdict, level + 1)) for verdict in test.cards),
        "\n\n".join(f"![{name}]({file})" for name, file in charts.items()),
        f"Every sample: `{test.recording.name}`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def list_rows(test: LoadTest) -> Iterator[tuple[str, ...]]:
    """List each GPU's figures as a table's cells: GPU, verdict, temperature, power, clock, load, slowed."""
    for verdict in test.cards:
        yield (
            _title(verdict.limits),
            verdict.outcome.value,
            _format_range(verdict.temperature_c, "°C"),
            _format_range(verdict.power_w, "W"),
            _format_range(verdict.sm_mhz, "MHz"),
            _format_range(verdict.utilization, "%"),
            _format_slowed(verdict),
        )


ROW_TITLES = ("GPU", "verdict", "temperature", "power", "SM clock", "load", "held back by")


def _render_gpu(verdict: GpuVerdict, level: int) -> Iterator[str]:
    yield f"{'#' * level} {_title(verdict.limits)}: {verdict.outcome.value}"
    yield ""
    yield from (f"- {remark.outcome.value}: {remark.what}" for remark in verdict.remarks)
    if not verdict.remarks:
        yield "- pass: loaded to the end, inside of all limits"
    yield ""
    yield "| quantity | least | mean | most | limit |"
    yield "|---|---|---|---|---|"
    limits = verdict.limits
    yield _render_row("temperature", verdict.temperature_c, "°C", limits.slowdown_c)
    yield _render_row("memory temperature", verdict.memory_temperature_c, "°C", None)
    yield _render_row("power", verdict.power_w, "W", limits.power_limit_w)
    yield _render_row("SM clock", verdict.sm_mhz, "MHz", limits.sm_mhz)
    yield _render_row("utilization", verdict.utilization, "%", None)
    yield ""
    yield f"Held back by: {_format_slowed(verdict)}. {verdict.samples} samples over {format_duration(verdict.seconds)}."


def _render_row(name: str, measured: Measured | None, unit: str, limit: float | None) -> str:
    bound = "not given" if limit is None else f"{limit:.0f} {unit}"
    if measured is None:
        return f"| {name} | unknown | unknown | unknown | {bound} |"
    values = " | ".join(f"{value:.0f} {unit}" for value in (measured.least, measured.mean, measured.most))
    return f"| {name} | {values} | {bound} |"


def _title(limits: GpuLimits) -> str:
    return f"GPU {limits.gpu} {(limits.name or 'of unknown model').removeprefix('NVIDIA GeForce ')}"


def _format_range(measured: Measured | None, unit: str) -> str:
    return "unknown" if measured is None else f"{measured.mean:.0f} (at most {measured.most:.0f}) {unit}"


def _format_slowed(verdict: GpuVerdict) -> str:
    return ", ".join(f"{reason.value} {share:.0%}" for reason, share in verdict.slowed.items()) or "nothing"


def _list_points(test: LoadTest, gpu: int, value: Callable[[Sample], float | None]) -> list[tuple[float, float]]:
    samples = (sample for sample in test.samples if sample.gpu == gpu)
    return [(sample.at_s, float(number)) for sample in samples if (number := value(sample)) is not None]
