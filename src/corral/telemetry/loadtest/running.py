"""Runs a load test: looks once a second, writes down, and judges at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from corral.telemetry.loadtest.loads import EndedLoad, Loads
from corral.telemetry.loadtest.recording import FOLDER, Recording, describe_unfinished, read_boot_id
from corral.telemetry.loadtest.verdict import GpuVerdict, Outcome, Remark, find_worst, judge
from corral.telemetry.nvml import GpuState
from corral.telemetry.sampling import GpuLimits, Sample, open_sampler

EVERY_S = 1.0
FINISHED, INTERRUPTED, ALL_LOST, LOADS_ENDED = "finished", "interrupted", "all GPUs lost", "all load commands ended"


class GpuSampler(Protocol):
    """A sampler of GPUs: `corral.telemetry.sampling.Sampler`, or a double."""

    @property
    def gpus(self) -> tuple[int, ...]:
        """The indexes of the GPUs to watch."""
        ...

    def read_limits(self, gpu: int) -> GpuLimits:
        """Ask a GPU for what does not change."""
        ...

    def look(self, gpu: int, at_s: float) -> Sample:
        """Take one sample of a GPU."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTestRequest:
    """What to test."""

    seconds: float
    gpus: tuple[int, ...] | None = None
    """Indexes; None is all."""
    load: str | None = None
    """A shell command for each GPU, with its UUID in CUDA_VISIBLE_DEVICES; None watches whatever runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTestFigures:
    """The results of a test, without its samples."""

    started_at: datetime
    wanted_s: float
    ended: str
    """`finished`, or what ended it early."""
    load: str | None
    outcome: Outcome
    cards: tuple[GpuVerdict, ...]
    remarks: tuple[Remark, ...]
    """About the test as a whole: load commands that ended, an earlier test without an end."""
    recording: Path
    """The file with every sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTest(LoadTestFigures):
    """The results of a test."""

    samples: tuple[Sample, ...]


def run_load_test(
    request: LoadTestRequest, data_dir: Path, *, report: Callable[[Sample], None], ticks: Iterator[float] | None = None
) -> LoadTest:
    """Test the GPUs of this machine; `report` gets each sample as it comes. A Ctrl-C ends the test, not its verdict.

    Raises: NoGpusError, NoSuchGpuError.
    """
    ticks = count_seconds(request.seconds) if ticks is None else ticks
    with open_sampler(request.gpus) as sampler:
        return watch(sampler, request, data_dir / FOLDER, ticks=ticks, now=datetime.now(UTC), report=report)


def watch(
    sampler: GpuSampler,
    request: LoadTestRequest,
    folder: Path,
    *,
    ticks: Iterator[float],
    now: datetime,
    report: Callable[[Sample], None],
) -> LoadTest:
    """Sample at each of `ticks` (seconds since the beginning) and judge."""
    limits = tuple(sampler.read_limits(gpu) for gpu in sampler.gpus)
    earlier = describe_unfinished(folder, boot=read_boot_id())
    stem = f"{now:%Y%m%dT%H%M%S.%f}Z"
    samples: list[Sample] = []
    loads: Loads | None = None
    with ExitStack() as stack:
        path = folder / f"{stem}.jsonl"
        recording = stack.enter_context(Recording(path, started_at=now, wanted_s=request.seconds, gpus=limits))
        try:
            if request.load is not None:
                loads = stack.enter_context(Loads(request.load, limits, folder, stem))
            ended = _follow(sampler, ticks, recording, samples, loads, report)
        except KeyboardInterrupt:
            ended = INTERRUPTED
        stopped = loads.list_ended() if loads else ()
        recording.end(ended)
    verdicts = tuple(
        judge(gpu_limits, [sample for sample in samples if sample.gpu == gpu_limits.gpu], wanted_s=request.seconds)
        for gpu_limits in limits
    )
    remarks = tuple(_make_remarks(earlier, stopped, ended))
    return LoadTest(
        started_at=now,
        wanted_s=request.seconds,
        ended=ended,
        load=request.load,
        outcome=find_worst(verdicts),
        cards=verdicts,
        samples=tuple(samples),
        remarks=remarks,
        recording=path,
    )


def count_seconds(wanted_s: float) -> Iterator[float]:
    """Yield the time since the beginning, once a second, up to `wanted_s`; a look that came late is not made up for."""
    begun = time.monotonic()
    at = 0.0
    while True:
        yield at
        if at >= wanted_s:
            return
        planned = min(wanted_s, (int(at / EVERY_S) + 1) * EVERY_S)
        time.sleep(max(0.0, begun + planned - time.monotonic()))
        at = time.monotonic() - begun


def _follow(
    sampler: GpuSampler,
    ticks: Iterator[float],
    recording: Recording,
    samples: list[Sample],
    loads: Loads | None,
    report: Callable[[Sample], None],
) -> str:
    """Look until time is up or nothing is left to look at; return how it ended."""
    alive = list(sampler.gpus)
    for at_s in ticks:
        for gpu in tuple(alive):
            sample = sampler.look(gpu, at_s)
            samples.append(sample)
            recording.add(sample)
            report(sample)
            if sample.state is not GpuState.OK:
                alive.remove(gpu)
        if not alive:
            return ALL_LOST
        if loads is not None and len(loads.list_ended()) == len(sampler.gpus):
            return LOADS_ENDED
    return FINISHED


def _make_remarks(earlier: str | None, stopped: Sequence[EndedLoad], ended: str) -> Iterator[Remark]:
    if earlier:
        yield Remark(outcome=Outcome.WARN, what=earlier)
    for load in stopped:
        words = f": {load.last_words}" if load.last_words else ""
        what = f"the load command of GPU {load.gpu} ended by itself with exit code {load.exit_code}{words}"
        yield Remark(outcome=Outcome.INCONCLUSIVE, what=what)
    if ended != FINISHED:
        yield Remark(outcome=Outcome.INCONCLUSIVE, what=f"the test ended early: {ended}")


def describe_progress(sample: Sample) -> str:
    """Write a sample in a few words, for a progress line: `GPU 0 71 °C 298 W 99 %`."""
    if sample.state is not GpuState.OK:
        return f"GPU {sample.gpu} {sample.state.value}: {sample.problem}"
    facts = [
        f"GPU {sample.gpu}",
        "" if sample.temperature_c is None else f"{sample.temperature_c} °C",
        "" if sample.power_w is None else f"{sample.power_w:.0f} W",
        "" if sample.utilization is None else f"{sample.utilization} %",
    ]
    return " ".join(fact for fact in facts if fact)
