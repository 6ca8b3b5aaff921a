"""Engines: the slots where each runs, and the inputs that it takes."""

from __future__ import annotations

from corral.engine_kinds import ENGINES, EngineKind
from corral.engines.inputs import load_inputs
from corral.server.api.errors import declare_refusals
from corral.server.api.routing import make_router
from corral.server.api.schemas import EngineOut, Engines
from corral.server.api.state import Api, Here, Viewer
from corral.server.api.submitting import is_enabled

router = make_router("engines", prefix="/corral/v1")


@router.get("/engines", summary="List engines", responses=declare_refusals())
async def list_engines(api: Here, caller: Viewer) -> Engines:
    """List every engine, the slots where it runs, and the JSON Schema of its inputs."""
    return Engines(items=[_describe_engine(kind, api) for kind in ENGINES.values()])


def _describe_engine(kind: EngineKind, api: Api) -> EngineOut:
    slots = [slot for place in api.services.board.places for slot in place.slots if slot.spec.engine == kind.name]
    return EngineOut(
        name=kind.name,
        summary=kind.summary,
        enabled=is_enabled(kind, api.services.cluster),
        slots=[slot.spec.id for slot in slots if slot.problem is None],
        problems={slot.spec.id: slot.problem for slot in slots if slot.problem is not None},
        inputs=load_inputs(kind).model_json_schema(),
    )
