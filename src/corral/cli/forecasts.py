"""Forecasts for people and for programs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from corral.cli import terminal
from corral.cli.figures import amount

if TYPE_CHECKING:
    from corral.figures import Figure
    from corral.operations.forecasting import Forecasts
    from corral.planning.forecast import Forecast
    from corral.work import Json

_MOST_SLOTS = 3
_UNKNOWN = "unknown"
_COLUMNS = ("workload", "each", "per hour", "per night", "all nights", "busy", "loads", "energy", "cost each", "where")


def put_forecasts(found: Forecasts, *, explain: bool) -> None:
    """Print a row for each workload, and one below it for what was asked to be different."""
    rows = list(_rows(found))
    shown = [place for place, name in enumerate(_COLUMNS) if name == "workload" or any(row[place] for row in rows)]
    terminal.put_table(
        [_COLUMNS[place] for place in shown],
        [[row[place] for place in shown] for row in rows],
        empty="the cluster file has no workloads",
    )
    for one in (*found.plain, *found.changed):
        if explain:
            _put_sources(one)
    for line in dict.fromkeys(_notes(found)):
        terminal.put_text(line)


def forecasts_json(found: Forecasts) -> Json:
    """Every figure with its unit and origin; what is unknown is null."""
    return {
        "cluster": found.cluster,
        "workloads": [_json(one) for one in found.plain],
        "asked": [_json(one) for one in found.changed],
    }


def _json(one: Forecast) -> Json:
    told: dict[str, Json] = asdict(replace(one, trace=None, run=None, outcome=None))
    for large in ("trace", "run", "outcome"):
        del told[large]
    return told


def _rows(found: Forecasts) -> Iterator[tuple[str, ...]]:
    for place, one in enumerate(found.plain):
        yield _row(one, one.workload)
        if found.changed:
            yield _row(found.changed[place], "- as asked")


def _row(one: Forecast, name: str) -> tuple[str, ...]:
    slots = list(one.slots)
    more = f" and {len(slots) - _MOST_SLOTS} more" if len(slots) > _MOST_SLOTS else ""
    if one.per_night is None:
        return (name, _each(one), _UNKNOWN, _UNKNOWN, "", "", "", "", "", ", ".join(slots[:_MOST_SLOTS]) + more)
    return (
        name,
        _each(one),
        amount(one.per_hour),
        amount(one.per_night),
        amount(one.nights),
        _busy(one),
        amount(one.loads),
        amount(one.energy),
        _money(one.cost_each),
        ", ".join(slots[:_MOST_SLOTS]) + more,
    )


def _each(one: Forecast) -> str:
    known = sorted({figure.value for figure in one.seconds.values()})
    if not known:
        return _UNKNOWN
    return f"{known[0]:g} s" if len(known) == 1 else f"{known[0]:g} to {known[-1]:g} s"


def _busy(one: Forecast) -> str:
    parts = sorted({round(figure.value) for figure in one.occupancy.values()})
    return f"{parts[0]} %" if len(parts) == 1 else f"{parts[0]} to {parts[-1]} %"


def _money(figure: Figure | None) -> str:
    return "" if figure is None else f"{figure.value:.4g} {figure.unit}"


def _put_sources(one: Forecast) -> None:
    from corral.planning.forecast.page import figures_of

    terminal.put(f"\n{one.workload}: on {', '.join(one.slots) or 'no slot'}, queue {one.queue}: {one.where}")
    for name, figure in figures_of(one):
        shown = _money(figure) if figure is one.cost_each else amount(figure)
        terminal.put_text(f"{name}: {shown} ({figure.origin}: {figure.source})", indent="  ")


def _notes(found: Forecasts) -> Iterator[str]:
    for one in (*found.plain, *found.changed):
        yield from (f"unknown: {one.workload}: {each}" for each in one.unknown)
        yield from (f"assumed: {each}" for each in one.assumed)
