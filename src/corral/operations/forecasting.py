"""Forecasts the workloads of a cluster file, as it is and with what may go wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar

from corral.cluster.values import Workload
from corral.errors import CorralError, Kind
from corral.files import write_whole
from corral.operations.cluster_file import read_cluster_file
from corral.operations.forecast_asking import Asked, in_words, understand
from corral.operations.planning import PlanAsked, plan_layouts
from corral.planning.forecast import Forecast, Scenario, forecast
from corral.planning.forecast.batches import BatchForecast
from corral.planning.forecast.drawing import draw_run
from corral.planning.forecast.page import page
from corral.scheduling.durations import History


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecasts:
    """The workloads of a cluster in the order of its file; `changed` in the same order, when a scenario was asked."""

    cluster: str
    plain: tuple[Forecast, ...]
    changed: tuple[Forecast, ...] = ()


def forecast_file(path: Path | None, asked: Asked, *, history: Callable[[datetime], History]) -> Forecasts:
    """Forecast one workload of a cluster file, or each; `history` reads what was finished since an instant.

    Raises: UnreadableClusterFileError, ClusterFileError, UnknownWorkloadError, ForecastAskedError with every problem.
    """
    planned = plan_layouts(PlanAsked(cluster=read_cluster_file(path)))
    cluster, where = planned.file.cluster, planned.file.name
    understood = understand(cluster, asked, where=where)
    scenario = understood.scenario
    usual = Scenario(load_s=scenario.load_s)  # how long a model loads is a fact of the machine, whatever happens
    measured = None if understood.measured_since is None else history(understood.measured_since)

    def played(workload: Workload, scenario: Scenario) -> Forecast:
        return forecast(
            cluster,
            workload,
            planned.plans,
            scenario=scenario,
            history=measured,
            night_s=understood.night_s,
            nights=asked.nights,
        )

    return Forecasts(
        cluster=cluster.name,
        plain=tuple(played(each, usual) for each in understood.workloads),
        changed=() if scenario == usual else tuple(played(each, scenario) for each in understood.workloads),
    )


# --- files -----------------------------------------------------------------------------------------------------------


class NothingToDrawError(CorralError):
    """No workload of the forecast could be played."""

    code: ClassVar[str] = "forecast.nothing_to_draw"
    kind: ClassVar[Kind] = Kind.INVALID


class UnwritableForecastError(CorralError):
    """A file that was asked for cannot be written."""

    code: ClassVar[str] = "forecast.unwritable"
    kind: ClassVar[Kind] = Kind.INVALID


def write_gantt(found: Forecasts, path: Path) -> None:
    """Draw the night of the first workload that could be played, as it was asked.

    Raises: NothingToDrawError, UnwritableForecastError.
    """
    for one in found.changed or found.plain:
        if one.trace is not None and one.run is not None and one.outcome is not None:
            title = f"A night of {one.workload} on {found.cluster}"
            _write(path, draw_run(one.trace, one.run, title=title, span_s=one.outcome.span_s))
            return
    raise NothingToDrawError(
        f"no workload of {found.cluster} can be played, so there is nothing to draw",
        hint="give a workload a `duration` in the cluster file",
    )


def write_batch(found: BatchForecast, name: str, path: Path) -> None:
    """Draw a batch from its first start to its end. Raises: NothingToDrawError, UnwritableForecastError."""
    if found.trace is None or found.run is None or found.makespan is None:
        raise NothingToDrawError(f"batch {name} cannot be played: {'; '.join(found.unknown)}")
    _write(path, draw_run(found.trace, found.run, title=f"Batch {name}", span_s=found.makespan.value))


def write_page(found: Forecasts, asked: Asked, path: Path) -> None:
    """Write the forecast as one HTML page. Raises: UnwritableForecastError."""
    _write(path, page(found.cluster, found.plain, found.changed, in_words(asked)))


def _write(path: Path, text: str) -> None:
    try:
        write_whole(path, text)
    except OSError as error:
        raise UnwritableForecastError(
            f"cannot write the file: {error.strerror or error}",
            where=str(path),
            hint="name a file in a folder that is there",
        ) from error
