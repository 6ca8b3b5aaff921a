"""How long a given batch takes on a cluster that has nothing else to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from corral.cluster.values import Cluster
from corral.figures import Figure, computed
from corral.planning.forecast.nights import OWNER
from corral.planning.forecast.values import ClassWaits, summarise_simulated_waits
from corral.planning.forecast.workload_slots import find_durations, list_slots_for, make_queues
from corral.planning.placement.values import Plan
from corral.scheduling.durations import ANY, History
from corral.scheduling.simulator import Outcome, simulate, summarise
from corral.scheduling.simulator.values import START, Arrival, Load, Run, Trace
from corral.scheduling.values import Demand, Owner, PolicyBounds, copy_demand

_DEADLINE = 1
"""Names the deadline of the batch in its trace, which has no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job(Demand):
    """A task of a batch, as its file has it."""

    owner: Owner = OWNER
    name: str
    needs: tuple[str, ...] = ()
    """Names of tasks in the same batch."""
    seconds: float | None = None
    """How long it takes, where the task says so itself (`sleep`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFigures:
    """A batch; None is unknown, and `unknown` says why."""

    tasks: int
    makespan: Figure | None = None
    finished: Figure | None = None
    waits: Mapping[str, ClassWaits] | None = None
    """By class, from the submission."""
    occupancy: Mapping[str, Figure] | None = None
    loads: Figure | None = None
    swaps: Figure | None = None
    by: datetime | None = None
    """When it should be done."""
    done_by: Figure | None = None
    """Tasks that have ended by then."""
    unknown: tuple[str, ...] = ()
    """What keeps the batch from being forecast, or tasks of it from ending."""
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchForecast(BatchFigures):
    """A batch, with the simulated run that the figures are from."""

    trace: Trace | None = None
    run: Run | None = None


def forecast_batch(
    cluster: Cluster,
    jobs: Sequence[Job],
    plans: Sequence[Plan],
    *,
    history: History | None = None,
    start: datetime = START,
    by: datetime | None = None,
) -> BatchForecast:
    """Play a batch from its submission to its end; it is submitted at `start`, which matters where there are hours.

    It should be done `by` an instant, where that is given.
    """
    jobs = [_fill_in_nodes(job, cluster) for job in jobs]
    if by is not None:
        jobs = [replace(job, deadline=_DEADLINE) for job in jobs]
    slots = list_slots_for(cluster, (job.engine for job in jobs), plans)
    models = sorted({slot.device_model for slot in slots})
    tables = {(job.engine, job.model): find_durations(cluster, job.engine, job.model, models, history) for job in jobs}
    unknown = _list_unknown(jobs, tables, {(slot.device_model, engine) for slot in slots for engine in slot.engines})
    if unknown:
        return BatchForecast(tasks=len(jobs), unknown=unknown)
    trace = Trace(
        arrivals=_list_arrivals(jobs, tables),
        places=slots,
        queues=make_queues(cluster, slots),
        loads=_list_loads(cluster, jobs),
        bounds=PolicyBounds(
            promote_after=cluster.promote_after,
            cheap_hours=None if cluster.electricity is None else cluster.electricity.find_cheap_hours(),
        ),
        deadlines={} if by is None else {_DEADLINE: by},
        start=start,
    )
    run = simulate(trace)
    forecast = _summarise(jobs, trace, run, summarise(trace, run), _list_assumed(cluster, jobs))
    return forecast if by is None else replace(forecast, by=by, done_by=_count_done(run, (by - start).total_seconds()))


def _count_done(run: Run, left_s: float) -> Figure:
    done = sum(span.until_s <= left_s for span in run.spans if not span.lost)
    return computed(done, "", f"tasks that end within {left_s:g} s")


def _fill_in_nodes(job: Job, cluster: Cluster) -> Job:
    """Give a task that names no node those of its workload, as the server does."""
    if job.node is not None or job.prefer_node is not None:
        return job
    node, prefer_node = cluster.find_nodes(job.engine, job.model)
    return replace(job, node=node, prefer_node=prefer_node)


_Tables = Mapping[tuple[str, str | None], Mapping[str, float]]


def _list_unknown(jobs: Sequence[Job], tables: _Tables, able: set[tuple[str, str]]) -> tuple[str, ...]:
    """Say of each engine and model once why its tasks cannot be forecast."""
    reasons: dict[str, None] = {}
    for job in jobs:
        called = f"{job.engine} {job.model}" if job.model else job.engine
        on = sorted(device_model for device_model, engine in able if engine == job.engine)
        if not on:
            reasons[f"no slot of the cluster file runs {job.engine}"] = None
        elif job.seconds is None:
            lacking = [device for device in on if device not in tables[job.engine, job.model]]
            reasons.update(
                {
                    f"how long a task of {called} takes on {device}: neither measured nor in a workload": None
                    for device in lacking
                }
            )
    return tuple(reasons)


def _list_arrivals(jobs: Sequence[Job], tables: _Tables) -> tuple[Arrival, ...]:
    numbers = {job.name: index for index, job in enumerate(jobs, start=1)}
    return tuple(
        Arrival(
            **copy_demand(job),
            id=numbers[job.name],
            at_s=0,
            seconds=tables[job.engine, job.model] if job.seconds is None else {ANY: job.seconds},
            needs=tuple(numbers[need] for need in job.needs),
        )
        for job in jobs
    )


def _list_loads(cluster: Cluster, jobs: Sequence[Job]) -> tuple[Load, ...]:
    loads: dict[tuple[str, str | None], Load] = {}
    for job in jobs:
        workload = cluster.find_workload(job.engine, job.model)
        if workload is not None and workload.load_s:
            loads[job.engine, job.model] = Load(
                engine=job.engine, model=job.model, seconds=workload.load_s, memory=job.memory or workload.min_vram
            )
    return tuple(loads.values())


def _list_assumed(cluster: Cluster, jobs: Sequence[Job]) -> tuple[str, ...]:
    notes: dict[str, None] = {}
    for job in jobs:
        workload = cluster.find_workload(job.engine, job.model)
        if job.seconds is None and (workload is None or workload.load_s is None):
            notes[f"loading {job.model or job.engine} takes no time: no workload says how long it takes"] = None
    return tuple(notes)


def _summarise(
    jobs: Sequence[Job], trace: Trace, run: Run, outcome: Outcome, assumed: tuple[str, ...]
) -> BatchForecast:
    names = {index: job.name for index, job in enumerate(jobs, start=1)}
    source = f"simulated with the production policy: {len(jobs)} tasks on {len(trace.places)} slots"
    timed = bool(trace.loads)
    return BatchForecast(
        tasks=len(jobs),
        makespan=computed(outcome.makespan_s, "s", source),
        finished=computed(outcome.finished, "", "tasks that end"),
        waits=summarise_simulated_waits(outcome),
        occupancy={
            slot: computed(100 * part, "%", f"busy {part * outcome.span_s:.6g} s of {outcome.span_s:.6g} s")
            for slot, part in outcome.occupancy.items()
        },
        loads=computed(outcome.loads, "", "models loaded") if timed else None,
        swaps=computed(outcome.swaps, "", "loads after the first on each slot") if timed else None,
        unknown=tuple(f"{names[task]} never starts: {rule}" for task, rule in sorted(run.because.items())),
        assumed=assumed,
        trace=trace,
        run=run,
    )
