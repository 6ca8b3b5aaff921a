"""Use cases about hardware and cluster files: they take contents, look at no machine, and change nothing."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from starlette.responses import Response

from corral.operations.fitting import FitAnswer, FitAsked, ProfileAnswer
from corral.operations.gpu_models import GpuModels, ListedGpu, find_models, show_model
from corral.operations.planning import PlanAnswer, PlanAsked
from corral.operations.powering import PowerAnswer, PowerAsked
from corral.server.api.body import StrictRoute
from corral.server.api.fields import Word
from corral.server.api.refusals import refusals
from corral.server.api.state import Here, Viewer
from corral.server.api.wired import answer, compute, describe_answers, describe_requests
from corral.server.auth import Role, require

router = APIRouter(prefix="/corral/v1", tags=["planning"], route_class=StrictRoute)

Name = Annotated[Word, Query(description="as people write it: `5070ti`")]

describe_requests(PlanAsked, PowerAsked, FitAsked)
describe_answers(PlanAnswer, PowerAnswer, FitAnswer, ProfileAnswer, GpuModels, ListedGpu)


@router.get("/gpus", summary="Find GPU models", response_model=GpuModels, responses=refusals(404))
async def find_gpus(name: Name, caller: Viewer) -> Response:
    """List the models of the catalogue that a name may stand for."""
    return await compute(lambda: find_models(name))


@router.get("/gpus/{name:path}", summary="Show a GPU model", response_model=ListedGpu, responses=refusals(404))
async def show_gpu(name: Word, caller: Viewer) -> Response:
    """Show what the catalogue says of the one model that a name stands for."""
    return await compute(lambda: show_model(name))


@router.post("/plan", summary="Plan layouts", response_model=PlanAnswer, responses=refusals(400, 404, 413))
async def plan(asked: PlanAsked, caller: Viewer) -> Response:
    """Plan what would run on which GPU; nothing is changed."""
    from corral.operations.planning import answer_plan, plan_layouts

    return await compute(lambda: answer_plan(plan_layouts(asked)))


@router.post("/power", summary="Work out power", response_model=PowerAnswer, responses=refusals(400, 404, 413))
async def power(asked: PowerAsked, caller: Viewer) -> Response:
    """Work out power, heat and cost of each node at full load. `here` asks the server's driver: administrators only."""
    from corral.operations.powering import work_out_power

    if asked.here is not None:
        require(caller, Role.ADMIN)
    return await compute(lambda: work_out_power(asked))


@router.post(
    "/fit", summary="Fit a model", response_model=FitAnswer | ProfileAnswer, responses=refusals(400, 404, 413, 507)
)
async def fit(asked: FitAsked, api: Here, caller: Viewer) -> Response:
    """Judge what a model takes and where it fits. A path or an address is read by the server: administrators only."""
    from corral.operations.fitting import Sources, answer_fit, fit_model
    from corral.weights.fetching import Connections

    if asked.is_elsewhere:
        require(caller, Role.ADMIN)
    sources = Sources(store=api.services.weights, connections=Connections(), on_bytes=lambda file, done: None)
    return answer(answer_fit(await fit_model(asked, sources)))
