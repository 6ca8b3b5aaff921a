"""Replays and batches of `corral forecast`: what they need from the server, and how they are shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from corral.cli import terminal
from corral.cli.figures import amount
from corral.units import format_duration

if TYPE_CHECKING:
    from corral.client.api import Api
    from corral.planning.forecast.batches import BatchForecast
    from corral.planning.forecast.replay import Play, Replay
    from corral.planning.forecast.waits import ClassWaits
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
    if as_json:
        terminal.put_json(_without_runs(found))
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
    if as_json:
        terminal.put_json(_without_run(found))
        return
    terminal.put_fields(
        [
            ("tasks", found.tasks),
            ("takes", "unknown" if found.makespan is None else format_duration(found.makespan.value)),
            ("loads", amount(found.loads)),
            ("swaps", amount(found.swaps)),
            *((f"{slot} busy", amount(part)) for slot, part in (found.occupancy or {}).items()),
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
        amount(play.occupancy),
        str(play.unfinished),
    )


def _waits(waits: Mapping[str, ClassWaits]) -> Iterator[tuple[str, str, str]]:
    for name, each in waits.items():
        yield name, format_duration(each.p50.value), format_duration(each.p99.value)


def _without_runs(found: Replay) -> Json:
    """All figures; the plays' tasks and spans are left out."""
    plays = {"real": found.real, "again": found.again, "against": found.against}
    told: dict[str, Json] = asdict(replace(found, **{name: _bare(play) for name, play in plays.items()}))
    return {**told, **{name: _without_run(play) for name, play in plays.items()}}


def _without_run(found: Played) -> dict[str, Json]:
    told: dict[str, Json] = asdict(_bare(found))
    del told["trace"], told["run"]
    return told


def _bare(found: Played) -> Played:
    return replace(found, trace=None, run=None)
