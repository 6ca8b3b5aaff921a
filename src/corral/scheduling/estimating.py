"""Estimates when everything that waits would be done; pure, and in a few milliseconds for any number of tasks.

Tasks are laid out on the slots that can run them, each where it ends first, those with the fewest slots first. Slots
of one processor have one time together: what computes there at once takes turns. A slot with several lanes does as many
tasks in the time that one was measured to take there. Closed hours of slots and queues are
left out. It is an early estimate: loading of models, tries that go wrong, needs, start times, and what does not fit
before hours end, come on top. `corral forecast` plays the policy itself and takes its time for it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from heapq import heapify, heapreplace
from math import inf
from typing import NamedTuple, Protocol

from corral.hours import Hours
from corral.scheduling.durations import find_measured
from corral.scheduling.values import DurationKey, Gate, Place, Queue

MOST_STEPS = 1024
"""Tasks of one kind are laid out in so many portions at most: 3 ms, while the dispatcher shares the process."""


_HORIZON = timedelta(days=60)
"""How far ahead openings are laid out; what would end later has no estimate."""
_ROUNDING = 1e-6
"""Portions are fractions; their sum can miss a whole number by this."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """When work would be done, and how much of it by an instant; None is unknown."""

    seen_at: datetime
    ends_at: datetime | None
    """At the earliest; with what runs."""
    done_by: int | None
    """Of the slots in `WaitingWork.count`; None also where no instant was given."""


class Estimator(Protocol):
    """Estimates work on the slots of a running server."""

    def __call__(self, waiting: Sequence[WaitingWork], /, *, by: datetime | None = None) -> Estimate:
        """Estimate when all of it would be done, and how much of it by an instant."""
        ...


def estimate(
    waiting: Sequence[WaitingWork],
    places: Collection[Place],
    queues: Mapping[str, Queue],
    durations: Mapping[DurationKey, float],
    now: datetime,
    *,
    by: datetime | None = None,
    within: Hours | None = None,
) -> Estimate:
    """Estimate when all of this and what runs would be done at the earliest.

    Nothing of it runs outside of the hours `within`. Unknown where for one kind nothing was measured, or no slot runs
    it, and the end where there is no work at all.
    """
    layout = _Layout(places, queues, durations, now, within)
    ends = layout.lay_out(waiting)
    if ends is None:
        return Estimate(seen_at=now, ends_at=None, done_by=None)
    last_s = max([layout.running_s, *(end_s for end_s, _ in ends)])
    is_known = last_s < inf and (ends or layout.is_busy)
    left_s = 0.0 if by is None else (by - now).total_seconds()
    done = int(sum(portion for end_s, portion in ends if end_s <= left_s) + _ROUNDING)
    return Estimate(
        seen_at=now,
        ends_at=now + timedelta(seconds=last_s) if is_known else None,
        done_by=None if by is None else done,
    )


class _Track(NamedTuple):
    """A processor, or a place with one of its own, and how long tasks take there."""

    seconds: float
    """Of one task."""
    lanes: int
    """How many of them go on at a time."""
    openings: _Openings


class _Layout:
    """Tasks laid out one after the other; times are seconds from now."""

    def __init__(
        self,
        places: Collection[Place],
        queues: Mapping[str, Queue],
        durations: Mapping[DurationKey, float],
        now: datetime,
        within: Hours | None,
    ) -> None:
        self._within = within
        self._places = places
        self._queues = queues
        self._durations = durations
        self._now = now
        self._busy_s: defaultdict[str, float] = defaultdict(float)
        self._openings: dict[tuple[Hours | None, Hours | None], _Openings] = {}
        ends: defaultdict[str, float] = defaultdict(float)
        for place in places:
            lanes = _list_seconds_left(place, now)
            self._busy_s[_name_track(place)] += sum(lanes) / max([1, *place.lanes.values()])
            ends[_name_track(place)] += max(lanes, default=0.0)
        self.is_busy = any(place.running for place in places)
        self.running_s = max(ends.values(), default=0.0)
        """When what runs has ended."""

    def lay_out(self, waiting: Sequence[WaitingWork]) -> list[tuple[float, float]] | None:
        """Return when portions of the work end, and how large each is; None where a kind of it is unknown."""
        ends: list[tuple[float, float]] = []
        kinds = [(work, self._find_tracks(work)) for work in waiting if work.count]
        for work, tracks in sorted(kinds, key=lambda kind: len(kind[1])):
            if not tracks:
                return None
            ends += self._lay_out_kind(work, tracks)
        return ends

    def _lay_out_kind(self, work: WaitingWork, tracks: Mapping[str, _Track]) -> Iterator[tuple[float, float]]:
        portion = max(1.0, work.count / MOST_STEPS)
        least_s = {name: track.openings.find_end(0.0, track.seconds) for name, track in tracks.items()}

        def find_end(name: str, after_s: float) -> float:
            return tracks[name].openings.find_end(after_s, portion * tracks[name].seconds / tracks[name].lanes)

        first = [(find_end(name, self._busy_s[name]), name) for name in tracks]
        heapify(first)
        for _ in range(min(work.count, MOST_STEPS)):
            end_s, name = first[0]
            self._busy_s[name] = end_s
            heapreplace(first, (find_end(name, end_s), name))
            yield max(end_s, least_s[name]), portion

    def _find_tracks(self, work: WaitingWork) -> dict[str, _Track]:
        """Return the tracks that take this work; empty when how long it takes on one of them is unknown."""
        queue = self._queues.get(work.queue)
        if queue is not None and queue.paused:
            return {}
        pool = None if queue is None else queue.pool
        tracks: dict[str, _Track] = {}
        for place in self._places:
            in_reach = place.is_on(work.node) and (pool is None or place.is_among(pool, work.engine))
            if not in_reach or work.engine not in place.engines or place.gate_for(work.engine) is not Gate.OPEN:
                continue
            measured = find_measured(self._durations, DurationKey(work.engine, work.model, place.device_model))
            if measured is None:
                return {}
            hours = place.hours, None if queue is None else queue.hours
            lanes = place.lanes_for(work.engine)
            tracks[_name_track(place)] = _Track(measured, lanes, self._find_openings(*hours))
        return tracks

    def _find_openings(self, place: Hours | None, queue: Hours | None) -> _Openings:
        if (place, queue) not in self._openings:
            self._openings[place, queue] = _Openings(
                [hours for hours in (place, queue, self._within) if hours], self._now
            )
        return self._openings[place, queue]


class _Openings:
    """When work can go on, in seconds from now."""

    def __init__(self, hours: Sequence[Hours], now: datetime) -> None:
        spans = [(0.0, inf)]
        for own in hours:
            spans = list(_intersect(spans, list(_list_spans(own, now))))
        self._spans = spans
        self._starts = [start for start, _ in spans]

    def find_end(self, after_s: float, seconds: float) -> float:
        """Return when so much work is done that begins at that time; infinite beyond the horizon."""
        left = seconds
        for start, end in self._spans[max(0, bisect_right(self._starts, after_s) - 1) :]:
            begin = max(start, after_s)
            if begin < end or (begin == end and not left):
                if left <= end - begin:
                    return begin + left
                left -= end - begin
        return inf


def _list_spans(hours: Hours, now: datetime) -> Iterator[tuple[float, float]]:
    at, until = now, now + _HORIZON
    while at < until and (opening := hours.find_opening(at)) is not None:
        begin_s = max(0.0, (opening.opens_at - now).total_seconds())
        if opening.closes_at is None:
            yield begin_s, inf
            return
        yield begin_s, (opening.closes_at - now).total_seconds()
        at = opening.closes_at


def _intersect(
    spans: Sequence[tuple[float, float]], others: Sequence[tuple[float, float]]
) -> Iterator[tuple[float, float]]:
    """The times that are in both; each is in order."""
    for start, end in spans:
        for other_start, other_end in others:
            if max(start, other_start) < min(end, other_end):
                yield max(start, other_start), min(end, other_end)


def _name_track(place: Place) -> str:
    return place.processor or place.id


def _list_seconds_left(place: Place, now: datetime) -> list[float]:
    """Of each lane whose end is known."""
    ends = [running.expected_end for running in place.running if running.expected_end is not None]
    return [max(0.0, (end - now).total_seconds()) for end in ends]
