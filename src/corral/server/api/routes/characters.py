"""Characters: save, list, show, history, images, remove. An owner has its own; an administrator sees those of all."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Annotated

from fastapi import Query, Request
from pydantic import AfterValidator, Field
from starlette.responses import Response

from corral.cluster.fields import wrong
from corral.server.api.bodies import StrictRoute
from corral.server.api.downloads import download
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import Digest, Limit, Word
from corral.server.api.requests import Asked
from corral.server.api.routing import make_router
from corral.server.api.state import Here, Submitter, Viewer
from corral.server.api.wired import answer, defer, describe_answers
from corral.server.auth import Caller, require_own
from corral.studio.characters.shape import MOST_CHARACTERS, MOST_IMAGES, CharacterFields, CharacterName
from corral.studio.characters.store import (
    find_image,
    get_character,
    list_characters,
    read_history,
    remove_character,
    save_characters,
)
from corral.studio.characters.values import (
    Character,
    CharacterChange,
    CharacterRevision,
    SavedCharacter,
    StoredCharacter,
)
from corral.tasks.values import Sha256
from corral.units import list_some

Revision = Annotated[int, Field(ge=0, le=2**31 - 1)]
Owner = Annotated[Word | None, Query(description="whose; your own when left out, others as an administrator")]


class CharacterAsked(CharacterFields):
    """The whole of a character; what is left out is not set."""

    images: tuple[Digest, ...] = Field(
        default=(), max_length=MOST_IMAGES, description="reference images: uploads by their SHA-256, the best first"
    )
    revision: Revision | None = Field(
        default=None, description="the revision that was changed, 0 where there was none; left out: any"
    )


class NamedCharacterAsked(CharacterAsked):
    """A character among several."""

    name: CharacterName


def _refuse_repeated(characters: list[NamedCharacterAsked]) -> list[NamedCharacterAsked]:
    counts = Counter(character.name for character in characters)
    repeated = [name for name, count in counts.items() if count > 1]
    if repeated:
        raise wrong(f"characters are named twice: {list_some(repeated)}", "send each once")
    return characters


class CharactersAsked(Asked):
    """Characters that are saved together or not at all."""

    characters: Annotated[list[NamedCharacterAsked], AfterValidator(_refuse_repeated)] = Field(
        min_length=1, max_length=MOST_CHARACTERS
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterPage:
    """Characters in the order of their names, and where the list goes on."""

    items: tuple[StoredCharacter, ...]
    next: str | None
    """The cursor of the next page; null at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CharacterHistory:
    """The revisions of a character, the newest first."""

    items: tuple[CharacterRevision, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedCharacters:
    """The result of a change of several characters, in the order in which they were sent."""

    items: tuple[SavedCharacter, ...]


router = make_router("characters", prefix="/corral/v1/characters", route_class=StrictRoute)

describe_answers(Character, StoredCharacter, CharacterPage, CharacterRevision, CharacterHistory)
describe_answers(SavedCharacter, SavedCharacters)


@router.get(
    "",
    summary="List characters",
    response_model=defer(CharacterPage),
    responses=declare_refusals(),
    name="list_characters",
)
async def list_all(
    api: Here,
    caller: Viewer,
    owner: Owner = None,
    cursor: Annotated[Word | None, Query(description="`next` of the page before")] = None,
    limit: Limit = 100,
) -> Response:
    """List an owner's characters in the order of their names."""
    whose = _choose_owner(caller, owner)
    items = await list_characters(api.services.pool, owner=whose, after=cursor, limit=limit)
    return answer(CharacterPage(items=items, next=items[-1].name if len(items) == limit else None))


@router.post(
    "",
    summary="Save characters",
    response_model=defer(SavedCharacters),
    responses=declare_refusals(400, 409, 413),
    name="save_characters",
)
async def save_all(asked: CharactersAsked, api: Here, caller: Submitter) -> Response:
    """Save several of the caller's characters, all or none; those that are like this already stay as they are."""
    changes = [_read_change(character.name, character) for character in asked.characters]
    saved = await save_characters(api.services.pool, owner=caller.owner, by=caller.owner, changes=changes)
    return answer(SavedCharacters(items=saved))


@router.get(
    "/{name}",
    summary="Show a character",
    response_model=defer(StoredCharacter),
    responses=declare_refusals(404),
    name="get_character",
)
async def get(name: CharacterName, api: Here, caller: Viewer, owner: Owner = None) -> Response:
    """Return a character as it is now."""
    return answer(await get_character(api.services.pool, owner=_choose_owner(caller, owner), name=name))


@router.put(
    "/{name}",
    summary="Save a character",
    response_model=defer(SavedCharacter),
    responses=declare_refusals(400, 409, 413),
    name="save_character",
)
async def save(name: CharacterName, asked: CharacterAsked, api: Here, caller: Submitter) -> Response:
    """Save one of the caller's characters; a `revision` that is not the current one is refused with 409."""
    changes = [_read_change(name, asked)]
    (saved,) = await save_characters(api.services.pool, owner=caller.owner, by=caller.owner, changes=changes)
    return answer(saved)


@router.delete(
    "/{name}",
    status_code=204,
    summary="Remove a character",
    responses=declare_refusals(404, 409),
    name="remove_character",
)
async def remove(
    name: CharacterName,
    api: Here,
    caller: Submitter,
    revision: Annotated[int | None, Query(ge=1, le=2**31 - 1, description="the revision that was looked at")] = None,
) -> Response:
    """Remove one of the caller's characters; its history stays, and saving it again goes on with it."""
    await remove_character(api.services.pool, owner=caller.owner, by=caller.owner, name=name, expected=revision)
    return Response(status_code=204)


@router.get(
    "/{name}/history",
    summary="List the revisions of a character",
    response_model=defer(CharacterHistory),
    responses=declare_refusals(404),
    name="list_character_revisions",
)
async def history(name: CharacterName, api: Here, caller: Viewer, owner: Owner = None) -> Response:
    """List a character's revisions, the newest first; those of a removed one, too."""
    whose = _choose_owner(caller, owner)
    return answer(CharacterHistory(items=await read_history(api.services.pool, owner=whose, name=name)))


@router.get(
    "/{name}/images/{sha256}",
    summary="Download a reference image",
    responses=declare_refusals(404, 416),
    response_class=Response,
    name="get_character_image",
)
async def image(
    name: CharacterName, sha256: Digest, request: Request, api: Here, caller: Viewer, owner: Owner = None
) -> Response:
    """Send a reference image of a character, of an earlier revision, too; whole or one range."""
    whose = _choose_owner(caller, owner)
    file = await find_image(api.services.pool, owner=whose, name=name, sha256=Sha256(sha256))
    return download(api.services.artifacts, file, request.headers)


def _read_change(name: str, asked: CharacterAsked) -> CharacterChange:
    words = asked.model_dump(exclude={"name", "images", "revision"})
    images = tuple(map(Sha256, asked.images))
    return CharacterChange(character=Character(name=name, images=images, **words), expected=asked.revision)


def _choose_owner(caller: Caller, owner: str | None) -> str:
    """Return whose characters are meant. Raises: RoleError."""
    chosen = caller.owner if owner is None else owner
    require_own(caller, chosen)
    return chosen
