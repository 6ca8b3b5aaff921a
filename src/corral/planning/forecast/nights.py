"""Plays a night of a workload, or several: what it makes, and the power that it takes.

All tasks of a night wait from its start, as many as the file wants, else as many as could ever end in it. What ends
after the night does not count for it. A night of very many short tasks is played in part and counted up.

Where slots have hours, the night begins when the next of them begin, and later nights at the same time of the days
that follow; what is closed in a night does nothing in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil
from types import MappingProxyType

from corral.cluster.values import Cluster, Workload
from corral.figures import Figure, Origin, computed
from corral.hours import Hours, format_instant
from corral.planning.forecast.consumption import Power, compute_consumption, find_price, look_up_power
from corral.planning.forecast.values import Forecast, Scenario, summarise_simulated_waits
from corral.planning.forecast.workload_slots import WorkloadSlots, find_workload_slots
from corral.planning.placement.values import Plan
from corral.scheduling.durations import ANY, History
from corral.scheduling.simulator import Outcome, PlayedNights, simulate_nights, summarise
from corral.scheduling.simulator.spreading import spread
from corral.scheduling.simulator.values import START, Arrival, Load, Run, Trace
from corral.scheduling.values import DurationKey, Owner, Place
from corral.work import SlotId

OWNER = Owner("night")
MOST_TASKS = 20_000
"""Tasks of a night that are played; a longer one is played for as long as these last, and counted up."""
_LEAST_S = 1e-3
_PLAIN = Scenario()
_DAYS_OF_A_WEEK = 7


def forecast_workload(
    cluster: Cluster,
    workload: Workload,
    plans: Sequence[Plan],
    *,
    scenario: Scenario = _PLAIN,
    history: History | None = None,
    watts: Mapping[SlotId, float] = MappingProxyType({}),
    night_s: float | None = None,
    nights: int = 1,
    now: datetime = START,
    played: PlayedNights | None = None,
) -> Forecast:
    """Say what a workload by itself makes in a night on its slots.

    Durations are those measured (`history`), else those that the file declares; `watts` are those that GPUs were
    measured to draw at work. What the scenario says of slots that the workload does not use changes nothing. `played`
    saves nights that an earlier forecast has played already. `now` decides, where there are hours, which night is the
    next.
    """
    length_s = cluster.night.total_seconds() if night_s is None else night_s
    workload_slots = find_workload_slots(cluster, workload, plans)
    seconds = find_seconds(workload, workload_slots.slots, history)
    asked = Forecast(
        workload=workload.name,
        unit=workload.unit,
        queue=workload_slots.queue.name,
        slots=tuple(slot.id for slot in workload_slots.slots),
        where=workload_slots.because,
        night_s=length_s,
        seconds=seconds,
    )
    unknown = _list_lacking(workload, workload_slots, seconds, scenario)
    if unknown:
        return replace(asked, unknown=unknown)
    begins_at = _find_beginning(workload_slots, cluster, now)
    power = look_up_power(cluster, workload_slots.slots, watts)
    asked = replace(asked, assumed=tuple(_note_watts(watts, asked.slots)))
    return _play(cluster, workload, workload_slots, asked, power, scenario, nights, begins_at, played)


def _note_watts(watts: Mapping[SlotId, float], slots: Iterable[SlotId]) -> Iterator[str]:
    """Say which GPUs draw at work as measured."""
    known = [f"{slot} {watts[slot]:.0f} W" for slot in slots if slot in watts]
    if known:
        yield f"draw at work as measured, in tasks that have ended: {', '.join(known)}"


def _play(
    cluster: Cluster,
    workload: Workload,
    workload_slots: WorkloadSlots,
    asked: Forecast,
    power: Power,
    scenario: Scenario,
    nights: int,
    begins_at: datetime | None,
    played: PlayedNights | None,
) -> Forecast:
    """The forecast with its figures: the first night in all of them, the others in what all make together."""
    trace, window_s = _trace(workload, workload_slots, asked.seconds, scenario, asked.night_s)
    runs = simulate_nights([_begin(trace, begins_at, night) for night in range(nights)], played=played)
    _, run = next(runs)
    outcome = summarise(trace, run, span_s=window_s, watts=power.gpus)
    several = None if nights == 1 else outcome.finished + _count_finished(runs, window_s)
    forecast = _summarise(asked, trace, run, outcome, several=several)
    price = find_price(cluster, trace, run, power, window_s, start=begins_at or trace.start)
    used = compute_consumption(cluster, power, outcome, workload.unit, price=price)
    return replace(
        forecast,
        energy=used.energy and _scale(used.energy, asked.night_s / window_s),
        energy_each=used.energy_each,
        cost_each=used.cost_each,
        unknown=used.unknown,
        assumed=(
            *asked.assumed,
            *_note_loading(workload, scenario),
            *_note_beginning(workload_slots, cluster, begins_at),
            *used.assumed,
        ),
    )


def _list_hours(workload_slots: WorkloadSlots, cluster: Cluster) -> list[Hours]:
    """The hours of the queue and the slots; without any, those in which power is cheapest."""
    holders = (workload_slots.queue, *workload_slots.slots)
    hours = [holder.hours for holder in holders if holder.hours is not None]
    cheap = None if cluster.electricity is None else cluster.electricity.find_cheap_hours()
    return hours or ([] if cheap is None else [cheap])


def _find_beginning(workload_slots: WorkloadSlots, cluster: Cluster, now: datetime) -> datetime | None:
    """When the next hours begin; None where there are none, or they do not begin."""
    beginnings: list[datetime] = []
    for hours in _list_hours(workload_slots, cluster):
        opening = hours.find_opening(now)
        if opening is not None and opening.opens_at <= now:  # a night is not half over
            opening = None if opening.closes_at is None else hours.find_opening(opening.closes_at)
        if opening is not None:
            beginnings.append(opening.opens_at)
    return min(beginnings, default=None)


def _begin(trace: Trace, begins_at: datetime | None, night: int) -> Trace:
    """Let a night begin at its time: after a week the nights are those of the week before."""
    return trace if begins_at is None else replace(trace, start=begins_at + timedelta(days=night % _DAYS_OF_A_WEEK))


def _note_beginning(workload_slots: WorkloadSlots, cluster: Cluster, begins_at: datetime | None) -> Iterator[str]:
    if begins_at is not None:
        zone = _list_hours(workload_slots, cluster)[0].zone
        yield f"the night begins on {format_instant(begins_at, zone)}, when the next hours begin"


def find_seconds(workload: Workload, slots: Sequence[Place], history: History | None) -> Mapping[str, Figure]:
    """How long a task takes on each device model; models without a known duration are left out."""
    seconds: dict[str, Figure] = {}
    for model in sorted({slot.device_model for slot in slots}):
        figure = _take_measured(workload, model, history) or _take_declared(workload, model)
        if figure is not None:
            seconds[model] = figure
    return seconds


def _take_measured(workload: Workload, model: str, history: History | None) -> Figure | None:
    if history is None:
        return None
    of_engine = [DurationKey(workload.engine, ANY, ANY)] if workload.model is None else []
    for key in (DurationKey(workload.engine, workload.model, model), *of_engine):
        if key in history.expected:
            where = f"on {model}" if key.device_model == model else "of any model on any GPU"
            count = len(history.samples[key])
            source = f"median of the last {count} tasks of {workload.engine} {where}, loading included"
            return Figure(value=history.expected[key], unit="s", origin=Origin.MEASURED, source=source)
    return None


def _take_declared(workload: Workload, model: str) -> Figure | None:
    seconds = workload.seconds.get(model, workload.seconds.get(ANY))
    if seconds is None:
        return None
    source = f"duration of workload {workload.name}" + ("" if model in workload.seconds else ", said for any GPU")
    return Figure(value=seconds, unit="s", origin=Origin.CLUSTER_FILE, source=source)


def _list_lacking(
    workload: Workload, workload_slots: WorkloadSlots, seconds: Mapping[str, Figure], scenario: Scenario
) -> tuple[str, ...]:
    if not workload_slots.slots:
        return (f"no slot: {workload_slots.because}",)
    lacking = [
        f"how long one {workload.unit} takes on {model}: neither measured nor in the cluster file"
        for model in sorted({slot.device_model for slot in workload_slots.slots} - seconds.keys())
    ]
    if scenario.models > 1 and _load_s(workload, scenario) is None:
        lacking.append("how long a model takes to load: the workload has no load time")
    return tuple(lacking)


def _load_s(workload: Workload, scenario: Scenario) -> float | None:
    return workload.load_s if scenario.load_s is None else scenario.load_s


def _note_loading(workload: Workload, scenario: Scenario) -> tuple[str, ...]:
    if _load_s(workload, scenario) is not None:
        return ()
    return (f"loading the model of {workload.name} takes no time: the workload has no load time",)


def _trace(
    workload: Workload,
    workload_slots: WorkloadSlots,
    seconds: Mapping[str, Figure],
    scenario: Scenario,
    length_s: float,
) -> tuple[Trace, float]:
    """The night, or the part of it that is played, and how long that is."""
    table = {model: figure.value for model, figure in seconds.items()}
    per_second = sum(1 / max(table[slot.device_model], _LEAST_S) for slot in workload_slots.slots)
    window_s = min(length_s, MOST_TASKS / per_second)
    fitting = sum(ceil(window_s / max(table[slot.device_model], _LEAST_S)) for slot in workload_slots.slots)
    wanted = fitting if workload.per_night is None else min(fitting, ceil(workload.per_night * window_s / length_s))
    models = _list_models(workload, scenario)
    used = {slot.id for slot in workload_slots.slots}
    arrivals = tuple(
        Arrival(
            id=index + 1,
            at_s=0,
            owner=OWNER,
            engine=workload.engine,
            model=models[index // scenario.swap_every % len(models)],
            queue=workload_slots.queue.name,
            memory=workload.min_vram,
            node=workload.node,
            prefer_node=workload.prefer_node,
            seconds=_spread(table, scenario.spread, index),
        )
        for index in range(wanted)
    )
    load_s = _load_s(workload, scenario) or 0.0
    loads = tuple(
        Load(engine=workload.engine, model=model, seconds=load_s, memory=workload.min_vram) for model in models
    )
    trace = Trace(
        arrivals=arrivals,
        places=workload_slots.slots,
        queues={workload_slots.queue.name: workload_slots.queue},
        loads=loads,
        outages=tuple(outage for outage in scenario.outages if outage.place in used),
        slowdown={slot: factor for slot, factor in scenario.slowdown.items() if slot in used},
    )
    return trace, window_s


def _spread(table: Mapping[str, float], share: float, index: int) -> Mapping[str, float]:
    """The durations of one task of a night: the usual ones, or as much above or below as its index says."""
    if not share:
        return table
    factor = 1 + share * (2 * spread(index + 1) - 1)
    return {model: seconds * factor for model, seconds in table.items()}


def _list_models(workload: Workload, scenario: Scenario) -> list[str]:
    """The models that tasks use in turn; a model is named even where the file names none, so that it stays loaded."""
    first = workload.model or workload.name
    return [first, *(f"{first} ({index})" for index in range(2, scenario.models + 1))]


def _count_finished(nights: Iterable[tuple[Trace, Run]], window_s: float) -> int:
    """What nights make together; a night that is the one before over again is not counted up again."""
    total, last, finished = 0, None, 0
    for trace, run in nights:
        if run is not last:
            last, finished = run, summarise(trace, run, span_s=window_s).finished
        total += finished
    return total


def _summarise(asked: Forecast, trace: Trace, run: Run, outcome: Outcome, *, several: int | None) -> Forecast:
    """The figures that come straight from the outcome."""
    unit = f"{asked.unit}s"
    factor = asked.night_s / outcome.span_s
    takes_time = any(load.seconds for load in trace.loads)
    durations = ", ".join(f"{asked.seconds[slot.device_model].value:g} s on {slot.id}" for slot in trace.places[:8])
    more = f" and {len(trace.places) - 8} more slots" if len(trace.places) > 8 else ""
    source = f"simulated with the production policy: {durations}{more}"
    return replace(
        asked,
        per_hour=computed(outcome.per_hour, f"{unit}/h", f"{outcome.finished} in {outcome.span_s / 3600:g} h"),
        per_night=_scale(computed(outcome.finished, unit, source), factor),
        nights=None if several is None else computed(several * factor, unit, f"night after night, {source}"),
        occupancy={slot: _compute_percent(part, outcome) for slot, part in outcome.occupancy.items()},
        waits=summarise_simulated_waits(outcome),
        loads=_scale(computed(outcome.loads, "", "loads in the simulated night"), factor) if takes_time else None,
        swaps=_scale(computed(outcome.swaps, "", "loads after the first on each slot"), factor) if takes_time else None,
        lost=computed(outcome.lost_s, "s", "time of attempts whose slot went away"),
        outcome=outcome,
        trace=trace,
        run=run,
    )


def _scale(figure: Figure, factor: float) -> Figure:
    """A figure of a part of a night as that of all of it."""
    if factor == 1:
        return figure
    return computed(figure.value * factor, figure.unit, f"{figure.source}, x {factor:.4g} for the whole night")


def _compute_percent(part: float, outcome: Outcome) -> Figure:
    return computed(100 * part, "%", f"busy {part * outcome.span_s:.6g} s of {outcome.span_s:.6g} s")
