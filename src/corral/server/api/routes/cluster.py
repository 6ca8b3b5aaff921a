"""Use cases about the server's own cluster file, as it is on disk now: the same as for a file in a request.

What shows parts of the file itself is for administrators: addresses in it can have a password.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Annotated

from fastapi import Header, Query
from pydantic import Field, JsonValue
from starlette.responses import Response

from corral.operations.checklist.answering import ChecklistAsked
from corral.operations.checklist.report import ChecklistAnswer
from corral.operations.cluster_file import FileText, read_cluster_file
from corral.operations.fitting import FitAnswer, FitAsked, PipelineAnswer, ProfileAnswer
from corral.operations.forecast_requests import ForecastAsked
from corral.operations.forecasting import ForecastAnswer
from corral.operations.planning import PlanAnswer, PlanAsked
from corral.operations.powering import PowerAnswer, PowerAsked
from corral.operations.upgrading import ChangeAsked, UpgradeAsked
from corral.requests import LongWord
from corral.server.api.bodies import StrictRoute
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import Word
from corral.server.api.finished_tasks import make_reader
from corral.server.api.measured_energy import make_watts_reader
from corral.server.api.requests import Asked
from corral.server.api.routes.planning import answer_fitted
from corral.server.api.routing import make_router
from corral.server.api.state import Admin, ApiState, Here, Viewer
from corral.server.api.wired import compute, compute_text, defer, describe_requests

router = make_router("cluster", prefix="/corral/v1/cluster", route_class=StrictRoute)

describe_requests(ChangeAsked)

_HTML, _SVG = "text/html", "image/svg+xml"
OfWorkload = Annotated[Word | None, Query(description="the only workload; each of the file when left out")]
Night = Annotated[Word | None, Query(description="its length, such as `8h`; that of the file when left out")]
Measured = Annotated[Word | None, Query(description="take durations from what the queue finished since: `7d`")]
AcceptPage = Annotated[str, Header(alias="Accept", description="`text/html` for the report as one page")]


class ChangesAsked(Asked):
    """Changes of the cluster's hardware."""

    changes: list[ChangeAsked] = Field(min_length=1, max_length=100)
    adapt: bool = Field(default=False, description="write what follows (queues, replicas) into the new file, too")


class ItemsAsked(ChangesAsked):
    """Changes of the cluster's hardware, and items of their checklist that a person settles."""

    done: list[Word] = Field(default_factory=list[str], max_length=1000, description="ids of items that are done")
    skipped: list[Word] = Field(default_factory=list[str], max_length=1000, description="ids that are not needed")
    reason: LongWord | None = Field(default=None, description="why; kept as evidence")
    restart: bool = Field(default=False, description="begin anew; earlier answers are put aside")
    carry_over: bool = Field(default=False, description="keep answers of items that are the same after a change")


@router.get("/plan", summary="Plan this cluster", response_model=defer(PlanAnswer), responses=declare_refusals(404))
async def plan_here(api: Here, caller: Viewer) -> Response:
    """Plan each layout of the server's cluster file; nothing is changed."""
    from corral.operations.planning import answer_plan, plan_layouts

    return await compute(lambda: answer_plan(plan_layouts(PlanAsked(cluster=_read_own(api)))))


@router.get(
    "/power",
    summary="Work out power here",
    response_model=defer(PowerAnswer),
    responses=declare_refusals(404),
)
async def calculate_power_here(api: Here, caller: Viewer) -> Response:
    """Work out power, heat and cost of each node at full load."""
    from corral.operations.powering import work_out_power

    return await compute(lambda: work_out_power(PowerAsked(cluster=_read_own(api))))


@router.post(
    "/fit",
    summary="Fit a model on this cluster",
    response_model=defer(FitAnswer | ProfileAnswer | PipelineAnswer),
    responses=declare_refusals(400, 404, 413, 507),
)
async def fit_here(asked: FitAsked, api: Here, caller: Viewer) -> Response:
    """Judge what a model takes and where it fits: on the GPUs that are named, else on those of the cluster file."""
    if not asked.gpus and asked.cluster is None:
        asked = replace(asked, cluster=await asyncio.to_thread(_read_own, api))
    return await answer_fitted(asked, api, caller)


@router.get(
    "/forecast",
    summary="Forecast a night here",
    response_model=defer(ForecastAnswer),
    responses=declare_refusals(404),
)
async def forecast_here(
    api: Here, caller: Viewer, workload: OfWorkload = None, night: Night = None, measured: Measured = None
) -> Response:
    """Play a night of each workload of the cluster file with the production policy."""
    from corral.operations.forecasting import answer_forecasts, play_workloads

    finished, watts = make_reader(api), make_watts_reader(api)
    asked = ForecastAsked(cluster=FileText(text=""), workload=workload, night=night, measured=measured)
    return await compute(
        lambda: answer_forecasts(play_workloads(replace(asked, cluster=_read_own(api)), finished=finished, watts=watts))
    )


@router.get(
    "/forecast/chart",
    summary="Draw a night here",
    response_class=Response,
    responses={**declare_refusals(404), 200: {"description": "what each slot does", "content": {_SVG: {}}}},
)
async def draw_forecast_here(
    api: Here, caller: Viewer, workload: OfWorkload = None, night: Night = None, measured: Measured = None
) -> Response:
    """Draw the night of a workload, slot by slot, as SVG: of the first that can be played when none is named."""
    from corral.operations.forecasting import draw_night, play_workloads

    finished, watts = make_reader(api), make_watts_reader(api)
    asked = ForecastAsked(cluster=FileText(text=""), workload=workload, night=night, measured=measured)
    return await compute_text(
        lambda: draw_night(play_workloads(replace(asked, cluster=_read_own(api)), finished=finished, watts=watts)), _SVG
    )


@router.post(
    "/upgrade",
    summary="Compare an upgrade of this cluster",
    response_model=dict[str, JsonValue],
    responses=declare_refusals(400, 404, 413),
)
async def compare_here(asked: ChangesAsked, api: Here, caller: Admin, accept: AcceptPage = "*/*") -> Response:
    """Report what a change of this cluster's hardware brings, costs and asks for, and whether to do it.

    With `Accept: text/html` the answer is the report as one page that stands alone, charts included.
    """
    from corral.operations.upgrading import compare_upgrade, record_upgrade, write_texts

    changes = tuple(asked.changes)

    def make() -> UpgradeAsked:
        return UpgradeAsked(cluster=_read_own(api), changes=changes, adapt=asked.adapt)

    if _HTML in accept:
        return await compute_text(lambda: write_texts(compare_upgrade(make()), ("html",))["html"], _HTML)
    return await compute(lambda: record_upgrade(compare_upgrade(make())))


@router.post(
    "/checklist",
    summary="Take up a checklist of this cluster",
    response_model=defer(ChecklistAnswer),
    responses=declare_refusals(400, 404, 409, 413),
)
async def take_up_here(asked: ItemsAsked, api: Here, caller: Admin) -> Response:
    """List what a change of this cluster's hardware takes, and settle items; answers are kept by the server."""
    from corral.operations.checklist.answering import take_up_checklist
    from corral.operations.checklist.report import answer_checklist

    data_dir = api.services.data_dir
    given = ChecklistAsked(
        cluster=FileText(text=""),
        changes=tuple(asked.changes),
        adapt=asked.adapt,
        done=tuple(asked.done),
        skipped=tuple(asked.skipped),
        reason=asked.reason,
        restart=asked.restart,
        carry_over=asked.carry_over,
    )
    return await compute(lambda: answer_checklist(take_up_checklist(replace(given, cluster=_read_own(api)), data_dir)))


def _read_own(api: ApiState) -> FileText:
    """Read the server's cluster file; problems call it by its name alone.

    Raises: UnreadableClusterFileError, NotTextError, ClusterFileError.
    """
    path = api.services.cluster_file
    return replace(read_cluster_file(path), name=path.name)
