"""Forecasts workloads of a cluster file, batches before they are submitted, and finished tasks on other hardware."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from corral.cluster.values import Cluster, Workload
from corral.engine_kinds import SLEEP
from corral.errors import CorralError, Kind, Problem
from corral.figures import Figure
from corral.files import write_whole
from corral.hours import find_machine_zone
from corral.operations.cluster_file import check_cluster
from corral.operations.forecast_requests import (
    BatchForecastAsked,
    ForecastAsked,
    ForecastAskedError,
    ReplayAsked,
    describe_request,
    read_request,
    read_since,
)
from corral.operations.planning import PlanAsked, plan_layouts
from corral.planning.forecast import Forecast, Scenario, WorkloadForecast, forecast_workload
from corral.planning.forecast.batches import BatchFigures, BatchForecast, Job, forecast_batch
from corral.planning.forecast.replay import Ended, PlayFigures, Replay, replay
from corral.planning.forecast.workload_slots import list_gpu_slots
from corral.requests import find_deadline
from corral.scheduling.durations import History, observe
from corral.scheduling.values import DurationKey, Priority, TaskClass
from corral.units import Bytes
from corral.wire import narrow
from corral.work import Json, SlotId, device_of

_UNLISTED = "unlisted"
"""The device model of slots that the cluster file does not have, such as processors."""


class NothingToReplayError(CorralError):
    """No task has succeeded since then."""

    code: ClassVar[str] = "forecast.nothing_to_replay"
    kind: ClassVar[Kind] = Kind.MISSING


FinishedTasks = Callable[[datetime], Sequence[Json]]
"""Reads the tasks that were submitted since an instant and have succeeded, as the HTTP API shows them."""
MeasuredWatts = Callable[[datetime], Mapping[SlotId, float]]
"""Reads what each GPU has drawn at work since an instant, on average in W, without those that were not measured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecasts:
    """The workloads of a cluster in the order of its file; `changed` in the same order, when a scenario was asked."""

    cluster: str
    plain: tuple[Forecast, ...]
    changed: tuple[Forecast, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastAnswer:
    """The workloads of a cluster file; null is unknown, and `unknown` has the reasons."""

    cluster: str
    workloads: tuple[WorkloadForecast, ...]
    """In a night in which all goes well."""
    asked: tuple[WorkloadForecast, ...]
    """In a night as it was asked for; empty when nothing was."""


def play_workloads(asked: ForecastAsked, *, finished: FinishedTasks, watts: MeasuredWatts = lambda _: {}) -> Forecasts:
    """Forecast one workload of a cluster file, or each.

    Raises: ClusterFileError, UnknownWorkloadError, NothingToReplayError, ForecastAskedError with every problem.
    """
    planned = plan_layouts(PlanAsked(cluster=asked.cluster))
    cluster = planned.file.cluster
    understood = read_request(cluster, asked, where=planned.file.name)
    scenario = understood.scenario
    usual = Scenario(load_s=scenario.load_s)  # how long a model loads is a fact of the machine, whatever happens
    since = understood.measured_since
    measured = None if since is None else read_history(finished(since), cluster)
    drawn: Mapping[SlotId, float] = {} if since is None else watts(since)

    def play(workload: Workload, scenario: Scenario) -> Forecast:
        return forecast_workload(
            cluster,
            workload,
            planned.plans,
            scenario=scenario,
            history=measured,
            watts=drawn,
            night_s=understood.night_s,
            nights=asked.nights,
            now=datetime.now(UTC),
        )

    return Forecasts(
        cluster=cluster.name,
        plain=tuple(play(workload, usual) for workload in understood.workloads),
        changed=() if scenario == usual else tuple(play(workload, scenario) for workload in understood.workloads),
    )


def answer_forecasts(forecasts: Forecasts) -> ForecastAnswer:
    """Return forecasts as doors show them to programs: every figure, without the simulated nights."""
    return ForecastAnswer(
        cluster=forecasts.cluster,
        workloads=tuple(narrow(WorkloadForecast, workload) for workload in forecasts.plain),
        asked=tuple(narrow(WorkloadForecast, workload) for workload in forecasts.changed),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayAnswer:
    """The same work three times."""

    tasks: int
    real: PlayFigures
    again: PlayFigures
    """Simulated on the slots that it had."""
    error: Figure
    """How much longer the simulation took than reality, in %."""
    against: PlayFigures
    """Simulated on the slots of the other file."""
    gain: Figure
    """How much shorter that is than `again`, in %."""
    assumed: tuple[str, ...]


def replay_tasks(asked: ReplayAsked, *, finished: FinishedTasks) -> Replay:
    """Replay finished tasks from one cluster file to another; the files are checked first.

    Raises: ForecastAskedError, NothingToReplayError, ClusterFileError.
    """
    since = read_since(asked.since)
    before, after = check_cluster(asked.before).cluster, check_cluster(asked.after).cluster
    return replay(_select_ended(finished(since)), before, after)


def answer_replay(replay: Replay) -> ReplayAnswer:
    """Return a replay as doors show it to programs: every figure, without the simulated runs."""
    return ReplayAnswer(
        tasks=replay.tasks,
        real=narrow(PlayFigures, replay.real),
        again=narrow(PlayFigures, replay.again),
        error=replay.error,
        against=narrow(PlayFigures, replay.against),
        gain=replay.gain,
        assumed=replay.assumed,
    )


def read_history(tasks: Sequence[Json], cluster: Cluster) -> History:
    """Return what finished tasks say of durations on the GPUs of a cluster. Raises: NothingToReplayError."""
    models = {slot.id: slot.device_model for slot in list_gpu_slots(cluster, frozenset())}
    history = History()
    for task in sorted(_select_ended(tasks), key=lambda task: task.finished_at):
        key = DurationKey(task.engine, task.model, models.get(task.slots[0], _UNLISTED))
        history = observe(history, key, task.seconds)
    return history


def play_batch(asked: BatchForecastAsked) -> BatchForecast:
    """Forecast a batch that is submitted now. Raises: ClusterFileError, ForecastAskedError."""
    planned = plan_layouts(PlanAsked(cluster=asked.cluster))
    cluster, now = planned.file.cluster, datetime.now(UTC)
    if asked.when is not None and (cluster.electricity is None or cluster.electricity.find_cheap_hours() is None):
        what = "there are no cheap hours to wait for: power has one price in the cluster file"
        hint = "give `electricity` in the cluster file a `tariff`, or leave `when` out"
        raise ForecastAskedError([Problem(code=ForecastAskedError.code, what=what, where="when", hint=hint)])
    by = None if asked.by is None else find_deadline(asked.by, now, cluster.time_zone or find_machine_zone())
    jobs = [replace(_read_job(task), waits_for_cheap=asked.when is not None) for task in asked.tasks]
    return forecast_batch(cluster, jobs, planned.plans, start=now, by=by)


def answer_batch(forecast: BatchForecast) -> BatchFigures:
    """Return a batch's forecast as doors show it to programs: every figure, without the simulated run."""
    return narrow(BatchFigures, forecast)


def _select_ended(tasks: Sequence[Json]) -> list[Ended]:
    ended = [_read_ended(task) for task in tasks if task["started_at"] and task["finished_at"] and task["slots"]]
    if not ended:
        raise NothingToReplayError(
            "no task has succeeded since then", hint="go further back, or look at `corral tasks list`"
        )
    return ended


def _read_ended(task: Json) -> Ended:
    return Ended(
        **_read_demand(task),
        id=task["id"],
        owner=task["owner"],
        needs=tuple(task["needs"]),
        created_at=datetime.fromisoformat(task["created_at"]),
        queued_at=datetime.fromisoformat(task["queued_at"] or task["created_at"]),
        started_at=datetime.fromisoformat(task["started_at"]),
        finished_at=datetime.fromisoformat(task["finished_at"]),
        slots=tuple(device_of(SlotId(slot)) for slot in task["slots"]),
    )


def _read_job(task: Mapping[str, Json]) -> Job:
    files: Mapping[str, Json] = task.get("files", {})
    outputs = [file["task"] for file in files.values() if "task" in file]
    asked = [need for need in task.get("needs", ()) if isinstance(need, str)]  # a number is a task of another batch
    sleeps = task["engine"] == SLEEP.name
    return Job(
        **_read_demand(task),
        name=task["name"],
        needs=tuple(dict.fromkeys([*asked, *outputs])),
        seconds=float(task["inputs"]["seconds"]) if sleeps else None,
    )


def _read_demand(task: Mapping[str, Json]) -> dict[str, Any]:  # of every field's own type
    """Return what a task of the HTTP API, as it is asked or shown, asks of the policy: by name, without its owner."""
    memory = task.get("memory")
    return {
        "engine": task["engine"],
        "model": task.get("model"),
        "queue": task.get("queue") or "default",
        "task_class": TaskClass(task.get("class") or TaskClass.BATCH),
        "priority": Priority[(task.get("priority") or "normal").upper()],
        "precedence": task.get("precedence") or 0,
        "gpus": task.get("gpus") or 1,
        "memory": None if memory is None else Bytes(memory),
        "node": task.get("node"),
        "prefer_node": task.get("prefer_node"),
    }


# --- files -----------------------------------------------------------------------------------------------------------


class NothingToDrawError(CorralError):
    """No workload of the forecast could be played."""

    code: ClassVar[str] = "forecast.nothing_to_draw"
    kind: ClassVar[Kind] = Kind.INVALID


class UnwritableForecastError(CorralError):
    """A file that was asked for cannot be written."""

    code: ClassVar[str] = "forecast.unwritable"
    kind: ClassVar[Kind] = Kind.INVALID


def draw_night(forecasts: Forecasts) -> str:
    """Draw the night of the first workload that could be played, as SVG. Raises: NothingToDrawError."""
    from corral.planning.forecast.page import draw_run  # here: a server needs no charts at its start

    for workload in forecasts.changed or forecasts.plain:
        if workload.trace is not None and workload.run is not None and workload.outcome is not None:
            title = f"A night of {workload.workload} on {forecasts.cluster}"
            return draw_run(workload.trace, workload.run, title=title, span_s=workload.outcome.span_s)
    raise NothingToDrawError(
        f"no workload of {forecasts.cluster} can be played, so there is nothing to draw",
        hint="give a workload a `duration` in the cluster file",
    )


def write_gantt(forecasts: Forecasts, path: Path) -> None:
    """Write the drawing of a night. Raises: NothingToDrawError, UnwritableForecastError."""
    _write(path, draw_night(forecasts))


def write_batch(forecast: BatchForecast, name: str, path: Path) -> None:
    """Draw a batch from its first start to its end. Raises: NothingToDrawError, UnwritableForecastError."""
    from corral.planning.forecast.page import draw_run  # as above

    if forecast.trace is None or forecast.run is None or forecast.makespan is None:
        raise NothingToDrawError(f"batch {name} cannot be played: {'; '.join(forecast.unknown)}")
    _write(path, draw_run(forecast.trace, forecast.run, title=f"Batch {name}", span_s=forecast.makespan.value))


def write_page(forecasts: Forecasts, asked: ForecastAsked, path: Path) -> None:
    """Write the forecast as one HTML page. Raises: UnwritableForecastError."""
    from corral.planning.forecast.page import make_page  # as above

    _write(path, make_page(forecasts.cluster, forecasts.plain, forecasts.changed, describe_request(asked)))


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as error:
        raise UnwritableForecastError(
            f"cannot write the file: {error.strerror or error}",
            where=str(path),
            hint="name a file in a folder that is there",
        ) from error
