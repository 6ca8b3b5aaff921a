"""What this cluster can do: engines and models."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter

from corral.engines.inputs import ENGINES, EngineKind
from corral.server.api.refusals import refusals
from corral.server.api.schemas import EngineOut, Engines, ModelOut, Models
from corral.server.api.state import Api, Here, Viewer
from corral.server.api.submitting import enabled

router = APIRouter(prefix="/corral/v1", tags=["engines and models"])


@router.get("/engines", summary="List engines", responses=refusals())
async def list_engines(api: Here, caller: Viewer) -> Engines:
    """List every engine, the slots where it runs, and the JSON Schema of its inputs."""
    return Engines(items=[_engine(kind, api) for kind in ENGINES.values()])


@router.get("/models", summary="List models", responses=refusals())
async def list_models(api: Here, caller: Viewer) -> Models:
    """List the models in the store."""
    found = await asyncio.to_thread(api.services.weights.list)
    return Models(
        items=[
            ModelOut(
                name=model.name,
                size=model.size,
                licence=model.licence,
                engines=list(model.engines),
                source=model.source,
                pulled_at=model.pulled_at,
            )
            for model in found
        ]
    )


def _engine(kind: EngineKind, api: Api) -> EngineOut:
    slots = api.services.board.slots
    return EngineOut(
        name=kind.name,
        summary=kind.summary,
        enabled=enabled(kind, api.services.cluster),
        slots=[slot.id for slot in slots if kind.name in slot.engines],
        problems={slot.id: slot.engine_problems[kind.name] for slot in slots if kind.name in slot.engine_problems},
        inputs=kind.input_model().model_json_schema(),
    )
