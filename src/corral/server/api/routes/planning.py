"""Use cases about hardware and cluster files: they take contents, look at no machine, and change nothing."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import JsonValue
from starlette.responses import Response

from corral.linting.values import Rule
from corral.operations.checklist.answering import ChecklistAsked
from corral.operations.checklist.report import ChecklistAnswer
from corral.operations.fitting import FitAnswer, FitAsked, PipelineAnswer, ProfileAnswer
from corral.operations.forecast_requests import BatchForecastAsked, ForecastAsked, ReplayAsked
from corral.operations.forecasting import ForecastAnswer, ReplayAnswer
from corral.operations.gpu_models import GpuModels, ListedGpu, find_models, show_model
from corral.operations.linting import LintAnswer, LintAsked, LintRules
from corral.operations.planning import PlanAnswer, PlanAsked
from corral.operations.powering import PowerAnswer, PowerAsked
from corral.operations.rendering import RenderAnswer, RenderAsked, RenderTargets
from corral.operations.upgrading import UpgradeAsked
from corral.planning.forecast.batches import BatchFigures
from corral.server.api.bodies import StrictRoute
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import Word
from corral.server.api.finished_tasks import make_reader
from corral.server.api.measured_energy import make_watts_reader
from corral.server.api.routing import make_router
from corral.server.api.state import ApiState, Here, Viewer
from corral.server.api.wired import answer, compute, defer, describe_answers, describe_requests
from corral.server.auth import Caller, Role, require

router = make_router("planning", prefix="/corral/v1", route_class=StrictRoute)

Name = Annotated[Word, Query(description="as people write it: `5070ti`")]

describe_requests(
    PlanAsked,
    PowerAsked,
    FitAsked,
    ForecastAsked,
    BatchForecastAsked,
    ReplayAsked,
    RenderAsked,
    LintAsked,
    UpgradeAsked,
    ChecklistAsked,
)
describe_answers(PlanAnswer, PowerAnswer, FitAnswer, ProfileAnswer, PipelineAnswer, GpuModels, ListedGpu)
describe_answers(ChecklistAnswer)
describe_answers(ForecastAnswer, BatchFigures, ReplayAnswer, RenderAnswer, RenderTargets, LintAnswer, LintRules, Rule)


@router.get("/gpus", summary="Find GPU models", response_model=defer(GpuModels), responses=declare_refusals(404))
async def find_gpus(name: Name, caller: Viewer) -> Response:
    """List the models of the catalogue that a name can stand for."""
    return await compute(lambda: find_models(name))


@router.get(
    "/gpus/{name:path}", summary="Show a GPU model", response_model=defer(ListedGpu), responses=declare_refusals(404)
)
async def show_gpu(name: Word, caller: Viewer) -> Response:
    """Show what the catalogue knows of the one model that a name means."""
    return await compute(lambda: show_model(name))


@router.post(
    "/plan", summary="Plan layouts", response_model=defer(PlanAnswer), responses=declare_refusals(400, 404, 413)
)
async def plan(asked: PlanAsked, caller: Viewer) -> Response:
    """Plan what would run on which GPU; nothing is changed."""
    from corral.operations.planning import answer_plan, plan_layouts

    return await compute(lambda: answer_plan(plan_layouts(asked)))


@router.post(
    "/power", summary="Work out power", response_model=defer(PowerAnswer), responses=declare_refusals(400, 404, 413)
)
async def calculate_power(asked: PowerAsked, caller: Viewer) -> Response:
    """Work out power, heat and cost of each node at full load. `here` asks the server's driver: administrators only."""
    from corral.operations.powering import work_out_power

    if asked.here is not None:
        require(caller, Role.ADMIN)
    return await compute(lambda: work_out_power(asked))


@router.post(
    "/fit",
    summary="Fit a model",
    response_model=defer(FitAnswer | ProfileAnswer | PipelineAnswer),
    responses=declare_refusals(400, 404, 413, 507),
)
async def fit(asked: FitAsked, api: Here, caller: Viewer) -> Response:
    """Judge what a model takes and where it fits. A path or an address is read by the server: administrators only."""
    return await answer_fitted(asked, api, caller)


async def answer_fitted(asked: FitAsked, api: ApiState, caller: Caller) -> Response:
    """Judge a model with the server's store. Raises: RoleError, and what `fit_model` raises."""
    from corral.operations.fitting import Sources, answer_fit, fit_model
    from corral.weights.fetching import Connections

    if asked.is_elsewhere:
        require(caller, Role.ADMIN)
    sources = Sources(store=api.services.weights, connections=Connections(), on_bytes=lambda file, done: None)
    return answer(answer_fit(await fit_model(asked, sources)))


@router.post(
    "/forecast",
    summary="Forecast workloads",
    response_model=defer(ForecastAnswer),
    responses=declare_refusals(400, 404, 413),
)
async def forecast_nights(asked: ForecastAsked, api: Here, caller: Viewer) -> Response:
    """Play a night of each workload with the production policy. `measured` reads durations from this queue."""
    from corral.operations.forecasting import answer_forecasts, play_workloads

    finished, watts = make_reader(api), make_watts_reader(api)
    return await compute(lambda: answer_forecasts(play_workloads(asked, finished=finished, watts=watts)))


@router.post(
    "/forecast/batch",
    summary="Forecast a batch",
    response_model=defer(BatchFigures),
    responses=declare_refusals(400, 404, 413),
)
async def forecast_batch(asked: BatchForecastAsked, caller: Viewer) -> Response:
    """Forecast how long a batch takes on a cluster that has nothing else to do."""
    from corral.operations.forecasting import answer_batch, play_batch

    return await compute(lambda: answer_batch(play_batch(asked)))


@router.post(
    "/forecast/replay",
    summary="Replay tasks",
    response_model=defer(ReplayAnswer),
    responses=declare_refusals(400, 404, 413),
)
async def replay(asked: ReplayAsked, api: Here, caller: Viewer) -> Response:
    """Play tasks that this queue has finished once more, on another cluster."""
    from corral.operations.forecasting import answer_replay, replay_tasks

    finished = make_reader(api)
    return await compute(lambda: answer_replay(replay_tasks(asked, finished=finished)))


@router.post(
    "/render",
    summary="Render a cluster file",
    response_model=defer(RenderAnswer),
    responses=declare_refusals(400, 404, 413),
)
async def render(asked: RenderAsked, caller: Viewer) -> Response:
    """Render the configuration of a cluster: Kubernetes and what surrounds it."""
    from corral.operations.rendering import render_files

    return await compute(lambda: render_files(asked))


@router.get(
    "/render/targets", summary="List targets", response_model=defer(RenderTargets), responses=declare_refusals()
)
async def list_render_targets(caller: Viewer) -> Response:
    """List all that can be rendered."""
    from corral.operations.rendering import list_targets

    return await compute(list_targets)


@router.post("/lint", summary="Lint files", response_model=defer(LintAnswer), responses=declare_refusals(400, 413))
async def lint(asked: LintAsked, caller: Viewer) -> Response:
    """Lint manifests, Nix, Compose and LiteLLM files, and such blocks in Markdown."""
    from corral.operations.linting import lint_files

    return await compute(lambda: lint_files(asked))


@router.get("/lint/rules", summary="List rules", response_model=defer(LintRules), responses=declare_refusals())
async def list_lint_rules(caller: Viewer) -> Response:
    """List every rule of the linter."""
    from corral.operations.linting import list_rules

    return await compute(list_rules)


@router.get("/lint/rules/{name}", summary="Show a rule", response_model=defer(Rule), responses=declare_refusals(404))
async def show_lint_rule(name: Word, caller: Viewer) -> Response:
    """Show one rule, by its id or its name."""
    from corral.operations.linting import show_rule

    return await compute(lambda: show_rule(name))


@router.post(
    "/upgrade",
    summary="Compare an upgrade",
    response_model=dict[str, JsonValue],
    responses=declare_refusals(400, 404, 413),
)
async def compare(asked: UpgradeAsked, caller: Viewer) -> Response:
    """Report what a change of hardware brings, costs and asks for, and whether to do it."""
    from corral.operations.upgrading import compare_upgrade, record_upgrade

    return await compute(lambda: record_upgrade(compare_upgrade(asked)))


@router.post(
    "/checklist",
    summary="Take up a checklist",
    response_model=defer(ChecklistAnswer),
    responses=declare_refusals(400, 404, 409, 413),
)
async def take_up(asked: ChecklistAsked, api: Here, caller: Viewer) -> Response:
    """List what an upgrade takes, with the answers that this server has kept. Administrators settle items with it."""
    from corral.operations.checklist.answering import take_up_checklist
    from corral.operations.checklist.report import answer_checklist

    if not asked.is_reading:
        require(caller, Role.ADMIN)
    data_dir = api.services.data_dir
    return await compute(lambda: answer_checklist(take_up_checklist(asked, data_dir)))
