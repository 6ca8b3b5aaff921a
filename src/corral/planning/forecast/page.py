"""Forecasts as one page that stands alone: the figures with their sources, what is unknown, and charts of nights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from html import escape

from corral.charts import GanttBar, GanttRow, Mark, draw_bars, draw_gantt
from corral.figures import Figure
from corral.planning.forecast.values import Forecast
from corral.scheduling.simulator.values import Run, Span, Trace
from corral.work import SlotId

_STYLE = """
:root{color-scheme:light dark;--line:#8c959f66}
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid var(--line);padding:.3rem .6rem;text-align:left}
svg{width:100%;height:auto}figure{margin:1rem 0}td.number{text-align:right;white-space:nowrap}
"""
_MOST_BARS = 16


def list_figures(forecast: Forecast) -> Iterator[tuple[str, Figure]]:
    """Walk over every number of a forecast that is known, with its name."""
    yield from ((f"one {forecast.unit} on {model}", figure) for model, figure in forecast.seconds.items())
    alone = (
        ("in an hour", forecast.per_hour),
        ("in a night", forecast.per_night),
        ("in all nights", forecast.nights),
        ("models loaded", forecast.loads),
        ("models swapped", forecast.swaps),
        ("work lost", forecast.lost),
        ("energy of a night", forecast.energy),
        (f"energy of one {forecast.unit}", forecast.energy_each),
        (f"cost of one {forecast.unit}", forecast.cost_each),
    )
    yield from ((name, figure) for name, figure in alone if figure is not None)
    yield from ((f"{slot} busy", figure) for slot, figure in forecast.occupancy.items())
    for name, waits in forecast.waits.items():
        yield f"p50 wait of {name} tasks", waits.p50
        yield f"p99 wait of {name} tasks", waits.p99


def make_page(cluster: str, plain: Sequence[Forecast], changed: Sequence[Forecast], asked: str) -> str:
    """Write the page; `asked` says in words what is different in `changed`."""
    title = f"Forecast for {cluster}"
    parts = [f"<h1>{escape(title)}</h1>"]
    if chart := _draw_per_night(plain, changed):
        parts.append(f"<figure>{chart}</figure>")
    for index, forecast in enumerate(plain):
        parts.append(_write_section(forecast, forecast.workload))
        if changed:
            parts.append(_write_section(changed[index], f"{forecast.workload}: {asked}"))
    head = f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    return f"{head}<style>{_STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"


def _draw_per_night(plain: Sequence[Forecast], changed: Sequence[Forecast]) -> str:
    known = [(index, possible) for index, possible in enumerate(plain) if possible.per_night is not None][:_MOST_BARS]
    if not known:
        return ""
    groups: dict[str, dict[str, float | None]] = {}
    for place, forecast in known:
        groups[forecast.workload] = {"as it is": forecast.per_night.value if forecast.per_night else None}
        if changed:
            other = changed[place].per_night
            groups[forecast.workload]["as asked"] = other.value if other else None
    return draw_bars("In a night", "tasks", groups)


def _write_section(forecast: Forecast, heading: str) -> str:
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{figure.value:,.6g} {escape(figure.unit)}</td>'
        f"<td>{escape(figure.origin)}: {escape(figure.source)}</td></tr>"
        for name, figure in list_figures(forecast)
    )
    where = f"On {', '.join(forecast.slots) or 'no slot'} through queue {forecast.queue}: {forecast.where}."
    notes = "".join(f"<li>{escape(note)}</li>" for note in (*forecast.unknown, *forecast.assumed))
    parts = [f"<h2>{escape(heading)}</h2>", f"<p>{escape(where)}</p>"]
    if rows:
        parts.append(f"<table><tr><th>figure</th><th>value</th><th>from</th></tr>{rows}</table>")
    if notes:
        parts.append(f"<p>Unknown or assumed:</p><ul>{notes}</ul>")
    if forecast.trace is not None and forecast.run is not None and forecast.outcome is not None:
        drawn = draw_run(forecast.trace, forecast.run, title=f"{heading}: the night", span_s=forecast.outcome.span_s)
        parts.append(f"<figure>{drawn}</figure>")
    return "\n".join(parts)


def draw_run(trace: Trace, run: Run, *, title: str, span_s: float) -> str:
    """Draw what each slot did in the first `span_s` seconds, tasks of one model in one colour."""
    return draw_gantt(make_rows(trace, run, span_s), title=title, span_s=span_s)


def make_rows(trace: Trace, run: Run, span_s: float) -> tuple[GanttRow, ...]:
    """Make a row for each slot, in the order of the trace."""
    models = {arrival.id: arrival.model or arrival.engine for arrival in trace.arrivals}
    groups = {name: index for index, name in enumerate(sorted(set(models.values())))}
    bars: defaultdict[SlotId, list[GanttBar]] = defaultdict(list)
    for span in run.spans:
        name = models[span.task]
        for slot in span.places:
            bars[slot] += _draw_bars(span, f"task {span.task}, {name}", groups[name])
    for outage in trace.outages:
        away = GanttBar(from_s=outage.from_s, until_s=min(outage.until_s, span_s), mark=Mark.AWAY)
        if away.from_s < away.until_s:
            bars[outage.place].append(away)
    return tuple(
        GanttRow(name=slot.id, bars=tuple(sorted(bars[slot.id], key=lambda bar: bar.from_s))) for slot in trace.places
    )


def _draw_bars(span: Span, label: str, group: int) -> Iterator[GanttBar]:
    loaded_s = span.from_s + span.load_s
    if span.load_s:
        yield GanttBar(from_s=span.from_s, until_s=loaded_s, mark=Mark.LOAD, label=f"{label}: loading")
    mark = Mark.LOST if span.lost else Mark.WORK
    yield GanttBar(from_s=loaded_s, until_s=span.until_s, mark=mark, label=label, group=group)
