"""The gallery: pictures that tasks made, their thumbnails, and chosen ones as an archive."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Query
from pydantic import StringConstraints
from starlette.responses import FileResponse, Response, StreamingResponse

from corral.server.api.archives import name_entries, write_archive
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import Digest, Id, Limit, Word
from corral.server.api.routing import make_router
from corral.server.api.state import Here, Viewer
from corral.server.api.wired import answer, defer, describe_answers
from corral.tasks.artifacts import ArtifactMissingError, ArtifactStore
from corral.tasks.store.gallery import Picture, PictureFilter, Place, find_pictures, list_pictures
from corral.tasks.values import Sha256

MOST_IN_ARCHIVE = 500
PlaceText = Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,17}/[^\x00]{1,500}$")]
"""A task and the name of its output: `12/dot.png`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturePage:
    """Pictures, those of the newest tasks first, and where the list goes on."""

    items: tuple[Picture, ...]
    next: str | None
    """The cursor of the next page; null at the end."""


router = make_router("files", prefix="/corral/v1")

describe_answers(Picture, PicturePage)


@router.get(
    "/pictures",
    summary="List pictures",
    response_model=defer(PicturePage),
    responses=declare_refusals(),
    name="list_pictures",
)
async def list_all(
    api: Here,
    caller: Viewer,
    search: Annotated[Word | None, Query(description="a part of the inputs, in any case")] = None,
    model: Annotated[Word | None, Query(description="a part of the model's name, in any case")] = None,
    seed: Annotated[Word | None, Query(description="as the inputs have it")] = None,
    batch: Annotated[Id | None, Query()] = None,
    owner: Annotated[Word | None, Query()] = None,
    cursor: Annotated[PlaceText | None, Query(description="`next` of the page before; leave out for the first")] = None,
    limit: Limit = 100,
) -> Response:
    """List the pictures among the outputs of tasks, those of the newest tasks first."""
    chosen = PictureFilter(search=search, model=model, seed=seed, batch=batch, owner=owner)
    after = None if cursor is None else _read_place(cursor)
    items = await list_pictures(api.services.pool, chosen, after=after, limit=limit)
    last = items[-1] if len(items) == limit else None
    return answer(PicturePage(items=items, next=None if last is None else f"{last.task}/{last.name}"))


@router.get(
    "/pictures/archive",
    summary="Download pictures as an archive",
    response_class=Response,
    responses={**declare_refusals(409), 200: {"description": "a ZIP", "content": {"application/zip": {}}}},
    name="download_pictures",
)
async def archive(
    api: Here,
    caller: Viewer,
    of: Annotated[
        list[PlaceText], Query(max_length=MOST_IN_ARCHIVE, min_length=1, description="tasks and names: `12/dot.png`")
    ],
) -> Response:
    """Download chosen pictures as one ZIP, which is written while it is sent; those that are gone are left out."""
    pictures = await find_pictures(api.services.pool, [_read_place(place) for place in of])
    files = await asyncio.to_thread(_find_files, api.services.artifacts, pictures)
    headers = {"Content-Disposition": 'attachment; filename="pictures.zip"'}
    return StreamingResponse(write_archive(files), media_type="application/zip", headers=headers)


@router.get(
    "/artifacts/{sha256}/thumbnail",
    summary="Show a thumbnail",
    response_class=Response,
    responses={**declare_refusals(404, 409), 200: {"description": "a JPEG", "content": {"image/jpeg": {}}}},
    name="get_thumbnail",
)
async def thumbnail(sha256: Digest, api: Here, caller: Viewer) -> Response:
    """Return a picture as a JPEG of at most 256 pixels a side; it is made once, and kept."""
    await asyncio.to_thread(api.services.artifacts.check, Sha256(sha256))
    path = await api.thumbnails.get(Sha256(sha256))
    return FileResponse(
        path, media_type="image/jpeg", headers={"Cache-Control": "private, immutable, max-age=31536000"}
    )


def _find_files(artifacts: ArtifactStore, pictures: Sequence[Picture]) -> list[tuple[str, Path]]:
    """Return the files of an archive; blocks. Pictures that are gone are left out. Raises: ArtifactDamagedError."""
    files: list[tuple[str, Path]] = []
    names = name_entries([f"{picture.task}-{picture.name}" for picture in pictures])
    for name, picture in zip(names, pictures, strict=True):
        with suppress(ArtifactMissingError):
            files.append((name, artifacts.check(Sha256(picture.sha256))))
    return files


def _read_place(text: PlaceText) -> Place:
    task, _, name = text.partition("/")
    return int(task), name
