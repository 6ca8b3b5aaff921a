"""Models of servers elsewhere: what each instance has; pulling, placing, deleting, loading and unloading there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response, StreamingResponse

from corral.operations.hosted_models import (
    HostedModelAsked,
    HostedModels,
    InstanceModel,
    InstanceModels,
    LoadAsked,
    delete_hosted_model,
    list_hosted_models,
    load_hosted_model,
    pull_hosted_model,
    unload_hosted_model,
)
from corral.operations.models import DeletedModel
from corral.operations.placing_models import PlaceAsked, PlacedModel, PlacedModels, place_model
from corral.server.api.auditing import record
from corral.server.api.bodies import StrictRoute
from corral.server.api.errors import declare_refusals, request_id_of
from corral.server.api.fields import LongWord
from corral.server.api.routing import make_router
from corral.server.api.state import Admin, ApiState, Here, Viewer
from corral.server.api.stepping import EVENT_STREAM, Accept, stream_steps
from corral.server.api.wired import answer, describe_answers, describe_requests
from corral.server.auth import Caller
from corral.tasks.store.audit import Action
from corral.work import HostedModel, LoadedModel, PullStep

router = make_router("models", prefix="/corral/v1/models/hosted", route_class=StrictRoute)

describe_requests(HostedModelAsked, LoadAsked, PlaceAsked)
describe_answers(
    HostedModels, InstanceModels, InstanceModel, DeletedModel, HostedModel, LoadedModel, PlacedModels, PlacedModel
)

On = Annotated[LongWord | None, Query(description="an instance or its slot; left out: all instances")]


@router.get("", summary="List models of instances", response_model=HostedModels, responses=declare_refusals(404))
async def list_instance_models(api: Here, caller: Viewer, on: On = None) -> Response:
    """List the models that each instance has, and which of them are in memory."""
    return answer(await list_hosted_models(api.services.cluster, api.services.directory, on))


@router.post(
    "/pull",
    summary="Pull a model on an instance",
    response_model=InstanceModel,
    responses=declare_refusals(400, 404, 413, 503),
)
async def pull_instance_model(
    asked: HostedModelAsked, request: Request, api: Here, caller: Admin, accept: Accept = "*/*"
) -> Response:
    """Let the instance fetch a model; the answer comes when it is there.

    With `Accept: text/event-stream` the steps come as events `progress`, and the answer as `done` or `failed`.
    A client that leaves such a stream stops the pull; the next one goes on where it was.
    """
    if EVENT_STREAM not in accept:
        return answer(await _pull(asked, api, caller, lambda _: None))
    stream = stream_steps(lambda on_step: _pull(asked, api, caller, on_step), request_id_of(request))
    return StreamingResponse(stream, media_type=EVENT_STREAM)


@router.post(
    "/place",
    summary="Place a model file for instances",
    response_model=PlacedModels,
    responses=declare_refusals(400, 404, 409, 413, 503),
)
async def place_model_file(
    asked: PlaceAsked, request: Request, api: Here, caller: Admin, accept: Accept = "*/*"
) -> Response:
    """Copy a model file from the store, into which it is pulled first, to the models folders of instances.

    Each copy is verified before it has its name. With `Accept: text/event-stream` the steps come as events, as those of
    a pull.
    """
    if EVENT_STREAM not in accept:
        return answer(await _place(asked, api, caller, lambda _: None))
    stream = stream_steps(lambda on_step: _place(asked, api, caller, on_step), request_id_of(request))
    return StreamingResponse(stream, media_type=EVENT_STREAM)


@router.post(
    "/delete",
    summary="Delete a model from an instance",
    response_model=DeletedModel,
    responses=declare_refusals(400, 404, 413, 503),
)
async def delete_instance_model(asked: HostedModelAsked, api: Here, caller: Admin) -> Response:
    """Delete a model from the disk of the instance."""
    deleted = await delete_hosted_model(api.services.cluster, api.services.directory, asked)
    await record(api, caller, Action.MODEL_DELETED, asked.model, instance=deleted.instance)
    await api.services.refresh_models()
    return answer(deleted)


@router.post(
    "/load",
    summary="Load a model on an instance",
    response_model=InstanceModel,
    responses=declare_refusals(400, 404, 413, 503),
)
async def load_instance_model(asked: LoadAsked, api: Here, caller: Admin) -> Response:
    """Load a model into the memory of the instance, and keep it there; the answer comes when it is loaded."""
    loaded = await load_hosted_model(api.services.cluster, api.services.directory, asked)
    await record(api, caller, Action.MODEL_LOADED, asked.model, instance=loaded.instance)
    return answer(loaded)


@router.post(
    "/unload",
    summary="Unload a model from an instance",
    response_model=InstanceModel,
    responses=declare_refusals(400, 404, 413, 503),
)
async def unload_instance_model(asked: HostedModelAsked, api: Here, caller: Admin) -> Response:
    """Unload a model from the memory of the instance; one that is at work goes when it is done."""
    unloaded = await unload_hosted_model(api.services.cluster, api.services.directory, asked)
    await record(api, caller, Action.MODEL_UNLOADED, asked.model, instance=unloaded.instance)
    return answer(unloaded)


async def _pull(
    asked: HostedModelAsked, api: ApiState, caller: Caller, on_step: Callable[[PullStep], None]
) -> InstanceModel:
    pulled = await pull_hosted_model(api.services.cluster, api.services.directory, asked, on_step)
    await record(api, caller, Action.MODEL_PULLED, asked.model, instance=pulled.instance)
    await api.services.refresh_models()
    return pulled


async def _place(asked: PlaceAsked, api: ApiState, caller: Caller, on_step: Callable[[PullStep], None]) -> PlacedModels:
    placed = await place_model(api.services.cluster, api.services.weights, asked, on_step)
    instances = [item.instance for item in placed.items]
    await record(api, caller, Action.MODEL_PLACED, placed.model, name=placed.name, instances=instances)
    return placed
