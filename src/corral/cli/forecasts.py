"""Forecasts, replays and batches of `corral forecast`: what they need from the server, and how they are printed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from corral.cli import terminal
from corral.cli.figures import format_figure
from corral.units import format_duration
from corral.wire import to_json

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
        format_figure(one.per_hour),
        format_figure(one.per_night),
        format_figure(one.nights),
        _busy(one),
        format_figure(one.loads),
        format_figure(one.energy),
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
        shown = _money(figure) if figure is one.cost_each else format_figure(figure)
        terminal.put_text(f"{name}: {shown} ({figure.origin}: {figure.source})", indent="  ")


def _notes(found: Forecasts) -> Iterator[str]:
    for one in (*found.plain, *found.changed):
        yield from (f"unknown: {one.workload}: {each}" for each in one.unknown)
        yield from (f"assumed: {each}" for each in one.assumed)


if TYPE_CHECKING:
    from corral.client.api import Api
    from corral.planning.forecast.batches import BatchForecast
    from corral.planning.forecast.replay import Play, Replay
    from corral.planning.forecast.values import ClassWaits
    from corral.work import Json

_PAGE = 500
Played = TypeVar("Played", "Play", "BatchForecast")


async def finished_since(api: Api, since: datetime) -> list[Json]:
    """Read the tasks that were submitted since then and have succeeded, the newest first."""
    found: list[Json] = []
    cursor: str | None = None
    while True:
        asked: list[tuple[str, str | int]] = [("state", "succeeded"), ("limit", _PAGE)]
        page = await api.get("/corral/v1/tasks", [*asked, *([("cursor", cursor)] if cursor else [])])
        recent = [task for task in page["items"] if datetime.fromisoformat(task["created_at"]) >= since]
        found += recent
        cursor = page.get("next")
        if not cursor or len(recent) < len(page["items"]):
            return found


def put_replay(found: Replay, *, as_json: bool) -> None:
    """Print the three plays side by side."""
    from corral.operations.forecasting import answer_replay

    if as_json:
        terminal.put_json(to_json(answer_replay(found)))
        return
    rows = [
        ("as it was", *_cells(found.real), ""),
        ("simulated on the same slots", *_cells(found.again), f"{_signed(found.error.value)} against reality"),
        ("simulated on the other file", *_cells(found.against), f"{_signed(-found.gain.value)} against the row above"),
    ]
    terminal.put_table(("play", "slots", "took", "median wait", "busy", "unfinished", "difference"), rows, empty="")
    plays = (found.real, found.again, found.against)
    by_class = [(row[0], *cells) for row, play in zip(rows, plays, strict=True) for cells in _waits(play.waits)]
    terminal.put("")
    terminal.put_table(("play", "class", "p50 wait", "p99 wait"), by_class, empty="no task ended")
    for one in found.assumed:
        terminal.put_text(f"assumed: {one}")


def put_batch(found: BatchForecast, *, as_json: bool) -> None:
    """Print how long a batch takes."""
    from corral.operations.forecasting import answer_batch

    if as_json:
        terminal.put_json(to_json(answer_batch(found)))
        return
    terminal.put_fields(
        [
            ("tasks", found.tasks),
            ("takes", "unknown" if found.makespan is None else format_duration(found.makespan.value)),
            ("loads", format_figure(found.loads)),
            ("swaps", format_figure(found.swaps)),
            *((f"{slot} busy", format_figure(part)) for slot, part in (found.occupancy or {}).items()),
            *((f"{name} waits", f"p50 {p50}, p99 {p99}") for name, p50, p99 in _waits(found.waits or {})),
        ]
    )
    for one in found.unknown:
        terminal.put_text(f"unknown: {one}")
    for one in found.assumed:
        terminal.put_text(f"assumed: {one}")


def _signed(percent: float) -> str:
    return f"{round(percent, 1) + 0.0:+.1f} %"  # adding 0.0 makes -0.0 what it means


def _cells(play: Play) -> tuple[str, ...]:
    return (
        str(play.slots),
        format_duration(play.makespan.value),
        format_duration(play.median_wait.value),
        format_figure(play.occupancy),
        str(play.unfinished),
    )


def _waits(waits: Mapping[str, ClassWaits]) -> Iterator[tuple[str, str, str]]:
    for name, each in waits.items():
        yield name, format_duration(each.p50.value), format_duration(each.p99.value)
