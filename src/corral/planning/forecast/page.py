"""Forecasts as one page that stands alone: the figures with their sources, what is unknown, and the charts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from corral.charts import bars
from corral.figures import Figure
from corral.planning.forecast.drawing import draw_run
from corral.planning.forecast.values import Forecast

_STYLE = """
:root{color-scheme:light dark;--line:#8c959f66}
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid var(--line);padding:.3rem .6rem;text-align:left}
svg{width:100%;height:auto}figure{margin:1rem 0}td.number{text-align:right;white-space:nowrap}
"""
_MOST_BARS = 16


def figures_of(one: Forecast) -> Iterator[tuple[str, Figure]]:
    """Walk over every number of a forecast that is known, with its name."""
    yield from ((f"one {one.unit} on {model}", figure) for model, figure in one.seconds.items())
    alone = (
        ("in an hour", one.per_hour),
        ("in a night", one.per_night),
        ("in all nights", one.nights),
        ("models loaded", one.loads),
        ("models swapped", one.swaps),
        ("work lost", one.lost),
        ("energy of a night", one.energy),
        (f"energy of one {one.unit}", one.energy_each),
        (f"cost of one {one.unit}", one.cost_each),
    )
    yield from ((name, figure) for name, figure in alone if figure is not None)
    yield from ((f"{slot} busy", figure) for slot, figure in one.occupancy.items())
    for name, waits in one.waits.items():
        yield f"p50 wait of {name} tasks", waits.p50
        yield f"p99 wait of {name} tasks", waits.p99


def page(cluster: str, plain: Sequence[Forecast], changed: Sequence[Forecast], asked: str) -> str:
    """Write the page; `asked` says in words what is different in `changed`."""
    title = f"Forecast for {cluster}"
    parts = [f"<h1>{escape(title)}</h1>"]
    if chart := _per_night(plain, changed):
        parts.append(f"<figure>{chart}</figure>")
    for place, one in enumerate(plain):
        parts.append(_section(one, one.workload))
        if changed:
            parts.append(_section(changed[place], f"{one.workload}: {asked}"))
    head = f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
    return f"{head}<style>{_STYLE}</style></head><body>\n" + "\n".join(parts) + "\n</body></html>\n"


def _per_night(plain: Sequence[Forecast], changed: Sequence[Forecast]) -> str:
    known = [(place, one) for place, one in enumerate(plain) if one.per_night is not None][:_MOST_BARS]
    if not known:
        return ""
    groups: dict[str, dict[str, float | None]] = {}
    for place, one in known:
        groups[one.workload] = {"as it is": one.per_night.value if one.per_night else None}
        if changed:
            other = changed[place].per_night
            groups[one.workload]["as asked"] = other.value if other else None
    return bars("In a night", "tasks", groups)


def _section(one: Forecast, heading: str) -> str:
    rows = "".join(
        f'<tr><td>{escape(name)}</td><td class="number">{figure.value:,.6g} {escape(figure.unit)}</td>'
        f"<td>{escape(figure.origin)}: {escape(figure.source)}</td></tr>"
        for name, figure in figures_of(one)
    )
    where = f"On {', '.join(one.slots) or 'no slot'} through queue {one.queue}: {one.where}."
    notes = "".join(f"<li>{escape(each)}</li>" for each in (*one.unknown, *one.assumed))
    parts = [f"<h2>{escape(heading)}</h2>", f"<p>{escape(where)}</p>"]
    if rows:
        parts.append(f"<table><tr><th>figure</th><th>value</th><th>from</th></tr>{rows}</table>")
    if notes:
        parts.append(f"<p>Unknown or assumed:</p><ul>{notes}</ul>")
    if one.trace is not None and one.run is not None and one.outcome is not None:
        drawn = draw_run(one.trace, one.run, title=f"{heading}: the night", span_s=one.outcome.span_s)
        parts.append(f"<figure>{drawn}</figure>")
    return "\n".join(parts)
