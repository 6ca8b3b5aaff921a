"""Engines: the slots where each runs, the inputs that it takes, and what its instances have."""

from __future__ import annotations

from typing import ClassVar

from starlette.responses import Response

from corral.engine_facts import EngineKind
from corral.engine_kinds import ENGINES
from corral.engines.converting import convert_workflow
from corral.engines.inputs import check_inputs, load_inputs
from corral.engines.narrowing import strip_credentials
from corral.engines.surveying import InstanceReport
from corral.errors import CorralError, Kind, Problem, ProblemsError, did_you_mean
from corral.operations.placing_models import PlacedNeeds, UnplacedFile, place_needed
from corral.server.api.accepting import is_enabled
from corral.server.api.auditing import record
from corral.server.api.bodies import StrictRoute
from corral.server.api.engine_schemas import (
    EngineOut,
    Engines,
    FileRuleOut,
    InstanceCheck,
    InstanceChecks,
    WorkflowOut,
)
from corral.server.api.errors import declare_refusals
from corral.server.api.instances import find_lacking_files, survey
from corral.server.api.requests import CheckAsked, ConvertAsked
from corral.server.api.routing import make_router
from corral.server.api.schemas import ProblemOut
from corral.server.api.state import Admin, ApiState, Here, Submitter, Viewer
from corral.server.api.strict_json import MAX_PROBLEMS
from corral.server.api.wired import answer, describe_answers
from corral.tasks.store.audit import Action

router = make_router("engines", prefix="/corral/v1", route_class=StrictRoute)

describe_answers(PlacedNeeds, UnplacedFile)


class EngineMissingError(CorralError):
    """There is no such engine."""

    code: ClassVar[str] = "engine.missing"
    kind: ClassVar[Kind] = Kind.MISSING


@router.get("/engines", summary="List engines", responses=declare_refusals())
async def list_engines(api: Here, caller: Viewer) -> Engines:
    """List every engine, the slots where it runs, and the JSON Schema of its inputs."""
    return Engines(items=[_describe_engine(kind, api) for kind in ENGINES.values()])


@router.post("/engines/{name}/check", summary="Check instances", responses=declare_refusals(400, 404, 413, 422))
async def check_instances(name: str, asked: CheckAsked, api: Here, caller: Submitter) -> InstanceChecks:
    """Compare what a task needs (node types, model files) with what each instance of its engine has."""
    kind = _find_kind(name)
    problems = check_inputs(name, asked.inputs)
    if problems:
        raise ProblemsError(problems)
    reports = await survey(api.services, kind, asked.inputs)
    return InstanceChecks(items=[_describe_report(report) for report in reports])


@router.post("/engines/{name}/convert", summary="Convert a workflow", responses=declare_refusals(400, 404, 413, 422))
async def convert(name: str, asked: ConvertAsked, api: Here, caller: Submitter) -> WorkflowOut:
    """Convert a workflow of the engine's editor to what tasks take, with an instance's node types."""
    kind = _find_kind(name)
    settings = api.services.cluster.engines.get(name)
    conversion = await convert_workflow(
        kind, settings, asked.workflow, instance=asked.instance, directory=api.services.directory
    )
    notes = [_describe_problem(note) for note in conversion.converted.notes]
    return WorkflowOut(instance=conversion.instance, workflow=conversion.converted.workflow, notes=notes)


@router.post(
    "/engines/{name}/place",
    summary="Place model files for a workflow",
    response_model=PlacedNeeds,
    responses=declare_refusals(400, 404, 409, 413, 422),
)
async def place_needed_files(name: str, asked: CheckAsked, api: Here, caller: Admin) -> Response:
    """Copy the model files that instances lack for a task from the store to their models folders, each verified.

    The answer comes when all are there.
    """
    kind = _find_kind(name)
    problems = check_inputs(name, asked.inputs)
    if problems:
        raise ProblemsError(problems)
    lacking = await find_lacking_files(api.services, kind, asked.inputs)
    placed = await place_needed(api.services.cluster, api.services.weights, lacking)
    for item in placed.items:
        await record(api, caller, Action.MODEL_PLACED, str(item.path), instances=[item.instance])
    return answer(placed)


def _find_kind(name: str) -> EngineKind:
    kind = ENGINES.get(name)
    if kind is None:
        raise EngineMissingError(f"no engine is called {name!r}", hint=did_you_mean(name, ENGINES))
    return kind


def _describe_report(report: InstanceReport) -> InstanceCheck:
    lacks = [problem for problems in report.missing for problem in problems]
    return InstanceCheck(
        instance=report.instance.name,
        url=None if report.url is None else strip_credentials(report.url),
        missing=[_describe_problem(problem) for problem in lacks[:MAX_PROBLEMS]],
        left_out=len(lacks[MAX_PROBLEMS:]),
        away=None if report.away is None else _describe_problem(report.away),
    )


def _describe_problem(problem: Problem) -> ProblemOut:
    return ProblemOut(code=problem.code, what=problem.what, where=problem.where, hint=problem.hint)


def _describe_engine(kind: EngineKind, api: ApiState) -> EngineOut:
    slots = [slot for place in api.services.board.places for slot in place.slots if slot.spec.engine == kind.name]
    return EngineOut(
        name=kind.name,
        summary=kind.summary,
        enabled=is_enabled(kind, api.services.cluster),
        slots=[slot.spec.id for slot in slots if slot.problem is None],
        problems={slot.spec.id: slot.problem for slot in slots if slot.problem is not None},
        inputs=load_inputs(kind).model_json_schema(),
        needs_model=kind.needs_model,
        admin_only=kind.admin_only,
        text_input=kind.text_input,
        seed_input=kind.seed_input,
        object_inputs=list(kind.object_inputs),
        files=FileRuleOut(minimum=kind.files.minimum, maximum=kind.files.maximum, summary=kind.files.summary),
    )
