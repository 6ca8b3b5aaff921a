"""Files: upload inputs, download outputs and artifacts."""

from __future__ import annotations

import asyncio
import mimetypes
import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Path, Query, Request
from starlette.responses import Response

from corral.errors import CorralError, Kind
from corral.server.api.downloads import download
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import Digest, Id, Word
from corral.server.api.routing import make_router
from corral.server.api.schemas import UploadOut
from corral.server.api.state import Here, Submitter, Viewer
from corral.tasks.store import reading
from corral.tasks.store.controls import record_upload
from corral.tasks.values import Sha256, StoredFile
from corral.units import Bytes

router = make_router("files")

_BINARY = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+(; ?charset=[a-zA-Z0-9-]+)?", re.ASCII)
_BODY: dict[str, Any] = {  # OpenAPI, as FastAPI takes it
    "requestBody": {
        "required": True,
        "description": "the file itself",
        "content": {_BINARY: {"schema": {"type": "string", "format": "binary"}}},
    }
}
_FILE: dict[str, Any] = {  # as above
    "description": "the file",
    "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
}
_PART = {**_FILE, "description": "a range of the file"}


class OutputMissingError(CorralError):
    """The task has no output of that name."""

    code = "output.missing"
    kind = Kind.MISSING


@router.post(
    "/corral/v1/uploads",
    status_code=201,
    summary="Upload a file",
    openapi_extra=_BODY,
    responses=declare_refusals(413, 507),
)
async def upload_file(
    request: Request,
    api: Here,
    caller: Submitter,
    name: Annotated[Word, Query(description="a plain file name", pattern=r"^[^/\\]+$")],
) -> UploadOut:
    """Take an input file; tasks name it by the SHA-256 in the answer. The same content is stored once."""
    content = await api.services.artifacts.receive(request.stream(), limit=api.max_upload)
    file = StoredFile(
        name=name, sha256=content.sha256, size=content.size, media_type=_guess_media_type(name, request.headers)
    )
    await record_upload(api.services.pool, caller.owner, file)
    return UploadOut(sha256=file.sha256, size=file.size, name=file.name, media_type=file.media_type)


@router.get(
    "/corral/v1/tasks/{id}/outputs/{name}",
    summary="Download an output",
    response_class=Response,
    responses={**declare_refusals(404, 409, 416), 200: _FILE, 206: _PART, 304: {"description": "the client has it"}},
)
async def download_output(
    id: Id, name: Annotated[Word, Path(description="as the task lists it")], request: Request, api: Here, caller: Viewer
) -> Response:
    """Download a file that a task made, whole or a range of it."""
    task = await reading.get_task(api.services.pool, id)
    for file in task.outputs:
        if file.name == name:
            await asyncio.to_thread(api.services.artifacts.check, file.sha256)
            return download(api.services.artifacts, file, request.headers)
    made = ", ".join(file.name for file in task.outputs) or "none"
    raise OutputMissingError(f"task {id} ({task.state}) has no output {name!r}", hint=f"its outputs: {made}")


@router.get(
    "/corral/v1/artifacts/{sha256}",
    summary="Download an artifact",
    response_class=Response,
    responses={**declare_refusals(404, 409, 416), 200: _FILE, 206: _PART, 304: {"description": "the client has it"}},
)
async def download_artifact(sha256: Digest, request: Request, api: Here, caller: Viewer) -> Response:
    """Download any stored file by its content's name, whole or a range of it."""
    await asyncio.to_thread(api.services.artifacts.check, Sha256(sha256))
    file = StoredFile(name=sha256, sha256=Sha256(sha256), size=Bytes(0), media_type=_BINARY)
    return download(api.services.artifacts, file, request.headers)


def _guess_media_type(name: str, headers: Mapping[str, str]) -> str:
    guessed, encoding = mimetypes.guess_type(name)
    if guessed is not None and encoding is None:
        return guessed
    given = headers.get("content-type", "").lower()
    usable = _MEDIA_TYPE.fullmatch(given) and len(given) < 100 and not given.startswith("application/x-www-form")
    return given if usable else _BINARY
