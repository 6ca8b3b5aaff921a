"""The stream of events."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Query, Request
from starlette.responses import Response

from corral.server.api.changes import Subject
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import EventId, Id
from corral.server.api.routing import make_router
from corral.server.api.state import Here, Viewer, authenticate_request
from corral.server.api.streams import EventStream, Sources
from corral.server.auth import NotAuthenticatedError
from corral.server.keys.failures import FailedKeysError
from corral.server.sessions import ForgedRequestError
from corral.tasks.store import reading, story

router = make_router("events", prefix="/corral/v1/events")


@router.get(
    "",
    summary="Follow events",
    response_class=Response,
    responses={
        **declare_refusals(404, 429),
        200: {"description": "server-sent events", "content": {"text/event-stream": {"schema": {"type": "string"}}}},
    },
)
async def follow_events(
    request: Request,
    api: Here,
    caller: Viewer,
    task: Annotated[Id | None, Query(description="only of this task")] = None,
    batch: Annotated[Id | None, Query(description="only of this batch")] = None,
    after: Annotated[EventId | None, Query(description="story after this line; from now on when left out")] = None,
    slots: Annotated[bool, Query(description="also `slots`: devices, slots, guests, as they change")] = False,
    last_event_id: Annotated[EventId | None, Header(alias="Last-Event-ID", description="as `after`, first")] = None,
) -> Response:
    """Stream the story (`id`, resumable) and, without ids, `progress` and `preview` of running tasks.

    With `slots`, events of that name are `SlotsChanged`, everything at first, then changes; and `begun` comes first,
    with the id of the line after which the story begins.
    """
    most = api.services.cluster.server.streams_per_owner
    api.streams.refuse_when_full(caller.owner, most=most)  # before any query
    pool = api.services.pool
    if task is not None:
        await reading.get_task(pool, task)
    if batch is not None:
        await reading.get_batch(pool, batch)
    resumed = last_event_id if last_event_id is not None else after
    start = resumed if resumed is not None else await story.read_horizon(pool)

    async def is_allowed() -> bool:
        try:
            await authenticate_request(request, api)
        except (FailedKeysError, ForgedRequestError, NotAuthenticatedError):
            return False
        return True

    sources = Sources(
        changes=api.changes,
        board=api.services.board,
        owner=caller.owner,
        most_of_owner=most,
        streams=api.streams,
        heartbeat_s=api.heartbeat_s,
        slots=api.slot_changes if slots else None,
        is_allowed=is_allowed,
    )
    return EventStream(Subject(task=task, batch=batch), sources, after=start)
