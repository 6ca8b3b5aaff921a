"""Forecasts, replays and batches of `corral forecast` as people read them: the answer, a table, what is unknown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from corral.cli import terminal
from corral.cli.figure_text import format_figure, shorten_names
from corral.cli.listing import format_clock
from corral.units import format_duration

if TYPE_CHECKING:
    from corral.figures import Figure
    from corral.operations.forecasting import Forecasts
    from corral.planning.forecast import Forecast
    from corral.planning.forecast.batches import BatchForecast
    from corral.planning.forecast.replay import Play, Replay
    from corral.planning.forecast.values import ClassWaits

_MOST_SLOTS = 3
_MOST_ROWS = 20
_MOST_ANSWERS = 3
_UNKNOWN = "unknown"
_COLUMNS = ("workload", "each", "per hour", "per night", "all nights", "busy", "loads", "energy", "cost each", "where")
_EXPENDABLE = ("loads", "cost each", "all nights", "energy", "busy")


def put_forecasts(forecasts: Forecasts, *, explain: bool) -> None:
    """Print what each workload makes, a row for it, and one below for what was asked to be different."""
    if not forecasts.plain:
        terminal.note("the cluster file has no `workloads`: add the tasks of a night, with how many and how long")
        return
    terminal.put_text(_answer(forecasts))
    terminal.put("")
    rows = list(_make_rows(forecasts))
    names = [name for index, name in enumerate(_COLUMNS) if any(row[index] for row in rows)]
    table = [[row[_COLUMNS.index(name)] for name in names] for row in rows]
    most = None if explain else _MOST_ROWS
    terminal.put_table(names, table, empty="", expendable=() if explain else _EXPENDABLE, most=most)
    for forecast in (*forecasts.plain, *forecasts.changed):
        if explain:
            _put_sources(forecast)
    for line in _list_notes((*forecasts.plain, *forecasts.changed)):
        terminal.put_text(line)


def _answer(forecasts: Forecasts) -> str:
    """Say in one line what comes of the night."""
    changed = forecasts.changed or (None,) * len(forecasts.plain)
    known = [
        _describe_night(plain, other)
        for plain, other in zip(forecasts.plain, changed, strict=True)
        if plain.per_night is not None
    ]
    unknown = [plain.workload for plain in forecasts.plain if plain.per_night is None]
    more = f"; and {len(known) - _MOST_ANSWERS} more workloads" if len(known) > _MOST_ANSWERS else ""
    parts = ["; ".join(known[:_MOST_ANSWERS]) + more] if known else []
    parts += [f"unknown for {shorten_names(unknown)}"] if unknown else []
    return "; ".join(parts)


def _describe_night(plain: Forecast, changed: Forecast | None) -> str:
    asked = ""
    if changed is not None and plain.per_night is not None and changed.per_night is not None:
        part = changed.per_night.value / plain.per_night.value - 1 if plain.per_night.value else 0.0
        asked = f", as asked {format_figure(changed.per_night)} ({round(100 * part) + 0:+d} %)"
    return f"{plain.workload}: {format_figure(plain.per_night)} a night, {format_figure(plain.per_hour)}{asked}"


def _make_rows(forecasts: Forecasts) -> Iterator[tuple[str, ...]]:
    for index, forecast in enumerate(forecasts.plain):
        yield _make_row(forecast, forecast.workload)
        if forecasts.changed:
            yield _make_row(forecasts.changed[index], "- as asked")


def _make_row(forecast: Forecast, name: str) -> tuple[str, ...]:
    slots = shorten_names(forecast.slots, _MOST_SLOTS)
    if forecast.per_night is None:
        return (name, _format_seconds(forecast), _UNKNOWN, _UNKNOWN, "", "", "", "", "", slots)
    return (
        name,
        _format_seconds(forecast),
        format_figure(forecast.per_hour),
        format_figure(forecast.per_night),
        format_figure(forecast.nights),
        _format_occupancy(forecast),
        format_figure(forecast.loads),
        format_figure(forecast.energy),
        _format_money(forecast.cost_each),
        slots,
    )


def _format_seconds(forecast: Forecast) -> str:
    known = sorted({figure.value for figure in forecast.seconds.values()})
    if not known:
        return _UNKNOWN
    return f"{known[0]:g} s" if len(known) == 1 else f"{known[0]:g} to {known[-1]:g} s"


def _format_occupancy(forecast: Forecast) -> str:
    parts = sorted({round(figure.value) for figure in forecast.occupancy.values()})
    return f"{parts[0]} %" if len(parts) == 1 else f"{parts[0]} to {parts[-1]} %"


def _format_money(figure: Figure | None) -> str:
    return "" if figure is None else f"{figure.value:.4g} {figure.unit}"


def _put_sources(forecast: Forecast) -> None:
    from corral.planning.forecast.page import list_figures

    slots = ", ".join(forecast.slots) or "no slot"
    terminal.put(f"\n{forecast.workload}: on {slots}, queue {forecast.queue}: {forecast.where}")
    for name, figure in list_figures(forecast):
        shown = _format_money(figure) if figure is forecast.cost_each else format_figure(figure)
        terminal.put_text(f"{name}: {shown} ({figure.origin}: {figure.source})", indent="  ")


def _list_notes(forecasts: Iterable[Forecast]) -> Iterator[str]:
    """List what is unknown, once for all workloads that lack it, and what is assumed."""
    unknown: dict[str, list[str]] = {}
    assumed: dict[str, None] = {}
    for forecast in forecasts:
        for lacking in forecast.unknown:
            unknown.setdefault(lacking, []).append(forecast.workload)
        assumed.update(dict.fromkeys(forecast.assumed))
    for lacking, workloads in unknown.items():
        yield f"unknown: {', '.join(dict.fromkeys(workloads))}: {lacking}"
    for assumption in assumed:
        yield f"assumed: {assumption}"


def put_replay(replay: Replay, *, as_json: bool) -> None:
    """Print whether the other file would have been faster, then the three plays."""
    from corral.operations.forecasting import answer_replay
    from corral.wire import to_json

    if as_json:
        terminal.put_json(to_json(answer_replay(replay)))
        return
    rows = [
        ("as it was", *_make_cells(replay.real), ""),
        ("simulated on the same slots", *_make_cells(replay.again), f"{_sign(replay.error.value)} against reality"),
        (
            "simulated on the other file",
            *_make_cells(replay.against),
            f"{_sign(-replay.gain.value)} against the row above",
        ),
    ]
    took, would_take = (format_duration(play.makespan.value) for play in (replay.again, replay.against))
    terminal.put_text(f"on the other file: {would_take} instead of {took} ({_sign(-replay.gain.value)})")
    terminal.put("")
    columns = ("play", "slots", "took", "median wait", "busy", "unfinished", "difference")
    terminal.put_table(columns, rows, empty="", expendable=("unfinished", "busy"))
    plays = (replay.real, replay.again, replay.against)
    by_class = [(row[0], *cells) for row, play in zip(rows, plays, strict=True) for cells in _list_waits(play.waits)]
    terminal.put("")
    terminal.put_table(("play", "class", "p50 wait", "p99 wait"), by_class, empty="no task ended")
    for assumption in replay.assumed:
        terminal.put_text(f"assumed: {assumption}")


def put_batch(forecast: BatchForecast, *, as_json: bool) -> None:
    """Print how long a batch takes."""
    from corral.operations.forecasting import answer_batch
    from corral.wire import to_json

    if as_json:
        terminal.put_json(to_json(answer_batch(forecast)))
        return
    tasks = terminal.format_count(forecast.tasks, "task")
    takes = "an unknown time" if forecast.makespan is None else format_duration(forecast.makespan.value)
    terminal.put(f"{tasks}: {takes}")
    if forecast.by is not None and forecast.done_by is not None:
        done = f"{forecast.done_by.value:g} of {tasks}"
        terminal.put(f"by {format_clock(forecast.by.isoformat())}: {done} done")
    terminal.put_fields(
        [
            ("loads", format_figure(forecast.loads)),
            ("swaps", format_figure(forecast.swaps)),
            *((f"{slot} busy", format_figure(part)) for slot, part in (forecast.occupancy or {}).items()),
            *((f"{name} waits", f"p50 {p50}, p99 {p99}") for name, p50, p99 in _list_waits(forecast.waits or {})),
        ]
    )
    for lacking in forecast.unknown:
        terminal.put_text(f"unknown: {lacking}")
    for assumption in forecast.assumed:
        terminal.put_text(f"assumed: {assumption}")


def _sign(percent: float) -> str:
    return f"{round(percent, 1) + 0.0:+.1f} %"  # adding 0.0 makes -0.0 what it means


def _make_cells(play: Play) -> tuple[str, ...]:
    return (
        str(play.slots),
        format_duration(play.makespan.value),
        format_duration(play.median_wait.value),
        format_figure(play.occupancy),
        str(play.unfinished),
    )


def _list_waits(waits: Mapping[str, ClassWaits]) -> Iterator[tuple[str, str, str]]:
    for name, figures in waits.items():
        yield name, format_duration(figures.p50.value), format_duration(figures.p99.value)
