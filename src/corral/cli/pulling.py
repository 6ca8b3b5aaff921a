"""Models, pulled into the store or on servers elsewhere: with a bar on a terminal, a line at each step elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from corral.cli import terminal
from corral.operations.models import ListedModel, PullAsked, pull_model
from corral.units import format_bytes
from corral.weights.values import Progress, Stage

if TYPE_CHECKING:
    from corral.weights.store import Store


async def pull(store: Store, name: str) -> ListedModel:
    """Pull a model and show how it goes. Raises: what `Store.pull` raises."""
    with _show_progress() as show:
        return await pull_model(store, PullAsked(model=name), show)


@contextmanager
def show_steps(model: str) -> Generator[Callable[[str, int | None, int | None], None]]:
    """Show the steps of a pull elsewhere: words, and bytes done and in all."""
    if not sys.stderr.isatty():
        last = ""

        def note(words: str, done: int | None, total: int | None) -> None:
            nonlocal last
            if words != last:
                terminal.note(f"{model}: {words}" + (f" ({format_bytes(total)})" if total else ""))
            last = words

        yield note
        return
    with _open_bar() as update:
        yield lambda words, done, total: update(f"{model}: {words}", done or 0, total)


@contextmanager
def _show_progress() -> Generator[Callable[[Progress], None]]:
    if not sys.stderr.isatty():
        yield _Lines().show
        return
    with _open_bar() as update:
        yield lambda progress: update(f"{progress.stage.value} {progress.model}", progress.done, progress.total)


@contextmanager
def _open_bar() -> Generator[Callable[[str, int, int | None], None]]:
    """Show one bar on the terminal: what is done, bytes of it, bytes in all."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        row = bars.add_task("starting", total=None)

        yield lambda words, done, total: bars.update(row, description=words, completed=done, total=total)


class _Lines:
    """Says each step once."""

    def __init__(self) -> None:
        self._last: tuple[Stage, str] | None = None

    def show(self, progress: Progress) -> None:
        step = (progress.stage, progress.source)
        if step == self._last:
            return
        self._last = step
        size = f" ({format_bytes(progress.total)})" if progress.total else ""
        place = f" from {progress.source}" if progress.source and progress.stage is Stage.DOWNLOADING else ""
        terminal.note(f"{progress.stage.value} {progress.model}{place}{size}")
