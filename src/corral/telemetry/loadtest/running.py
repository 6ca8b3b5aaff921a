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
from corral.telemetry.loadtest.recording import FOLDER, Recording, boot_id, unfinished
from corral.telemetry.loadtest.verdict import CardVerdict, Outcome, Remark, judge, worst
from corral.telemetry.nvml import GpuState
from corral.telemetry.sampling import CardLimits, Sample, open_sampler

EVERY_S = 1.0
FINISHED, INTERRUPTED, ALL_LOST, LOADS_ENDED = "finished", "interrupted", "all cards lost", "all load commands ended"


class Looks(Protocol):
    """What samples cards: `corral.telemetry.sampling.Sampler`, or a double."""

    @property
    def cards(self) -> tuple[int, ...]:
        """The indexes of the cards to watch."""
        ...

    def limits(self, gpu: int) -> CardLimits:
        """Ask a card for what does not change."""
        ...

    def look(self, gpu: int, at_s: float) -> Sample:
        """Take one sample of a card."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTestWish:
    """What to test."""

    seconds: float
    gpus: tuple[int, ...] | None = None
    """Indexes; None is all."""
    load: str | None = None
    """A shell command for each card, with its UUID in CUDA_VISIBLE_DEVICES; None watches whatever runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTestFigures:
    """What a test gave, without its samples."""

    started_at: datetime
    wanted_s: float
    ended: str
    """`finished`, or what ended it early."""
    load: str | None
    outcome: Outcome
    cards: tuple[CardVerdict, ...]
    remarks: tuple[Remark, ...]
    """About the test as a whole: load commands that ended, an earlier test without an end."""
    recording: Path
    """The file with every sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadTest(LoadTestFigures):
    """What a test gave."""

    samples: tuple[Sample, ...]


def run_load_test(
    wish: LoadTestWish, data_dir: Path, *, tell: Callable[[Sample], None], ticks: Iterator[float] | None = None
) -> LoadTest:
    """Test the cards of this machine; `tell` gets each sample as it comes. A Ctrl-C ends the test, not its verdict.

    Raises: NoGpusError, NoSuchGpuError.
    """
    ticks = seconds(wish.seconds) if ticks is None else ticks
    with open_sampler(wish.gpus) as sampler:
        return watch(sampler, wish, data_dir / FOLDER, ticks=ticks, now=datetime.now(UTC), tell=tell)


def watch(
    sampler: Looks,
    wish: LoadTestWish,
    folder: Path,
    *,
    ticks: Iterator[float],
    now: datetime,
    tell: Callable[[Sample], None],
) -> LoadTest:
    """Sample at each of `ticks` (seconds since the beginning) and judge."""
    cards = tuple(sampler.limits(gpu) for gpu in sampler.cards)
    earlier = unfinished(folder, boot=boot_id())
    stem = f"{now:%Y%m%dT%H%M%S.%f}Z"
    samples: list[Sample] = []
    loads: Loads | None = None
    with ExitStack() as stack:
        path = folder / f"{stem}.jsonl"
        recording = stack.enter_context(Recording(path, started_at=now, wanted_s=wish.seconds, cards=cards))
        try:
            if wish.load is not None:
                loads = stack.enter_context(Loads(wish.load, cards, folder, stem))
            ended = _follow(sampler, ticks, recording, samples, loads, tell)
        except KeyboardInterrupt:
            ended = INTERRUPTED
        stopped = loads.ended() if loads else ()
        recording.end(ended)
    verdicts = tuple(
        judge(card, [sample for sample in samples if sample.gpu == card.gpu], wanted_s=wish.seconds) for card in cards
    )
    remarks = tuple(_remarks(earlier, stopped, ended))
    return LoadTest(
        started_at=now,
        wanted_s=wish.seconds,
        ended=ended,
        load=wish.load,
        outcome=worst(verdicts),
        cards=verdicts,
        samples=tuple(samples),
        remarks=remarks,
        recording=path,
    )


def seconds(wanted_s: float) -> Iterator[float]:
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
    sampler: Looks,
    ticks: Iterator[float],
    recording: Recording,
    samples: list[Sample],
    loads: Loads | None,
    tell: Callable[[Sample], None],
) -> str:
    """Look until time is up or nothing is left to look at; return how it ended."""
    alive = list(sampler.cards)
    for at_s in ticks:
        for gpu in tuple(alive):
            sample = sampler.look(gpu, at_s)
            samples.append(sample)
            recording.add(sample)
            tell(sample)
            if sample.state is not GpuState.OK:
                alive.remove(gpu)
        if not alive:
            return ALL_LOST
        if loads is not None and len(loads.ended()) == len(sampler.cards):
            return LOADS_ENDED
    return FINISHED


def _remarks(earlier: str | None, stopped: Sequence[EndedLoad], ended: str) -> Iterator[Remark]:
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
