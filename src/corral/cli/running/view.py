"""A run as people see it: bars on a terminal, a plain line now and then everywhere else, and a summary at its end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

from corral.cli import terminal
from corral.cli.tables import align
from corral.client.progress import BatchProgress, SlotView, TaskView
from corral.client.tally import Summary, estimate_remaining_s, format_counts
from corral.printable import make_printable, make_printable_line
from corral.units import format_duration
from corral.work import Json

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

_REDRAW_S = 0.1
_SAY_EVERY_S = 15.0


class View(Protocol):
    """Shows a batch's progress until it is cancelled."""

    async def show(self, batch_progress: BatchProgress) -> None:
        """Show the progress again and again; ends by being cancelled and then leaves the terminal clean."""
        ...

    def show_end(self, task: TaskView) -> None:
        """Mark that a task ended."""
        ...


def choose_view() -> View:
    """Return bars for a terminal, plain lines for anything else."""
    return BarsView() if sys.stderr.isatty() else PlainView()


class PlainView:
    """Lines in a log: one for each task that ends, and now and then one that says how far the whole is."""

    def __init__(self, say: Callable[[str], None] = terminal.note) -> None:
        self._say = say

    async def show(self, batch_progress: BatchProgress) -> None:
        """Say the overall state now and then."""
        while True:
            await asyncio.sleep(_SAY_EVERY_S)
            self._say(format_overall(batch_progress))

    def show_end(self, task: TaskView) -> None:
        """Say that a task ended, and how."""
        self._say(format_end(task))


class BarsView:
    """One bar for each slot and one for the whole, redrawn ten times a second."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True)

    async def show(self, batch_progress: BatchProgress) -> None:
        """Draw until cancelled; the bars then vanish, and what was said above them stays."""
        from rich.live import Live

        slots = self._make_bars("{task.fields[slot]}", "{task.fields[engine]}")
        whole = self._make_bars("all")
        rows: dict[str, TaskID] = {}
        all_row = whole.add_task("", total=1)
        from rich.console import Group

        with Live(Group(slots, whole), console=self._console, refresh_per_second=10, transient=True):
            while True:
                _draw_slots(slots, rows, batch_progress)
                done = sum(task.ended for task in batch_progress.tasks.values())
                whole.update(
                    all_row,
                    completed=done,
                    total=max(1, len(batch_progress.tasks)),
                    description=format_overall(batch_progress),
                )
                await asyncio.sleep(_REDRAW_S)

    def show_end(self, task: TaskView) -> None:
        """Print failures above the bars; what went well is in the bars' count."""
        if task.state != "succeeded":
            self._console.print(make_printable(format_end(task)), markup=False, highlight=False)

    def _make_bars(self, *heading: str) -> Progress:
        from rich.progress import BarColumn, Progress, TextColumn

        columns = [TextColumn(text, markup=False) for text in heading]
        return Progress(*columns, BarColumn(bar_width=24), TextColumn("{task.description}", markup=False), expand=False)


def format_overall(batch_progress: BatchProgress) -> str:
    """Say in one line how far the whole is."""
    left = estimate_remaining_s(
        batch_progress.all,
        batch_progress.task_progress,
        slots=batch_progress.count_usable_slots(),
        now=datetime.now(UTC),
    )
    done = sum(task.ended for task in batch_progress.tasks.values())
    parts = [f"{done}/{len(batch_progress.tasks)}", format_counts(batch_progress.all)]
    if left is not None and not batch_progress.done:
        parts.append(f"about {format_duration(max(1.0, left))} left")
    if batch_progress.note:
        parts.append(batch_progress.note)
    return "  ".join(part for part in parts if part)


def format_end(task: TaskView) -> str:
    """Say in one line how a task ended."""
    took = f" in {format_duration(task.ran_s)}" if task.ran_s is not None else ""
    error: Json = task.error or {}
    why = f": {error['what']}" if error else ""
    why += f" ({error['where']})" if error.get("where") else ""
    return f"{task.name} ({task.engine}) {task.state}{took}{why}"


def describe_slot(slot: SlotView, batch_progress: BatchProgress) -> tuple[str, float | None, str]:
    """Return the text next to a slot's bar: the engine, the share done (None when unknown), and a few words."""
    if slot.task is None:
        return "", 0.0, "idle" if slot.gate == "open" else slot.gate
    task = batch_progress.tasks.get(slot.task)
    progress = batch_progress.task_progress.get(slot.task)
    name = task.name if task is not None else f"task {slot.task} of {slot.owner or 'another batch'}"
    note = f"  {progress.note}" if progress is not None and progress.note else ""
    return slot.engine or "", progress.fraction if progress is not None else None, f"{name}{note}"


def _draw_slots(bars: Progress, rows: dict[str, TaskID], batch_progress: BatchProgress) -> None:
    for id in rows.keys() - batch_progress.slots.keys():  # another engine has the slot, with fewer lanes
        bars.remove_task(rows.pop(id))
    for id, slot in sorted(batch_progress.slots.items()):
        engine, fraction, words = describe_slot(slot, batch_progress)
        if id not in rows:
            rows[id] = bars.add_task("", total=1, slot=id, engine="")
        total = None if fraction is None else 1
        bars.update(
            rows[id],
            completed=fraction or 0.0,
            total=total,
            description=make_printable_line(words),
            engine=f"{engine:8}",
        )


_LISTED_FAILURES = 20


def format_summary(summary: Summary) -> list[str]:
    """Write the figures for people."""
    engines = [["engine", "succeeded", "p50", "p95"]]
    engines += [
        [
            engine.engine,
            f"{engine.succeeded} of {engine.total}",
            _format_duration(engine.p50_s),
            _format_duration(engine.p95_s),
        ]
        for engine in summary.engines
    ]
    slots = [["slot", "tasks", "busy", "occupancy"]]
    slots += [
        [slot.slot, str(slot.tasks), format_duration(slot.busy_s), f"{slot.occupancy:.0%}"] for slot in summary.slots
    ]
    lines = [*align(engines), ""]
    if summary.slots:
        lines += [*align(slots), ""]
    rate = f", {summary.tasks_per_hour:,.0f} tasks per hour" if summary.tasks_per_hour else ""
    lines.append(f"{format_duration(summary.wall_s)} from the first start to the last end{rate}")
    return lines


def format_failures(summary: Summary) -> list[str]:
    """Write every failure with its reason, and the command that shows more."""
    lines: list[str] = []
    for task in summary.failures[:_LISTED_FAILURES]:
        error: Json = task.error or {}
        reason = f"error[{error['code']}]: {error['what']}" if error else "cancelled"
        lines.append(f"{task.name} {task.state}: {reason}")
        if error.get("where"):
            lines.append(f"  at: {error['where']}")
        if error.get("hint"):
            lines.append(f"  hint: {error['hint']}")
        lines.append(f"  more: corral tasks show {task.id}")
    more = len(summary.failures) - _LISTED_FAILURES
    if more > 0:
        lines.append(f"and {more} more: corral tasks list --state failed")
    return lines


def _format_duration(seconds: float | None) -> str:
    return "-" if seconds is None else format_duration(seconds)
