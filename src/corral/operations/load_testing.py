"""Watches GPUs under load and judges them against their limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from corral.errors import Kind, Problem, ProblemsError
from corral.telemetry.loadtest.running import LoadTest, LoadTestFigures, LoadTestRequest, count_seconds, run_load_test
from corral.telemetry.sampling import Sample
from corral.units import UnitError, parse_duration
from corral.wire import narrow


class LoadTestAskedError(ProblemsError):
    """A load test cannot be run as it was asked for; `problems` has every reason."""

    code: ClassVar[str] = "loadtest.asked"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTestAsked:
    """GPUs to watch while they work; whatever runs is the load."""

    duration: str = "30m"
    """How long: `30m`, `90s`."""
    gpus: tuple[int, ...] | None = None
    """Indexes; null is all."""


def read_duration(text: str) -> float:
    """Read how long a test takes, in seconds. Raises: LoadTestAskedError."""
    try:
        asked_s = parse_duration(text).total_seconds()
    except UnitError as error:
        problem = Problem(code=error.code, what=error.what, where="--duration", hint=error.hint)
        raise LoadTestAskedError([problem]) from error
    if not asked_s:
        what, hint = "a load test of no length has nothing to watch", "give it minutes, as 30m"
        raise LoadTestAskedError([Problem(code=LoadTestAskedError.code, what=what, where="--duration", hint=hint)])
    return asked_s


def watch_gpus(
    asked: LoadTestAsked, data_dir: Path, *, stopped: Callable[[], bool], report: Callable[[Sample], None]
) -> LoadTest:
    """Watch GPUs until the time is over or `stopped` says so; blocks so long.

    Raises: LoadTestAskedError, NoGpusError, NoSuchGpuError.
    """
    wish = LoadTestRequest(seconds=read_duration(asked.duration), gpus=asked.gpus)
    return run_load_test(wish, data_dir, report=report, ticks=_stop_early(stopped, count_seconds(wish.seconds)))


def answer_load_test(test: LoadTest) -> LoadTestFigures:
    """Return a test as doors show it to programs; its samples are in the file that `recording` names."""
    return narrow(LoadTestFigures, test)


def _stop_early(stopped: Callable[[], bool], ticks: Iterator[float]) -> Iterator[float]:
    for tick in ticks:
        if stopped():
            raise KeyboardInterrupt  # what ends a test early, with its verdict
        yield tick
