"""The values that routes work with, handed to them by FastAPI's dependencies."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends, Header, Request

from corral.gateway.asgi import CONNECTION
from corral.server.api.arriving import ArrivingBytes
from corral.server.api.changes import Changes
from corral.server.api.slot_changes import SlotChanges
from corral.server.api.streams import HEARTBEAT_S, OpenStreams
from corral.server.auth import Caller, NotAuthenticatedError, Role, Session, authenticate, require
from corral.server.connections import Connection, OwnerConnectionsError
from corral.server.keys.failures import FailedKeysError
from corral.server.metrics import Metrics
from corral.server.services import Services
from corral.server.sessions import ForgedRequestError, name_cookie
from corral.server.thumbnails import Thumbnails
from corral.studio.sets.keeper import Keeper
from corral.tasks.store.intake import Intake
from corral.units import Bytes

MAX_UPLOAD = Bytes(10 * 1024**3)
"""Default bound of one uploaded file."""
MAX_KEY = 255
"""Characters of an idempotency key."""
KEY_PATTERN = r"^[\x20-\x7e]+$"


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiState:
    """The services, counters and locks that all requests of one API share."""

    services: Services
    intake: Intake
    changes: Changes
    metrics: Metrics
    slot_changes: SlotChanges
    """Devices, slots and guests as streams show them."""
    thumbnails: Thumbnails
    sets: Keeper
    streams: OpenStreams = field(default_factory=OpenStreams)
    max_upload: Bytes = MAX_UPLOAD
    heartbeat_s: float = HEARTBEAT_S
    large_bodies: asyncio.Lock = field(default_factory=asyncio.Lock)
    """The turn to read a large body: what it describes can take many times its bytes in memory."""
    arriving: ArrivingBytes = field(default_factory=ArrivingBytes)
    uploaded_batches: asyncio.Lock = field(default_factory=asyncio.Lock)
    """The turn to take a batch whose tasks are uploaded: its outline is in memory until it is stored."""
    backups: asyncio.Lock = field(default_factory=asyncio.Lock)
    """The turn to make a backup: each holds a dump of the database on the disk."""


async def api_of(request: Request) -> ApiState:  # not for waiting: FastAPI gives plain functions to a thread
    """Return the API that serves the request."""
    return cast("ApiState", request.app.state.api)  # set by `create_app`; Starlette's state is untyped


async def caller_of(request: Request, api: Annotated[ApiState, Depends(api_of)]) -> Caller:
    """Return whom the request speaks for; it is looked up once for each request.

    Raises: FailedKeysError, ForgedRequestError, NotAuthenticatedError, OwnerConnectionsError.
    """
    known: Caller | None = getattr(request.state, "caller", None)
    if known is not None:
        return known
    caller = await authenticate_request(request, api)
    connection: Connection | None = request.scope.get(CONNECTION)
    if connection is not None:  # a test can serve the application otherwise
        connection.count_for(caller.owner, api.services.cluster.server.connections_per_owner)
    request.state.caller = caller
    return caller


async def authenticate_request(request: Request, api: ApiState) -> Caller:
    """Return whom the request speaks for now.

    Raises: FailedKeysError, ForgedRequestError, NotAuthenticatedError.
    """
    services = api.services
    secret = request.cookies.get(name_cookie(services.cluster.name)) if "cookie" in request.headers else None
    return await authenticate(
        request.headers,
        keys=services.keys,
        local_token=services.local_token,
        loopback=services.trusts_loopback,
        origin=request.client.host if request.client else None,
        session=Session(secret, request.method) if secret else None,
    )


async def _viewer(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
    return caller


async def _submitter(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
    require(caller, Role.SUBMITTER)
    return caller


async def _admin(caller: Annotated[Caller, Depends(caller_of)]) -> Caller:
    require(caller, Role.ADMIN)
    return caller


async def _visitor(request: Request, api: Annotated[ApiState, Depends(api_of)]) -> Caller | None:
    try:
        return await caller_of(request, api)
    except (FailedKeysError, ForgedRequestError, NotAuthenticatedError, OwnerConnectionsError):
        return None


Here = Annotated[ApiState, Depends(api_of)]
Visitor = Annotated[Caller | None, Depends(_visitor)]
"""The caller; None without a usable token."""
Viewer = Annotated[Caller, Depends(_viewer)]
"""The caller, who can at least look."""
Submitter = Annotated[Caller, Depends(_submitter)]
"""The caller, who can at least submit."""
Admin = Annotated[Caller, Depends(_admin)]
"""The caller, who can do everything."""
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_KEY,
        pattern=KEY_PATTERN,
        description="of your choice; sending the same request with the same key again changes nothing",
    ),
]
