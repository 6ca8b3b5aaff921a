"""Files of jobs that run elsewhere: fetched and delivered by a token that is good for one attempt."""

from __future__ import annotations

import mimetypes
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Query, Request
from starlette.responses import FileResponse, Response

from corral.server.api.errors import declare_refusals
from corral.server.api.fields import LongWord
from corral.server.api.routing import make_router
from corral.server.api.state import Here
from corral.server.auth import NotAuthenticatedError


def _require_token(request: Request) -> None:
    """Refuse a request without a token before anything of it is read. Raises: NotAuthenticatedError."""
    if not _read_token(request):
        raise NotAuthenticatedError("files of a job take its token", hint="send `Authorization: Bearer TOKEN`")


def _read_token(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


router = make_router("attempts", prefix="/corral/v1/attempts/{attempt}", dependencies=[Depends(_require_token)])

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {  # OpenAPI, as FastAPI takes it
    "requestBody": {"required": True, "description": "the file itself", "content": {"*/*": _BINARY}}
}
_FILE: dict[str, Any] = {"description": "the file", "content": {"*/*": _BINARY}}  # as above
Name = Annotated[LongWord, Query(description="the file's path below the folder of inputs or outputs")]


def _check_token(request: Request, api: Here, attempt: UUID) -> None:
    """Return when the request has the attempt's own token; no other token counts here. Raises: JobTokenError."""
    api.services.job_files.check(attempt, _read_token(request))


@router.get(
    "/inputs",
    summary="Fetch an input of a job",
    response_class=Response,
    responses={**declare_refusals(403, 404), 200: _FILE},
)
async def fetch_input(attempt: UUID, name: Name, request: Request, api: Here) -> Response:
    """Fetch a file of the task, as its job; only with the token that the job has."""
    _check_token(request, api, attempt)
    path = api.services.job_files.find_input(attempt, name)
    return FileResponse(path, media_type=mimetypes.guess_type(name)[0] or "application/octet-stream")


@router.put(
    "/outputs",
    status_code=204,
    summary="Deliver an output of a job",
    openapi_extra=_BODY,
    responses=declare_refusals(403, 413, 507),
)
async def deliver_output(attempt: UUID, name: Name, request: Request, api: Here) -> None:
    """Deliver a file that a job has made; only with the token that the job has, and until its attempt has ended."""
    _check_token(request, api, attempt)
    reserve = api.services.cluster.server.disk_reserve
    await api.services.job_files.take_output(attempt, name, request.stream(), limit=api.max_upload, reserve=reserve)
