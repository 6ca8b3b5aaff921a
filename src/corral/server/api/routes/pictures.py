"""The gallery: pictures that tasks made, their thumbnails, decisions about them, and archives and data sets of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

from fastapi import Depends, Query
from starlette.responses import FileResponse, Response, StreamingResponse

from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.server.api.archives import name_entries, write_archive
from corral.server.api.bodies import StrictRoute
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import Digest, Id, Labels, Limit, Word, read_labels
from corral.server.api.requests import MOST_PICTURES, DecisionAsked, PlaceText
from corral.server.api.routing import make_router
from corral.server.api.state import ApiState, Here, Submitter, Viewer
from corral.server.api.wired import answer, compute, defer, describe_answers, to_json
from corral.server.auth import require_own
from corral.studio.data_sets import MANIFEST, DataSet, DataSetPicture, make_data_set
from corral.studio.sets.store import reject_outputs
from corral.tasks.artifacts import ArtifactMissingError, ArtifactStore
from corral.tasks.store.gallery import (
    Decision,
    Picture,
    PictureFilter,
    Place,
    decide_pictures,
    find_pictures,
    list_pictures,
)
from corral.tasks.values import Sha256

MOST_IN_DATA_SET = 20_000


class PicturesMissingError(ProblemsError):
    """Pictures that are named are none, or gone."""

    code = "pictures.missing"
    kind = Kind.MISSING


class DataSetTooLargeError(CorralError):
    """There are more pictures than one data set can have."""

    code: ClassVar[str] = "pictures.too_many"
    kind: ClassVar[Kind] = Kind.INVALID


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturePage:
    """Pictures, those of the newest tasks first, and where the list goes on."""

    items: tuple[Picture, ...]
    next: str | None
    """The cursor of the next page; null at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedPictures:
    """Pictures as they are after a decision, in the order in which they were named."""

    items: tuple[Picture, ...]


router = make_router("files", prefix="/corral/v1", route_class=StrictRoute)

describe_answers(Picture, PicturePage, DecidedPictures, DataSet, DataSetPicture)


async def _choose(
    search: Annotated[Word | None, Query(description="a part of the inputs, in any case")] = None,
    model: Annotated[Word | None, Query(description="a part of the model's name, in any case")] = None,
    seed: Annotated[Word | None, Query(description="as the inputs have it")] = None,
    batch: Annotated[Id | None, Query()] = None,
    owner: Annotated[Word | None, Query()] = None,
    label: Labels = None,
    decision: Annotated[list[Decision] | None, Query(max_length=3, description="any of these")] = None,
    decided: Annotated[bool | None, Query(description="whether there is a decision")] = None,
) -> PictureFilter:
    return PictureFilter(
        search=search,
        model=model,
        seed=seed,
        batch=batch,
        owner=owner,
        labels=read_labels(label),
        decisions=decision,
        decided=decided,
    )


Chosen = Annotated[PictureFilter, Depends(_choose)]
Trigger = Annotated[Word | None, Query(description="a word that every caption begins with")]


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
    chosen: Chosen,
    cursor: Annotated[PlaceText | None, Query(description="`next` of the page before; leave out for the first")] = None,
    limit: Limit = 100,
) -> Response:
    """List the pictures among the outputs of tasks, those of the newest tasks first."""
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
        list[PlaceText], Query(max_length=MOST_PICTURES, min_length=1, description="tasks and names: `12/dot.png`")
    ],
) -> Response:
    """Download chosen pictures as one ZIP, which is written while it is sent; those that are gone are left out."""
    pictures = await find_pictures(api.services.pool, [_read_place(place) for place in of])
    files = await asyncio.to_thread(_find_files, api.services.artifacts, pictures)
    headers = {"Content-Disposition": 'attachment; filename="pictures.zip"'}
    return StreamingResponse(write_archive(files), media_type="application/zip", headers=headers)


@router.post(
    "/pictures/decisions",
    summary="Decide about pictures",
    response_model=defer(DecidedPictures),
    responses=declare_refusals(400, 404, 413),
    name="decide_pictures",
)
async def decide(asked: DecisionAsked, api: Here, caller: Submitter) -> Response:
    """Store what the caller decided about pictures of his own; all of it or nothing.

    A set makes an accepted picture of its own again, with another seed, where the decision is `reject`.
    """
    places = [_read_place(place) for place in asked.of]
    pictures = await find_pictures(api.services.pool, places)
    known = {(picture.task, picture.name) for picture in pictures}
    missing = [place for place in asked.of if _read_place(place) not in known]
    if missing:
        what = "no task has a picture of this name"
        raise PicturesMissingError(
            [Problem(code=PicturesMissingError.code, what=what, where=place) for place in missing]
        )
    for owner in {picture.owner for picture in pictures}:
        require_own(caller, owner)
    async with api.services.pool.acquire() as connection, connection.transaction():
        await decide_pictures(connection, places, decision=asked.decision, note=asked.note, by=caller.owner)
        is_remade = asked.decision is Decision.REJECT and await reject_outputs(connection, places)
    if is_remade:
        api.sets.wake()
    return answer(DecidedPictures(items=await find_pictures(api.services.pool, places)))


@router.get(
    "/pictures/data-set",
    summary="List pictures as a data set",
    response_model=defer(DataSet),
    responses=declare_refusals(400),
    name="describe_data_set",
)
async def describe_data_set(api: Here, caller: Viewer, chosen: Chosen, trigger: Trigger = None) -> Response:
    """Return the manifest of a data set of pictures with captions, in the order of their tasks."""
    pictures = await _read_all(api, chosen)
    return await compute(lambda: make_data_set(pictures, trigger=trigger))


@router.get(
    "/pictures/data-set/archive",
    summary="Download pictures as a data set",
    response_class=Response,
    responses={**declare_refusals(400, 409), 200: {"description": "a ZIP", "content": {"application/zip": {}}}},
    name="download_data_set",
)
async def archive_data_set(api: Here, caller: Viewer, chosen: Chosen, trigger: Trigger = None) -> Response:
    """Download a data set as one ZIP: pictures, captions next to them, and the manifest; 409 where a file is gone."""
    pictures = await _read_all(api, chosen)
    made = await asyncio.to_thread(make_data_set, pictures, trigger=trigger)
    files = await asyncio.to_thread(_list_contents, api.services.artifacts, made)
    headers = {"Content-Disposition": 'attachment; filename="data-set.zip"'}
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


async def _read_all(api: ApiState, chosen: PictureFilter) -> tuple[Picture, ...]:
    """Read all pictures that are chosen. Raises: DataSetTooLargeError."""
    pictures = await list_pictures(api.services.pool, chosen, limit=MOST_IN_DATA_SET + 1)
    if len(pictures) > MOST_IN_DATA_SET:
        raise DataSetTooLargeError(
            f"more than {MOST_IN_DATA_SET:,} pictures are chosen", hint="choose by `decision`, `label` or `batch`"
        )
    return pictures


def _list_contents(artifacts: ArtifactStore, made: DataSet) -> list[tuple[str, Path | bytes]]:
    """Return what an archive of a data set has; blocks. Raises: ArtifactDamagedError, ArtifactMissingError."""
    contents: list[tuple[str, Path | bytes]] = []
    for picture in made.pictures:
        contents.append((picture.file, artifacts.check(Sha256(picture.sha256))))
        if picture.caption is not None and picture.caption_file is not None:
            contents.append((picture.caption_file, f"{picture.caption}\n".encode()))
    return [*contents, (MANIFEST, json.dumps(to_json(made), ensure_ascii=False, indent=2).encode())]


def _find_files(artifacts: ArtifactStore, pictures: Sequence[Picture]) -> list[tuple[str, Path | bytes]]:
    """Return the files of an archive; blocks. Pictures that are gone are left out. Raises: ArtifactDamagedError."""
    files: list[tuple[str, Path | bytes]] = []
    names = name_entries([f"{picture.task}-{picture.name}" for picture in pictures])
    for name, picture in zip(names, pictures, strict=True):
        with suppress(ArtifactMissingError):
            files.append((name, artifacts.check(Sha256(picture.sha256))))
    return files


def _read_place(text: PlaceText) -> Place:
    task, _, name = text.partition("/")
    return int(task), name
