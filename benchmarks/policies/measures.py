"""What came of a run, in the figures that the tables show. All times are in seconds unless a name says otherwise.

A wait is the time from arrival to start; loading counts as work, not as waiting. The *lag* of an owner is how far the
service received falls behind an equal share: while the owner has a task waiting, it grows by places / owners (an owner
counts while one of their tasks waits or runs) less the places that the owner holds, and never falls below zero; when
nothing of the owner waits, it is zero. A policy that serves owners evenly keeps it near the length of one task.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from math import ceil, inf

from corral.scheduling.simulator.values import Arrival, Run, Trace
from corral.scheduling.values import Owner, TaskClass

INTERACTIVE, BATCH, GANG = "interactive", "batch", "gang"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """One run in figures."""

    makespan_s: float
    loads: int
    """Runs that had to load a model first, the first load of each model included."""
    waits: Mapping[str, tuple[float, ...]]
    """Ascending, by kind of task (`interactive`, `batch`, `gang`) or by owner; what the trace lacks is absent."""
    responses: Mapping[str, tuple[float, ...]]
    """Ascending, by kind: seconds from arrival to the end, which sharing a processor makes longer."""
    lag_s: Mapping[Owner, float]
    """The largest lag of each owner, in slot-seconds."""
    finished: int
    unfinished: int

    def wait(self, kind: str, part: float) -> float:
        """The wait that `part` (0 to 1) of the kind's tasks do not exceed; the nearest rank."""
        return quantile(self.waits[kind], part)

    def response(self, kind: str, part: float) -> float:
        """The same of the time until the end."""
        return quantile(self.responses[kind], part)

    @property
    def longest_wait_s(self) -> float:
        return max((waits[-1] for waits in self.waits.values()), default=0.0)

    @property
    def largest_lag_s(self) -> float:
        return max(self.lag_s.values(), default=0.0)


CRITERIA: Mapping[str, Callable[[Measures], float]] = {
    "makespan": lambda measures: measures.makespan_s,
    "interactive wait p99": lambda measures: measures.wait(INTERACTIVE, 0.99),
    "interactive response p99": lambda measures: measures.response(INTERACTIVE, 0.99),
    "small wait p99": lambda measures: measures.wait("small", 0.99),
    "gang wait p99": lambda measures: measures.wait(GANG, 0.99),
    "longest wait": lambda measures: measures.longest_wait_s,
    "lag": lambda measures: measures.largest_lag_s,
    "loads": lambda measures: measures.loads,
}
"""Figures that say who is best on a workload; the lower the better."""


def kind_of(arrival: Arrival) -> str:
    """The column that a task's wait counts for: its class, or `gang`."""
    if arrival.gpus > 1:
        return GANG
    return INTERACTIVE if arrival.task_class is TaskClass.INTERACTIVE else BATCH


def owner_of(arrival: Arrival) -> str:
    """Columns by owner instead."""
    return arrival.owner


def measure(trace: Trace, run: Run, kind: Callable[[Arrival], str] = kind_of) -> Measures:
    """Turn a run into figures; attempts that were lost count as neither start nor end of a task."""
    arrivals = {arrival.id: arrival for arrival in trace.arrivals}
    spans = [span for span in run.spans if not span.lost]
    waits: defaultdict[str, list[float]] = defaultdict(list)
    responses: defaultdict[str, list[float]] = defaultdict(list)
    for span in spans:
        arrival = arrivals[span.task]
        waits[kind(arrival)].append(span.from_s - arrival.at_s)
        responses[kind(arrival)].append(span.until_s - arrival.at_s)
    return Measures(
        makespan_s=max((span.until_s for span in spans), default=0.0),
        loads=sum(span.load_s > 0 for span in spans),
        waits={kind: tuple(sorted(seconds)) for kind, seconds in sorted(waits.items())},
        responses={kind: tuple(sorted(seconds)) for kind, seconds in sorted(responses.items())},
        lag_s=_lags(trace, run),
        finished=len(spans),
        unfinished=len(run.unfinished),
    )


def quantile(ordered: tuple[float, ...], part: float) -> float:
    """The nearest rank of ascending values."""
    return ordered[max(0, ceil(part * len(ordered)) - 1)]


_Change = tuple[float, Owner, int, int]
"""At a time, an owner's waiting tasks and places held change by so many."""


def _lags(trace: Trace, run: Run) -> dict[Owner, float]:
    """The largest lag of each owner, over the whole run."""
    places = len(trace.places)
    waiting: Counter[Owner] = Counter()
    held: Counter[Owner] = Counter()
    lag: defaultdict[Owner, float] = defaultdict(float)
    largest = {arrival.owner: 0.0 for arrival in trace.arrivals}
    before = 0.0
    for at, changes in groupby(sorted(_changes(trace, run)), key=lambda change: change[0]):
        active = sum(waiting[owner] > 0 or held[owner] > 0 for owner in largest)
        for owner in largest:
            if waiting[owner]:
                lag[owner] = max(0.0, lag[owner] + (at - before) * (places / active - held[owner]))
                largest[owner] = max(largest[owner], lag[owner])
            else:
                lag[owner] = 0.0
        for _, owner, waits, holds in changes:
            waiting[owner] += waits
            held[owner] += holds
        before = at
    return largest


def _changes(trace: Trace, run: Run) -> Iterable[_Change]:
    arrivals = {arrival.id: arrival for arrival in trace.arrivals}
    for arrival in trace.arrivals:
        yield arrival.at_s, arrival.owner, 1, 0
    for span in run.spans:
        owner = arrivals[span.task].owner
        yield span.from_s, owner, -1, len(span.places)
        if span.until_s < inf:
            yield span.until_s, owner, int(span.lost), -len(span.places)
