"""The server itself: health, metrics, status, collecting what is past its time."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from starlette.responses import Response

from corral.errors import CorralError, Kind
from corral.operations.reloading import Edit, ReloadAnswer, ReloadAsked
from corral.operations.status import (
    Alarm,
    Disk,
    ListenerStatus,
    QueueStatus,
    SlotStatus,
    StatusAnswer,
    TaskOnSlot,
    describe,
)
from corral.server.api.auditing import describe_act, record
from corral.server.api.bodies import StrictRoute
from corral.server.api.errors import declare_refusals
from corral.server.api.requests import CollectAsked
from corral.server.api.routing import make_router
from corral.server.api.schemas import AlarmOut, CollectedOut, DoorsReady, ErrorOut, Live, Ready
from corral.server.api.state import Admin, Here, Viewer, Visitor
from corral.server.api.wired import answer, defer, describe_answers, describe_requests
from corral.server.observing import observe
from corral.tasks.retention import collect
from corral.tasks.store.audit import Action

router = make_router("server", route_class=StrictRoute)

describe_requests(ReloadAsked)
describe_answers(Alarm, Disk, Edit, ListenerStatus, QueueStatus, ReloadAnswer, SlotStatus, StatusAnswer, TaskOnSlot)


class DoorsClosedError(CorralError):
    """The server stands by while another leads; its doors serve nothing."""

    code: ClassVar[str] = "server.doors_closed"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE
    remedy: ClassVar[str] = "send requests to the server whose `/health/doors` answers 200"


_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


@router.get("/health/live", summary="Is the process alive", responses={500: {"model": ErrorOut}})
async def live() -> Live:
    """Answer as long as the process does; needs no token."""
    return Live()


@router.get("/health/ready", summary="Can the server take work", responses={503: {"model": ErrorOut}})
async def ready(api: Here, visitor: Visitor) -> Ready:
    """Answer 200 when the database does, whether this server's dispatcher acts, and its alarms; needs no token.

    Without one, alarms have only their names and times: their texts can hold names of tables, paths and addresses.
    """
    services = api.services
    await services.pool.fetchval("select 1")
    alarms = [
        AlarmOut(name=alarm.name, since=alarm.since, what=alarm.what, hint=alarm.hint)
        if visitor is not None
        else AlarmOut(name=alarm.name, since=alarm.since)
        for alarm in services.alarms.raised
    ]
    return Ready(dispatcher="leading" if services.board.leading else "standby", alarms=alarms)


@router.get("/health/doors", summary="Does the server serve its doors", responses={503: {"model": ErrorOut}})
async def doors(api: Here) -> DoorsReady:
    """Answer 200 while this server leads: of several on one database only one serves chats; needs no token."""
    if not api.services.board.leading:
        raise DoorsClosedError("this server does not lead, so its doors serve nothing", hint=DoorsClosedError.remedy)
    return DoorsReady()


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={
        **declare_refusals(),
        200: {"description": "Prometheus text format", "content": {_METRICS_TYPE: {"schema": {"type": "string"}}}},
    },
)
async def metrics(api: Here, caller: Viewer) -> Response:
    """Give tasks by queue and state, ends by engine, durations, busy slots, and requests."""
    return Response(await api.metrics.scrape(api.services), headers={"Content-Type": _METRICS_TYPE})


@router.get(
    "/corral/v1/status",
    summary="How the server is",
    response_model=defer(StatusAnswer),
    responses=declare_refusals(),
)
async def status(api: Here, caller: Viewer) -> Response:
    """Describe this server, its queue and its slots, and what needs a person; and for whom the request speaks."""
    services = api.services
    return answer(describe(await observe(services, caller), services.estimate))


@router.post(
    "/corral/v1/reload",
    summary="Put the cluster file into effect",
    response_model=defer(ReloadAnswer),
    responses=declare_refusals(400, 413),
)
async def reload_cluster_file(asked: ReloadAsked, api: Here, caller: Admin) -> Response:
    """Read the server's cluster file again: slots, queues and limits change without a restart, running tasks go on."""
    reloaded = await api.services.in_effect.reload(asked)
    if not asked.dry_run:
        await record(api, caller, Action.CLUSTER_RELOADED, api.services.cluster.name)
    return answer(reloaded)


@router.post(
    "/corral/v1/gc", summary="Collect what is past its time", responses=declare_refusals(400, 413), name="collect"
)
async def collect_garbage(asked: CollectAsked, api: Here, caller: Admin) -> CollectedOut:
    """Delete ended tasks, uploads and files that are older than the cluster file keeps them."""
    services = api.services
    kept = services.cluster.retention
    act = describe_act(caller, Action.GARBAGE_COLLECTED, "", tasks=_days(kept.tasks), artifacts=_days(kept.artifacts))
    collected = await collect(services.pool, services.artifacts, kept, dry_run=asked.dry_run, act=act)
    return CollectedOut(
        dry_run=asked.dry_run,
        tasks=collected.tasks,
        batches=collected.batches,
        outputs=collected.outputs,
        uploads=collected.uploads,
        files=collected.files,
        bytes=collected.bytes,
    )


def _days(age: timedelta | None) -> float | None:
    """Return the days that something is kept; None for ever."""
    return None if age is None else age / timedelta(days=1)
