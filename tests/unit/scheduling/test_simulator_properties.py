"""What holds for every simulated run, whatever the workload and whatever goes wrong."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from corral.scheduling.retrying import backoff
from corral.scheduling.simulator import simulate, summarise
from corral.scheduling.simulator.spreading import spread
from corral.scheduling.simulator.values import Run, Span, Trace
from corral.scheduling.values import Gate, Rule, Share, find_share
from doubles.chances import MANY
from doubles.traces import traces, traces_on_processors


def by_place(run: Run) -> dict[str, list[Span]]:
    spans: defaultdict[str, list[Span]] = defaultdict(list)
    for span in run.spans:
        for place in span.places:
            spans[place].append(span)
    return spans


@given(st.one_of(traces(), traces_on_processors()))
@MANY
def test_a_slot_has_one_task_at_a_time(trace: Trace) -> None:
    for spans in by_place(simulate(trace)).values():
        for before, after in pairwise(sorted(spans, key=lambda span: (span.from_s, span.until_s))):
            assert before.until_s <= after.from_s


@given(st.one_of(traces(), traces_on_processors()))
@MANY
def test_every_task_ends_once_or_is_left_with_a_reason(trace: Trace) -> None:
    run = simulate(trace)
    ended = Counter(span.task for span in run.spans if not span.lost)
    assert set(ended.values()) <= {1}
    assert sorted([*ended, *run.unfinished]) == sorted(arrival.id for arrival in trace.arrivals)
    assert set(run.because) == set(run.unfinished)
    assert Rule.STARTING not in run.because.values()


@given(st.one_of(traces(), traces_on_processors()))
@MANY
def test_an_attempt_begins_after_arrival_on_slots_that_are_there(trace: Trace) -> None:
    run = simulate(trace)
    arrivals = {arrival.id: arrival for arrival in trace.arrivals}
    closed = {place.id for place in trace.places if place.gate is not Gate.OPEN}
    for span in run.spans:
        assert span.from_s >= arrivals[span.task].at_s
        assert len(set(span.places)) == arrivals[span.task].gpus
        assert not closed & set(span.places)
        for outage in trace.outages:
            if outage.place in span.places:
                assert span.until_s <= outage.from_s or span.from_s >= outage.until_s


@given(traces())
@MANY
def test_an_attempt_takes_its_time_and_that_of_loading_unless_it_is_lost(trace: Trace) -> None:
    arrivals = {arrival.id: arrival for arrival in trace.arrivals}
    models = {place.id: place.device_model for place in trace.places}
    loads = {(load.engine, load.model): load.seconds for load in trace.loads}
    for span in simulate(trace).spans:
        arrival = arrivals[span.task]
        work_s = max(arrival.on(models[place]) or 0 for place in span.places)
        assert span.load_s in (0, loads.get((arrival.engine, arrival.model), 0)) or span.lost
        if span.lost:
            longest_s = max((work_s, *arrival.fails_after_s))
            assert span.until_s - span.from_s <= longest_s + loads.get((arrival.engine, arrival.model), 0) + 1e-5
        else:
            assert abs(span.until_s - span.from_s - span.load_s - work_s) < 1e-5


@given(traces_on_processors())
@MANY
def test_a_processor_does_no_more_work_than_there_is_time_and_what_is_alone_takes_its_own(trace: Trace) -> None:
    arrivals = {arrival.id: arrival for arrival in trace.arrivals}
    places = {place.id: place for place in trace.places}
    run = simulate(trace)
    work: defaultdict[str | None, float] = defaultdict(float)
    last: defaultdict[str | None, float] = defaultdict(float)
    for span in run.spans:
        for place in map(places.__getitem__, span.places):
            last[place.processor] = max(last[place.processor], span.until_s)
            if not span.lost:
                work[place.processor] += arrivals[span.task].on(place.device_model) or 0
    assert all(seconds <= last[processor] + 1e-3 for processor, seconds in work.items())
    for span in run.spans:
        arrival, on = arrivals[span.task], places[span.places[0]]
        if find_share(arrival, on) is not Share.MEMORY and not span.lost:
            longest_s = max(arrival.on(places[place].device_model) or 0 for place in span.places)
            assert abs(span.until_s - span.from_s - span.load_s - longest_s) < 1e-5


@given(st.one_of(traces(), traces_on_processors()))
@MANY
def test_memory_of_a_device_is_never_given_twice(trace: Trace) -> None:
    """At each start, what runs on a device fits it, each task with the memory that it needs."""
    run = simulate(trace)
    needs = {arrival.id: arrival.memory or 0 for arrival in trace.arrivals}
    devices = {place.id: (place.device, place.capacity) for place in trace.places}
    for begun in run.spans:
        held: Counter[str] = Counter()
        for span in run.spans:
            if span.from_s <= begun.from_s < span.until_s:
                for place in span.places:
                    held[devices[place][0]] += needs[span.task]
        for device, capacity in devices.values():
            assert held[device] <= (capacity or 0)


def find_backing_off(run: Run, at_s: float) -> set[int]:
    """The tasks whose last attempt before then was lost, and that had not waited out their backoff."""
    lost: defaultdict[int, list[float]] = defaultdict(list)
    for span in run.spans:
        if span.lost and span.until_s <= at_s:
            lost[span.task].append(span.until_s)
    return {
        task
        for task, ends in lost.items()
        if at_s < max(ends) + backoff(len(ends), spread(task + len(ends))).total_seconds()
    }


@given(traces(plain=True))
@MANY
def test_nothing_waits_beside_a_free_slot_that_could_run_it(trace: Trace) -> None:
    """Without limits, gangs, memory, slower GPUs and models that stay, nothing but the lack of a place does."""
    run = simulate(replace(trace, bounds=replace(trace.bounds, model_stay=timedelta(0))))
    open_places = [place.id for place in trace.places if place.gate is Gate.OPEN]
    instants = sorted({0.0, *(time for span in run.spans for time in (span.from_s, span.until_s))})
    for begin, end in pairwise(instants):
        middle = (begin + end) / 2
        at_work = [span for span in run.spans if span.from_s <= middle < span.until_s]
        busy = {place for span in at_work for place in span.places}
        away = {outage.place for outage in trace.outages if outage.from_s <= middle < outage.until_s}
        done = {span.task for span in run.spans if not span.lost and span.until_s <= middle}
        present = {arrival.id for arrival in trace.arrivals if arrival.at_s <= begin}
        backing_off = find_backing_off(run, middle) | {
            task for task, why in run.because.items() if why.startswith("failed")
        }
        waiting = present - done - {span.task for span in at_work} - backing_off
        events = {begin, *(outage.until_s for outage in trace.outages if begin < outage.until_s <= middle)}
        if waiting and len(events) == 1:
            assert all(place in busy or place in away for place in open_places)


@given(st.one_of(traces(), traces_on_processors()))
@MANY
def test_the_same_trace_gives_the_same_run(trace: Trace) -> None:
    assert simulate(trace) == simulate(trace)


@given(st.one_of(traces(), traces_on_processors()))
@MANY
def test_figures_stay_in_their_bounds(trace: Trace) -> None:
    run = simulate(trace)
    summary = summarise(trace, run)
    assert summary.finished + summary.left == len(trace.arrivals)
    assert all(0 <= part <= 1 + 1e-9 for part in summary.occupancy.values())
    assert 0 <= summary.swaps <= summary.loads <= len(run.spans)
    for waits in summary.waits.values():
        assert 0 <= waits.p50 <= waits.p99 <= waits.longest
