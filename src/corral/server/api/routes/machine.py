"""Use cases about the machine that the server runs on; they look at it, so they are for administrators."""

from __future__ import annotations

import asyncio
import threading
from typing import Annotated, ClassVar

from fastapi import Query, Request
from starlette.responses import Response

from corral.errors import CorralError, Kind
from corral.operations.doctor import DoctorAnswer, examine, judge_server
from corral.operations.inventory import InventoryAnswer, MergeAnswer, MergeAsked
from corral.operations.load_testing import LoadTestAsked, answer_load_test, watch_gpus
from corral.operations.models import ListedModel, ModelList, ModelPath, PullAsked, find_path, list_models, pull_model
from corral.server.api.bodies import StrictRoute
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import LongWord, Word
from corral.server.api.routes.slots import check_served_lanes, describe_slots
from corral.server.api.routing import make_router
from corral.server.api.state import Admin, Here, Viewer
from corral.server.api.wired import answer, compute, defer, describe_answers, describe_requests
from corral.telemetry.loadtest.running import LoadTestFigures
from corral.wire import to_json

router = make_router("machine", prefix="/corral/v1", route_class=StrictRoute)

describe_requests(MergeAsked, LoadTestAsked, PullAsked)
describe_answers(DoctorAnswer, InventoryAnswer, MergeAnswer, LoadTestFigures, ListedModel, ModelList, ModelPath)


class LoadTestRunsError(CorralError):
    """Another load test runs on this machine."""

    code: ClassVar[str] = "loadtest.runs"
    kind: ClassVar[Kind] = Kind.CONFLICT


_load_test = threading.Lock()
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
async def pull_stored_model(asked: PullAsked, api: Here, caller: Admin) -> Response:
    """Fetch a model, verify it, and keep it; the answer comes when it is there."""
    return answer(await pull_model(api.services.weights, asked, lambda progress: None))


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
