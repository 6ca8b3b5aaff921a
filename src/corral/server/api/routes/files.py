"""Files: download outputs and artifacts."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import Path, Request
from starlette.responses import Response

from corral.errors import CorralError, Kind
from corral.server.api.downloads import download
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import Digest, Id, Word
from corral.server.api.routing import make_router
from corral.server.api.state import Here, Viewer
from corral.tasks.store import reading
from corral.tasks.values import Sha256, StoredFile
from corral.units import Bytes

router = make_router("files")

_BINARY = "application/octet-stream"
_FILE: dict[str, Any] = {  # OpenAPI, as FastAPI takes it
    "description": "the file",
    "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
}
_PART = {**_FILE, "description": "a range of the file"}


class OutputMissingError(CorralError):
    """The task has no output of that name."""

    code = "output.missing"
    kind = Kind.MISSING


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
