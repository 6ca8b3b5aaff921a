"""Watches GPUs under load and judges them against their limits."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from corral.engine_kinds import LLAMA
from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.telemetry.loadtest.running import LoadTest, LoadTestFigures, LoadTestRequest, count_seconds, run_load_test
from corral.telemetry.nvml import FoundGpu
from corral.telemetry.sampling import Sample
from corral.units import UnitError, parse_duration
from corral.weights.values import Model
from corral.wire import narrow

_WEIGHTS_SHARE = 0.8
"""Of a GPU's memory: the rest is for the caches of the requests, and for what the driver and a desktop hold."""


class NoLoadError(CorralError):
    """Nothing on this machine can put its GPUs under load."""

    code: ClassVar[str] = "loadtest.no_load"
    kind: ClassVar[Kind] = Kind.MISSING


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


def write_built_in_load(data_dir: Path, models: Sequence[Model], gpus: Sequence[FoundGpu]) -> str:
    """Write the command of the built-in load: llama.cpp generates with the largest model that each of the GPUs holds.

    Raises: NoLoadError where no model is here that it can use.
    """
    sizes = [gpu.memory_total for gpu in gpus if gpu.memory_total is not None]
    room = min(sizes, default=None)
    usable = [
        model
        for model in models
        if LLAMA.name in model.engines and (room is None or model.size <= room * _WEIGHTS_SHARE)
    ]
    if not usable:
        raise NoLoadError(
            "there is no model here that the built-in load could generate with on each GPU",
            hint="`corral models list` shows what can be pulled; or give `--load COMMAND`, or `--watch` what runs",
        )
    model = max(usable, key=lambda model: (model.size, model.name))
    module = ("-P", "-m", "corral.engines.llama.load")
    return shlex.join([sys.executable, *module, "--model", str(model.path), "--data-dir", str(data_dir)])


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
