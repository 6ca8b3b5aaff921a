"""Use cases about the machine that the server runs on; they look at it, so they are for administrators."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Annotated, ClassVar

from fastapi import Query, Request
from starlette.responses import Response, StreamingResponse

from corral.errors import CorralError, Kind
from corral.operations.doctor import DoctorAnswer, examine, judge_server
from corral.operations.inventory import InventoryAnswer, MergeAnswer, MergeAsked
from corral.operations.load_testing import LoadTestAsked, answer_load_test, watch_gpus
from corral.operations.models import (
    DeletedModel,
    ListedModel,
    ModelList,
    ModelPath,
    PullAsked,
    RemoveAsked,
    find_path,
    list_models,
    pull_model,
    remove_model,
)
from corral.server.api.auditing import record
from corral.server.api.bodies import StrictRoute
from corral.server.api.errors import declare_refusals, request_id_of
from corral.server.api.fields import LongWord, Word
from corral.server.api.routes.slots import check_served_lanes, describe_slots
from corral.server.api.routing import make_router
from corral.server.api.state import Admin, Here, Viewer
from corral.server.api.stepping import EVENT_STREAM, Accept, stream_steps
from corral.server.api.wired import answer, compute, defer, describe_answers, describe_requests
from corral.tasks.store.audit import Action
from corral.telemetry.loadtest.running import LoadTestFigures
from corral.weights.values import Progress
from corral.wire import to_json
from corral.work import PullStep

router = make_router("machine", prefix="/corral/v1", route_class=StrictRoute)

describe_requests(MergeAsked, LoadTestAsked, PullAsked, RemoveAsked)
describe_answers(DoctorAnswer, InventoryAnswer, MergeAnswer, LoadTestFigures, ListedModel, ModelList, ModelPath)


class LoadTestRunsError(CorralError):
    """Another load test runs on this machine."""

    code: ClassVar[str] = "loadtest.runs"
    kind: ClassVar[Kind] = Kind.CONFLICT


_load_test = threading.Lock()


def _describe_step(progress: Progress) -> PullStep:
    words = f"{progress.stage} {progress.source}".strip()
    return PullStep(words=words, done=progress.done or None, total=progress.total)


NodeName = Annotated[Word | None, Query(description="the name of the node; null takes the host name")]
ModelName = Annotated[LongWord, Query(description="a name of the catalogue, `hf:owner/repo/file`, a URL or a path")]


@router.get("/models", summary="List models", response_model=defer(ModelList), responses=declare_refusals())
async def list_stored_models(api: Here, caller: Viewer) -> Response:
    """List the models in the store, and those of the catalogue that can be fetched."""
    return await compute(lambda: list_models(api.services.weights))


@router.post(
    "/models/pull",
    summary="Fetch a model",
    response_model=defer(ListedModel),
    responses=declare_refusals(400, 404, 413, 507),
)
async def pull_stored_model(
    asked: PullAsked, request: Request, api: Here, caller: Admin, accept: Accept = "*/*"
) -> Response:
    """Fetch a model, verify it, and keep it; the answer comes when it is there.

    With `Accept: text/event-stream` the steps come as events `progress`, and the answer as `done` or `failed`. A client
    that leaves such a stream stops the pull; the next one goes on where it was.
    """

    async def pull(on_step: Callable[[PullStep], None]) -> ListedModel:
        pulled = await pull_model(api.services.weights, asked, lambda progress: on_step(_describe_step(progress)))
        await record(api, caller, Action.MODEL_PULLED, pulled.name)
        return pulled

    if EVENT_STREAM not in accept:
        return answer(await pull(lambda _: None))
    return StreamingResponse(stream_steps(pull, request_id_of(request)), media_type=EVENT_STREAM)


@router.post(
    "/models/delete",
    summary="Delete a model",
    response_model=defer(DeletedModel),
    responses=declare_refusals(400, 404, 413),
)
async def delete_stored_model(asked: RemoveAsked, api: Here, caller: Admin) -> Response:
    """Delete a model from the store; of a linked one, the link alone."""
    removed = await remove_model(api.services.weights, asked.model)
    await record(api, caller, Action.MODEL_DELETED, asked.model)
    return answer(removed)


@router.get("/models/path", summary="Find a model", response_model=defer(ModelPath), responses=declare_refusals(404))
async def find_model_path(model: ModelName, api: Here, caller: Admin) -> Response:
    """Return where a model is stored: the file or folder that an engine opens."""
    return await compute(lambda: find_path(api.services.weights, model))


@router.get("/doctor", summary="Examine the machine", response_model=defer(DoctorAnswer), responses=declare_refusals())
async def examine_machine(request: Request, api: Here, caller: Admin) -> Response:
    """Examine the server's machine: GPUs, drivers, engines, database, memory, disk; each finding with its fix."""
    services = api.services
    board = services.board
    slots, lanes = await describe_slots(api), await check_served_lanes(api)
    served = judge_server(
        str(request.base_url).rstrip("/"),
        "leading" if board.leading else "standby",
        slots.model_dump(mode="json")["items"],
        [to_json(alarm) for alarm in services.alarms.raised],
        trusts_loopback=services.trusts_loopback,
        listeners=[to_json(listener) for listener in services.listeners.describe()],
    )
    return await compute(lambda: examine(services.data_dir, (*served, *lanes.items)))


@router.get(
    "/inventory", summary="Take the inventory", response_model=defer(InventoryAnswer), responses=declare_refusals()
)
async def take_machine_inventory(caller: Admin, node: NodeName = None) -> Response:
    """Read the GPUs, processor, memory, drives and power supply of the server's machine."""
    from corral.operations.inventory import answer_inventory, collect_facts, put_name
    from corral.telemetry.inventory import take_inventory

    def take() -> InventoryAnswer:
        taken = take_inventory()
        return answer_inventory(taken, put_name(collect_facts(taken), node))

    return await compute(take)


@router.post(
    "/inventory/merge",
    summary="Merge the inventory",
    response_model=defer(MergeAnswer),
    responses=declare_refusals(400, 404, 413),
)
async def merge_inventory(asked: MergeAsked, caller: Admin) -> Response:
    """Merge the inventory of the server's machine into the text of a cluster file, comments kept."""
    from corral.operations.inventory import answer_merge, collect_facts, merge
    from corral.telemetry.inventory import take_inventory

    return await compute(lambda: answer_merge(merge(asked, collect_facts(take_inventory())), is_written=False))


@router.post(
    "/loadtest",
    summary="Test GPUs under load",
    response_model=defer(LoadTestFigures),
    responses=declare_refusals(400, 404, 409, 413),
)
async def test_gpus(asked: LoadTestAsked, request: Request, api: Here, caller: Admin) -> Response:
    """Watch the GPUs of the server's machine while they work, and judge them; one test at a time.

    The answer comes when the time is over. A client that leaves ends the test. The load is whatever runs: no command
    is taken over HTTP.
    """
    if not _load_test.acquire(blocking=False):
        raise LoadTestRunsError("a load test runs on this machine", hint="wait for its end")
    over = threading.Event()
    testing = asyncio.create_task(
        asyncio.to_thread(watch_gpus, asked, api.services.data_dir, stopped=over.is_set, report=lambda _: None)
    )
    testing.add_done_callback(lambda _: _load_test.release())
    try:
        while not testing.done():
            await asyncio.wait({testing}, timeout=1.0)
            if await request.is_disconnected():
                over.set()
        return answer(answer_load_test(await asyncio.shield(testing)))
    finally:
        over.set()
