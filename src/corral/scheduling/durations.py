"""How long tasks take, from what was measured.

The estimate is the median of the last `KEPT` measurements: one run that loaded a model first, or one that hung, does
not move it. Each measurement also counts for the model on any device and for the engine as a whole, so a task that
was never run on one device is expected to take what it took elsewhere. Memory is bounded in samples and in keys.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median

from corral.scheduling.values import DurationKey, Place, PolicyBounds, QueuedTask

ANY = "*"
"""Any model or any device model in a key; no model or device has this name."""

KEPT = 15
"""Measurements kept per key: enough for a steady median, few enough to follow a change of settings within a batch."""

MOST_KEYS = 4096
"""Keys kept; those measured longest ago are forgotten first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Measured durations, oldest key first, and those expected from them (`Snapshot.durations`)."""

    samples: Mapping[DurationKey, tuple[float, ...]] = field(default_factory=dict[DurationKey, tuple[float, ...]])
    expected: Mapping[DurationKey, float] = field(default_factory=dict[DurationKey, float])


def observe(history: History, key: DurationKey, seconds: float) -> History:
    """Add one measurement in seconds; negative ones (a clock that jumped) count as 0."""
    samples, expected = dict(history.samples), dict(history.expected)
    measured = max(0.0, seconds)
    for level in _levels(key):
        kept = (*samples.pop(level, ()), measured)[-KEPT:]
        samples[level] = kept
        expected[level] = median(kept)
    for oldest in list(samples)[: max(0, len(samples) - MOST_KEYS)]:
        del samples[oldest], expected[oldest]
    return History(samples=samples, expected=expected)


def expected_seconds(durations: Mapping[DurationKey, float], key: DurationKey, bounds: PolicyBounds) -> float:
    """Estimate seconds of a task: as measured for its model there, its model anywhere, its engine, or the default."""
    seconds = find_measured(durations, key)
    return bounds.unknown_duration_s if seconds is None else seconds


def find_measured(durations: Mapping[DurationKey, float], key: DurationKey) -> float | None:
    """Return seconds measured for the model there, for the model anywhere, or for its engine; None without any."""
    for level in _levels(key):
        seconds = durations.get(level)
        if seconds is not None:
            return seconds
    return None


def _levels(key: DurationKey) -> tuple[DurationKey, DurationKey, DurationKey]:
    """From the exact key to the whole engine."""
    return key, DurationKey(key.engine, key.model, ANY), DurationKey(key.engine, ANY, ANY)


class Expectations:
    """The expected seconds of tasks in one decision; each key is looked up once."""

    __slots__ = ("_bounds", "_durations", "_on", "_seconds")

    def __init__(self, durations: Mapping[DurationKey, float], bounds: PolicyBounds) -> None:
        self._durations = durations
        self._bounds = bounds
        self._on: dict[str, Callable[[QueuedTask], float]] = {}
        self._seconds: dict[tuple[str, str | None, str], float] = {}

    def of(self, task: QueuedTask, device_model: str) -> float:
        """Seconds that the task is expected to take on a device model; charged to its owner per place."""
        if task.lasts_s is not None:
            return task.lasts_s
        key = (task.engine, task.model, device_model)
        seconds = self._seconds.get(key)
        if seconds is None:
            seconds = self._seconds[key] = expected_seconds(self._durations, DurationKey(*key), self._bounds)
        return seconds

    def of_place(self, task: QueuedTask, place: Place) -> float:
        """Seconds that the task is expected to hold a place: `of`, after the start of its engine's server."""
        return self.of(task, place.device_model) + place.start_for(task.engine)

    def on(self, device_model: str) -> Callable[[QueuedTask], float]:
        """Return `of` for one device model, the same function each time: for looks at many tasks."""
        expect_seconds = self._on.get(device_model)
        if expect_seconds is None:
            expect_seconds = self._on[device_model] = lambda task: self.of(task, device_model)
        return expect_seconds

    def find(self, task: QueuedTask, device_model: str) -> float | None:
        """Seconds as `of` has them, where they were asked for or measured; None where they were not."""
        if task.lasts_s is not None:
            return task.lasts_s
        return find_measured(self._durations, DurationKey(task.engine, task.model, device_model))

    def measured(self, task: QueuedTask, device_model: str) -> float | None:
        """Seconds measured for exactly this engine, model and device model; None when there is no measurement."""
        return self._durations.get(DurationKey(task.engine, task.model, device_model))
