"""Uploads: bring input files, within a quota, list and delete them."""

from __future__ import annotations

import asyncio
import mimetypes
import re
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import Query, Request

from corral.server.api.auditing import describe_act
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import Digest, Limit, Word
from corral.server.api.routing import make_router
from corral.server.api.schemas import UploadDeleted, UploadEntry, UploadOut, Uploads
from corral.server.api.state import Here, Submitter, Viewer
from corral.server.api.uploading import take_upload
from corral.server.auth import Caller, require_own
from corral.tasks.store.audit import Action
from corral.tasks.store.uploads import (
    Upload,
    delete_upload,
    find_upload,
    list_uploads,
    measure_uploads,
)
from corral.tasks.values import Sha256
from corral.units import Bytes

router = make_router("uploads", prefix="/corral/v1/uploads")

_BINARY = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]+/[a-z0-9.+-]+(; ?charset=[a-zA-Z0-9-]+)?", re.ASCII)
_BODY: dict[str, Any] = {  # OpenAPI, as FastAPI takes it
    "requestBody": {
        "required": True,
        "description": "the file itself",
        "content": {_BINARY: {"schema": {"type": "string", "format": "binary"}}},
    }
}
OwnerName = Annotated[Word | None, Query(description="whose; your own when left out, others as an administrator")]


@router.post("", status_code=201, summary="Upload a file", openapi_extra=_BODY, responses=declare_refusals(413, 507))
async def upload_file(
    request: Request,
    api: Here,
    caller: Submitter,
    name: Annotated[Word, Query(description="a plain file name", pattern=r"^[^/\\]+$")],
) -> UploadOut:
    """Take an input file; tasks name it by the SHA-256 in the answer. The same content is stored and counted once."""
    file = await take_upload(
        api,
        caller.owner,
        request.stream(),
        name=name,
        media_type=_guess_media_type(name, request.headers),
        declared=_read_length(request.headers),
    )
    return UploadOut(sha256=file.sha256, size=file.size, name=file.name, media_type=file.media_type)


@router.get("", summary="List uploads", responses=declare_refusals(), name="list_uploads")
async def list_all(
    api: Here,
    caller: Viewer,
    owner: OwnerName = None,
    cursor: Annotated[Digest | None, Query(description="`next` of the page before; leave out for the first")] = None,
    limit: Limit = 50,
) -> Uploads:
    """List an owner's uploads by checksum, and how much of its quota they take."""
    pool, whose = api.services.pool, _choose_owner(caller, owner)
    page = await list_uploads(pool, whose, after=None if cursor is None else Sha256(cursor), limit=limit)
    return Uploads(
        owner=whose,
        bytes=await measure_uploads(pool, whose),
        quota=api.services.cluster.server.uploads_per_owner,
        items=[_describe(upload) for upload in page],
        next=page[-1].sha256 if len(page) == limit else None,
    )


@router.get("/{sha256}", summary="Show an upload", responses=declare_refusals(404))
async def get_upload(sha256: Digest, api: Here, caller: Submitter) -> UploadOut:
    """Show an upload of your own: a client that was cut off sends only what is not here yet."""
    file = await find_upload(api.services.pool, caller.owner, Sha256(sha256))
    await asyncio.to_thread(api.services.artifacts.locate, file.sha256)
    return UploadOut(sha256=file.sha256, size=file.size, name=file.name, media_type=file.media_type)


@router.delete("/{sha256}", summary="Delete an upload", responses=declare_refusals(404, 409), name="delete_upload")
async def delete(sha256: Digest, api: Here, caller: Submitter, owner: OwnerName = None) -> UploadDeleted:
    """Delete an upload that no open task takes. Ended tasks that took it cannot be retried any more."""
    whose = _choose_owner(caller, owner)
    act = describe_act(caller, Action.UPLOAD_DELETED, sha256, owner=whose)
    is_unnamed = await delete_upload(api.services.pool, whose, Sha256(sha256), act=act)
    freed = await asyncio.to_thread(api.services.artifacts.remove, Sha256(sha256)) if is_unnamed else Bytes(0)
    return UploadDeleted(sha256=sha256, owner=whose, freed=freed)


def _choose_owner(caller: Caller, owner: str | None) -> str:
    """Return whose uploads are meant. Raises: RoleError."""
    chosen = caller.owner if owner is None else owner
    require_own(caller, chosen)
    return chosen


def _describe(upload: Upload) -> UploadEntry:
    return UploadEntry(
        sha256=upload.sha256,
        size=upload.size,
        name=upload.name,
        media_type=upload.media_type,
        created_at=upload.created_at,
        in_use=upload.in_use,
    )


def _read_length(headers: Mapping[str, str]) -> int:
    declared = headers.get("content-length", "")
    return int(declared) if declared.isdecimal() else 0


def _guess_media_type(name: str, headers: Mapping[str, str]) -> str:
    guessed, encoding = mimetypes.guess_type(name)
    if guessed is not None and encoding is None:
        return guessed
    given = headers.get("content-type", "").lower()
    usable = _MEDIA_TYPE.fullmatch(given) and len(given) < 100 and not given.startswith("application/x-www-form")
    return given if usable else _BINARY
