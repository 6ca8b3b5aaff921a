"""Reports everything that is wrong with a trace before it is run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import isfinite
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.scheduling.simulator.values import Arrival, Trace

_MOST_SHOWN = 20


class TraceError(CorralError):
    """A trace that cannot be run; every reason is in `what`."""

    code: ClassVar[str] = "simulator.trace_invalid"
    kind: ClassVar[Kind] = Kind.INVALID


def check(trace: Trace) -> None:
    """Refuse a trace that cannot be run. Raises: TraceError with all reasons."""
    problems = [*_check_arrivals(trace), *_check_times(trace), *_check_places(trace)]
    if problems:
        more = f"; and {len(problems) - _MOST_SHOWN} more" if len(problems) > _MOST_SHOWN else ""
        raise TraceError("; ".join(problems[:_MOST_SHOWN]) + more, hint="correct the trace")


def _check_arrivals(trace: Trace) -> Iterator[str]:
    for before, after in pairwise(trace.arrivals):
        if after.at_s < before.at_s:
            yield f"task {after.id} arrives at {after.at_s:g} s, before task {before.id} ahead of it"
    for number in _find_repeated(arrival.id for arrival in trace.arrivals):
        yield f"task {number} arrives more than once"
    known = {arrival.id for arrival in trace.arrivals}
    for arrival in trace.arrivals:
        yield from (
            f"task {arrival.id} needs task {need}, which never arrives" for need in arrival.needs if need not in known
        )
        if arrival.max_attempts < 1:
            yield f"task {arrival.id} has {arrival.max_attempts} attempts"


def _check_times(trace: Trace) -> Iterator[str]:
    for arrival in trace.arrivals:
        if not _is_span(arrival.at_s):
            yield f"task {arrival.id} arrives at {arrival.at_s} s"
        for seconds in arrival.fails_after_s:
            if not _is_span(seconds):
                yield f"task {arrival.id} fails after {seconds} s"
    for arrival in _select_distinct(trace.arrivals):
        yield from (
            f"task {arrival.id} takes {seconds} s on {device_model}"
            for device_model, seconds in arrival.seconds.items()
            if not _is_span(seconds)
        )
        for device_model in sorted({place.device_model for place in trace.places if arrival.engine in place.engines}):
            if arrival.on(device_model) is None:
                yield f"it is not said how long task {arrival.id} takes on {device_model}"
    for load in trace.loads:
        if not _is_span(load.seconds):
            yield f"{load.model or load.engine} loads in {load.seconds} s"


def _check_places(trace: Trace) -> Iterator[str]:
    known = {place.id for place in trace.places}
    for place in _find_repeated(place.id for place in trace.places):
        yield f"slot {place} is there more than once"
    for place in trace.places:
        if place.running:
            yield f"slot {place.id} is busy at the start"
    for outage in trace.outages:
        if outage.place not in known:
            yield f"there is no slot {outage.place} to go away"
        if not 0 <= outage.from_s < outage.until_s:
            yield f"slot {outage.place} is away from {outage.from_s:g} s to {outage.until_s:g} s"
    for place, factor in trace.slowdown.items():
        if place not in known:
            yield f"there is no slot {place} to be slow"
        if not (isfinite(factor) and factor > 0):
            yield f"tasks on {place} take {factor} times as long"


def _is_span(seconds: float) -> bool:
    return isfinite(seconds) and seconds >= 0


def _select_distinct(arrivals: Iterable[Arrival]) -> Iterable[Arrival]:
    """The first of those that share their engine and their table of seconds; tasks of a batch share one table."""
    distinct: dict[tuple[str, int], Arrival] = {}
    for arrival in arrivals:
        distinct.setdefault((arrival.engine, id(arrival.seconds)), arrival)
    return distinct.values()


def _find_repeated(names: Iterable[object]) -> list[object]:
    return [name for name, count in Counter(names).items() if count > 1]
