"""A run in numbers: the work finished, the waits, the loads, the energy.

A wait lasts from arrival to the start of the attempt that ended well, so time lost to an outage counts as waiting.
Loading counts as work: the place is busy and draws power. Quantiles are nearest ranks, so each is a wait that occurred.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from operator import attrgetter

from corral.scheduling.simulator.values import Run, Span, Trace
from corral.scheduling.values import TaskClass
from corral.work import SlotId

_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watts:
    """The power draw of a place's device."""

    busy: float
    idle: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """How long the finished tasks of one class waited, in seconds."""

    p50: float
    p99: float
    longest: float
    tasks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """A run in numbers, over a window that starts with it."""

    span_s: float
    """The window: as given, else the makespan."""
    makespan_s: float
    """When the last task ended, whether inside the window or not; 0 when none did."""
    finished: int
    """Tasks that ended within the window."""
    left: int
    """Tasks that did not: they ended later, or never."""
    waits: Mapping[TaskClass, Waits]
    occupancy: Mapping[SlotId, float]
    """The part of the window in which the place was busy, 0 to 1."""
    loads: int
    """Times that a model was loaded within the window."""
    swaps: int
    """Loads after the first one on their places."""
    load_s: float
    """Slot-seconds spent loading."""
    lost_s: float
    """Slot-seconds of work that was lost with its place."""
    energy_wh: float | None
    """The energy of the places' devices; None when a place's watts are unknown."""

    @property
    def per_hour(self) -> float:
        """Tasks finished per hour of the window."""
        return self.finished * _HOUR_S / self.span_s if self.span_s else 0.0


def summarise(
    trace: Trace, run: Run, *, span_s: float | None = None, watts: Mapping[SlotId, Watts] | None = None
) -> Outcome:
    """Count what a run brought within its first `span_s` seconds, all of it unless given.

    `watts` is the draw of each place's device, busy and idle; without it no energy is worked out. A place that is away
    draws nothing.
    """
    good = [span for span in run.spans if not span.lost]
    makespan_s = max((span.until_s for span in good), default=0.0)
    window_s = makespan_s if span_s is None else span_s
    inside = [span for span in good if span.until_s <= window_s]
    loads = [span for span in run.spans if span.load_s > 0 and span.from_s < window_s]
    busy = _measure_busy(trace, run.spans, window_s)
    return Outcome(
        span_s=window_s,
        makespan_s=makespan_s,
        finished=len(inside),
        left=len(trace.arrivals) - len(inside),
        waits=_summarise_waits(trace, inside),
        occupancy={place: seconds / window_s if window_s else 0.0 for place, seconds in busy.items()},
        loads=len(loads),
        swaps=len(loads) - len({span.places[0] for span in loads}),
        load_s=sum(min(span.load_s, window_s - span.from_s) for span in loads),
        lost_s=sum(_clip(span, window_s) * len(span.places) for span in run.spans if span.lost),
        energy_wh=None if watts is None else _compute_energy_wh(trace, busy, window_s, watts),
    )


def find_quantile(ordered: Sequence[float], part: float) -> float:
    """The nearest rank of ascending values that `part` (0 to 1) of them do not exceed."""
    return ordered[max(0, ceil(part * len(ordered)) - 1)]


def _summarise_waits(trace: Trace, spans: Iterable[Span]) -> dict[TaskClass, Waits]:
    arrivals = {arrival.id: arrival for arrival in trace.arrivals}
    waits: defaultdict[TaskClass, list[float]] = defaultdict(list)
    for span in spans:
        arrival = arrivals[span.task]
        waits[arrival.task_class].append(span.from_s - arrival.at_s)
    return {task_class: _to_quantiles(sorted(of_class)) for task_class, of_class in sorted(waits.items())}


def _to_quantiles(waits: Sequence[float]) -> Waits:
    return Waits(p50=find_quantile(waits, 0.5), p99=find_quantile(waits, 0.99), longest=waits[-1], tasks=len(waits))


def _measure_busy(trace: Trace, spans: Iterable[Span], window_s: float) -> dict[SlotId, float]:
    """Seconds of the window in which each place is busy; lanes that overlap count once."""
    busy = {place.id: 0.0 for place in trace.places}
    until = dict.fromkeys(busy, 0.0)
    for span in sorted(spans, key=attrgetter("from_s")):
        end_s = min(span.until_s, window_s)
        for place in span.places:
            busy[place] += max(0.0, end_s - max(span.from_s, until[place]))
            until[place] = max(until[place], end_s)
    return busy


def _clip(span: Span, window_s: float) -> float:
    return max(0.0, min(span.until_s, window_s) - span.from_s)


def _compute_energy_wh(
    trace: Trace, busy: Mapping[SlotId, float], window_s: float, watts: Mapping[SlotId, Watts]
) -> float | None:
    if any(place not in watts for place in busy):
        return None
    away = _measure_away(trace, window_s)
    joules = sum(
        seconds * watts[place].busy + max(0.0, window_s - seconds - away.get(place, 0.0)) * watts[place].idle
        for place, seconds in busy.items()
    )
    return joules / _HOUR_S


def _measure_away(trace: Trace, window_s: float) -> dict[SlotId, float]:
    """Seconds of the window in which each place is away; outages that overlap count once."""
    away: defaultdict[SlotId, float] = defaultdict(float)
    until: defaultdict[SlotId, float] = defaultdict(float)
    for outage in sorted(trace.outages, key=lambda outage: outage.from_s):
        from_s, end_s = max(outage.from_s, until[outage.place]), min(outage.until_s, window_s)
        if from_s < end_s:
            away[outage.place] += end_s - from_s
            until[outage.place] = end_s
    return away
