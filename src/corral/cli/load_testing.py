"""A load test while it runs (a bar on a terminal, a line now and then elsewhere), and its verdict."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from corral.cli import terminal
from corral.data_dir import models_dir
from corral.errors import CorralError, Kind, Problem
from corral.files import write_whole
from corral.operations.load_testing import LoadTestAskedError, answer_load_test, read_duration, write_built_in_load
from corral.telemetry.loadtest.report import ROW_TITLES, draw_charts, list_rows, render_load_test
from corral.telemetry.loadtest.running import LoadTest, LoadTestRequest, describe_progress, run_load_test
from corral.telemetry.nvml import GpuState, find_gpus
from corral.telemetry.sampling import Sample, open_sampler
from corral.units import format_duration
from corral.weights.store import Store
from corral.wire import to_json

_SAY_EVERY_S = 60.0


class ReportUnwritableError(CorralError):
    """A report cannot be written where it was asked for."""

    code: ClassVar[str] = "report.unwritable"
    kind: ClassVar[Kind] = Kind.INVALID


def check_request(duration: str, report: Path | None) -> float:
    """Read how long a test must take, and check that its report will find its folder: half an hour later is too late.

    Raises: LoadTestAskedError.
    """
    problems: list[Problem] = []
    seconds = 0.0
    try:
        require_folder(report)
    except ReportUnwritableError as error:
        problems += error.problems
    try:
        seconds = read_duration(duration)
    except LoadTestAskedError as error:
        problems += error.problems
    if problems:
        raise LoadTestAskedError(problems)
    return seconds


def require_folder(report: Path | None) -> None:
    """Check that a report can be written where it is asked for, as far as is seen. Raises: ReportUnwritableError."""
    if report is None or (report.parent.is_dir() and not report.is_dir()):
        return
    what = "the report would take the place of a folder" if report.is_dir() else f"there is no folder {report.parent}"
    raise ReportUnwritableError(what, where=f"--report {report}", hint="name a file in a folder that exists")


def choose_load(data_dir: Path, gpus: tuple[int, ...] | None) -> str:
    """Write the command of the built-in load for the GPUs that are tested.

    Raises: NoGpusError, NoSuchGpuError, NoLoadError.
    """
    with open_sampler(gpus):
        present = [gpu for gpu in find_gpus().gpus if gpus is None or gpu.index in gpus]
    return write_built_in_load(data_dir, Store(models_dir(data_dir)).list(), present)


def run_shown(wish: LoadTestRequest, data_dir: Path) -> LoadTest:
    """Run a test and show how it goes. Raises: NoGpusError, NoSuchGpuError."""
    with _show_progress(wish.seconds) as report:
        return run_load_test(wish, data_dir, report=report)


def put_load_test(test: LoadTest, *, as_json: bool) -> None:
    """Print a test's verdict as data."""
    if as_json:
        terminal.put_json(to_json(answer_load_test(test)))
        return
    terminal.put_text(f"load test: {test.outcome.value}; every sample is in {test.recording}")
    terminal.put("")
    terminal.put_table(
        ROW_TITLES, list_rows(test), empty="no GPU was watched", expendable=tuple(reversed(ROW_TITLES[2:-1]))
    )
    for remark in test.remarks:
        terminal.put(f"{remark.outcome.value}: {remark.what}")
    for card in test.cards:
        for remark in card.remarks:
            terminal.put(f"GPU {card.limits.gpu}: {remark.outcome.value}: {remark.what}")


def write_report(test: LoadTest, target: Path) -> tuple[Path, ...]:
    """Write Markdown to `target` and its charts next to it; return all files. Raises: ReportUnwritableError."""
    charts = draw_charts(test)
    names = {name: f"{target.stem}-{name}.svg" for name in charts}
    try:
        for name, file in names.items():
            write_whole(target.parent / file, charts[name])
        write_whole(target, render_load_test(test, names))
    except OSError as error:
        raise ReportUnwritableError(
            f"cannot write the report: {error.strerror or error}",
            where=str(target),
            hint="name a file in a folder that exists",
        ) from error
    return (target, *(target.parent / file for file in names.values()))


@contextmanager
def _show_progress(wanted_s: float) -> Generator[Callable[[Sample], None]]:
    if not sys.stderr.isatty():
        yield _Lines().show
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), TimeRemainingColumn(), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        row = bars.add_task("starting", total=wanted_s)
        latest: dict[int, str] = {}

        def show(sample: Sample) -> None:
            latest[sample.gpu] = describe_progress(sample)
            words = "; ".join(latest[gpu] for gpu in sorted(latest))
            bars.update(row, description=words, completed=sample.at_s)

        yield show


class _Lines:
    """Says how each GPU is at the start and once a minute, and at once when one is lost."""

    def __init__(self) -> None:
        self._said_s: dict[int, float] = {}

    def show(self, sample: Sample) -> None:
        """Take a sample."""
        last = self._said_s.get(sample.gpu)
        is_due = last is None or sample.at_s - last >= _SAY_EVERY_S
        if is_due or sample.state is not GpuState.OK:
            self._said_s[sample.gpu] = sample.at_s
            terminal.note(f"{format_duration(sample.at_s)}: {describe_progress(sample)}")
