"""Estimates when everything that waits would be done; pure, and in a few milliseconds for any number of tasks.

Tasks are laid out on the slots that can run them, each where it ends first, those with the fewest slots first. Slots
of one processor have one time together: what computes there at once takes turns. It is an
early estimate: loading of models, tries that go wrong, needs and start times come on top. `corral forecast` plays the
policy itself and takes its time for it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heapify, heapreplace

from corral.scheduling.durations import find_measured
from corral.scheduling.values import DurationKey, Gate, Place, Queue

MOST_STEPS = 1024
"""Tasks of one kind are laid out in so many portions at most: 3 ms, while the dispatcher shares the process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingWork:
    """Tasks of one kind that have not started."""

    queue: str
    engine: str
    model: str | None
    node: str | None = None
    """The only node where they can run."""
    count: int
    """Slots that they take, one after the other: a task on two GPUs counts twice."""


def estimate_end(
    waiting: Sequence[WaitingWork],
    places: Collection[Place],
    queues: Mapping[str, Queue],
    durations: Mapping[DurationKey, float],
    now: datetime,
) -> datetime | None:
    """Return when all of this and what runs would be done at the earliest.

    None where that is unknown: for one kind nothing was measured, or no open slot runs it, or there is no work at all.
    """
    busy_s: defaultdict[str, float] = defaultdict(float)
    for place in places:
        busy_s[place.processor or place.id] += _count_seconds_left(place, now)
    busy = any(place.running is not None for place in places)
    kinds = [(work, _find_seconds(work, places, queues, durations)) for work in waiting if work.count]
    for work, seconds in sorted(kinds, key=lambda kind: len(kind[1])):
        if not seconds:
            return None
        portion = max(1.0, work.count / MOST_STEPS)
        ends = [(busy_s[place] + portion * length, place) for place, length in seconds.items()]
        heapify(ends)
        for _ in range(min(work.count, MOST_STEPS)):
            end, place = ends[0]
            busy_s[place] = end
            heapreplace(ends, (end + portion * seconds[place], place))
    return now + timedelta(seconds=max(busy_s.values())) if kinds or busy else None


def _count_seconds_left(place: Place, now: datetime) -> float:
    if place.running is None or place.running.expected_end is None:
        return 0.0
    return max(0.0, (place.running.expected_end - now).total_seconds())


def _find_seconds(
    work: WaitingWork, places: Collection[Place], queues: Mapping[str, Queue], durations: Mapping[DurationKey, float]
) -> dict[str, float]:
    """Return the seconds of one task on each processor that takes this work; empty when one of them is unknown."""
    queue = queues.get(work.queue)
    if queue is not None and queue.paused:
        return {}
    pool = None if queue is None else queue.pool
    seconds: dict[str, float] = {}
    for place in places:
        in_reach = place.is_on(work.node) and (pool is None or place.is_among(pool, work.engine))
        if not in_reach or work.engine not in place.engines or place.gate_for(work.engine) is not Gate.OPEN:
            continue
        measured = find_measured(durations, DurationKey(work.engine, work.model, place.device_model))
        if measured is None:
            return {}
        seconds[place.processor or place.id] = measured
    return seconds
