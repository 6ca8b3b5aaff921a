"""Characters in the database: each change is a revision that stays, and each character is its owner's.

Reference images are kept as long as any revision can name them, whether or not their uploads are deleted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.studio.characters.values import (
    Character,
    CharacterChange,
    CharacterRevision,
    SavedCharacter,
    StoredCharacter,
)
from corral.tasks.store.pool import Connection, Pool, Queries, Row
from corral.tasks.values import Sha256, StoredFile
from corral.units import Bytes
from corral.wire import to_json
from corral.work import Json

_LOCK = 0x63686172  # "char": the first half of an advisory lock; the other is a hash of the owner
_CURRENT = """
select c.id, c.name, c.owner, r.revision, r.content, r.changed_by, r.changed_at, array(
  select i.name from jsonb_array_elements_text(r.content->'images') with ordinality named(sha256, place)
  join character_images i on i.owner = c.owner and i.sha256 = decode(named.sha256, 'hex') order by place) as image_names
from characters c join character_revisions r on r.character_id = c.id and r.revision = c.revision
"""


class CharacterMissingError(CorralError):
    """There is no such character, or it is another owner's."""

    code: ClassVar[str] = "character.missing"
    kind: ClassVar[Kind] = Kind.MISSING


class CharacterChangedError(ProblemsError):
    """Characters were changed since they were read; `problems` names each."""

    code: ClassVar[str] = "character.changed"
    kind: ClassVar[Kind] = Kind.CONFLICT


class CharacterImageError(ProblemsError):
    """Reference images are not among the owner's uploads; `problems` names each."""

    code: ClassVar[str] = "character.image"


@dataclass(frozen=True, slots=True)
class _Known:
    id: int
    revision: int
    content: Mapping[str, Json] | None


async def save_characters(
    pool: Pool, *, owner: str, by: str, changes: Sequence[CharacterChange]
) -> tuple[SavedCharacter, ...]:
    """Save characters, all or none; one that is like this already gets no revision.

    Raises: CharacterChangedError, CharacterImageError.
    """
    contents = {change.character.name: _make_content(change.character) for change in changes}
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1, hashtext($2))", _LOCK, owner)
        known = await _read_known(connection, owner, [*contents])
        new = [
            change
            for change in changes
            if (before := known.get(change.character.name)) is None or before.content != contents[change.character.name]
        ]
        _refuse_stale(new, known)
        await _keep_images(connection, owner, new)
        for change in new:
            name = change.character.name
            await _add_revision(connection, owner, name, known.get(name), contents[name], by)
    saved = {change.character.name for change in new}
    return tuple(
        SavedCharacter(
            name=name,
            revision=(known[name].revision if name in known else 0) + (name in saved),
            changed=name in saved,
        )
        for name in contents
    )


async def remove_character(pool: Pool, *, owner: str, by: str, name: str, expected: int | None = None) -> None:
    """Remove a character; its history stays. Raises: CharacterMissingError, CharacterChangedError."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1, hashtext($2))", _LOCK, owner)
        before = (await _read_known(connection, owner, [name])).get(name)
        if before is None or before.content is None:
            raise _missing(name)
        _refuse_stale([CharacterChange(character=Character(name=name), expected=expected)], {name: before})
        await _add_revision(connection, owner, name, before, None, by)


async def list_characters(
    pool: Queries, *, owner: str, after: str | None = None, limit: int | None = None
) -> tuple[StoredCharacter, ...]:
    """Return an owner's characters in the order of their names; `after` is the last one of the page before."""
    rows = await pool.fetch(
        f'{_CURRENT} where c.owner = $1 and r.content is not null and ($2::text is null or c.name collate "C" > $2)'
        ' order by c.name collate "C" limit $3',
        owner,
        after,
        limit,
    )
    return tuple(map(_read_stored, rows))


async def get_character(pool: Queries, *, owner: str, name: str) -> StoredCharacter:
    """Return one character of an owner. Raises: CharacterMissingError."""
    row = await pool.fetchrow(f"{_CURRENT} where c.owner = $1 and c.name = $2 and r.content is not null", owner, name)
    if row is None:
        raise _missing(name)
    return _read_stored(row)


async def read_history(pool: Queries, *, owner: str, name: str) -> tuple[CharacterRevision, ...]:
    """Return the revisions of a character, the newest first; those of a removed one, too.

    Raises: CharacterMissingError.
    """
    rows = await pool.fetch(
        """
        select c.name, r.* from characters c join character_revisions r on r.character_id = c.id
        where c.owner = $1 and c.name = $2 order by r.revision desc
        """,
        owner,
        name,
    )
    if not rows:
        raise _missing(name)
    return tuple(
        CharacterRevision(
            revision=row["revision"],
            character=None if row["content"] is None else _read_character(name, row["content"]),
            changed_by=row["changed_by"],
            changed_at=row["changed_at"],
        )
        for row in rows
    )


async def find_image(pool: Queries, *, owner: str, name: str, sha256: Sha256) -> StoredFile:
    """Find an image that a revision of a character names. Raises: CharacterMissingError."""
    row = await pool.fetchrow(
        """
        select name, size, media_type from character_images where owner = $1 and sha256 = decode($3, 'hex') and exists (
          select from characters c join character_revisions r on r.character_id = c.id
          where c.owner = $1 and c.name = $2 and r.content->'images' ? $3)
        """,
        owner,
        name,
        sha256,
    )
    if row is None:
        what = f"the character {name!r} has no image {sha256}"
        raise CharacterMissingError(what, hint="`corral characters show NAME` lists a character's images")
    return StoredFile(name=row["name"], sha256=sha256, size=Bytes(row["size"]), media_type=row["media_type"])


async def _read_known(connection: Queries, owner: str, names: Sequence[str]) -> dict[str, _Known]:
    rows = await connection.fetch(f"{_CURRENT} where c.owner = $1 and c.name = any($2::text[])", owner, names)
    return {row["name"]: _Known(row["id"], row["revision"], row["content"]) for row in rows}


def _refuse_stale(changes: Sequence[CharacterChange], known: Mapping[str, _Known]) -> None:
    problems: list[Problem] = []
    for change in changes:
        name = change.character.name
        before = known.get(name)
        # A removed character is one that is not there yet: 0 makes it again.
        current = before.revision if before is not None and before.content is not None else 0
        if change.expected not in (None, current, before.revision if before is not None else 0):
            what = f"the character {name!r} has revision {current} by now, not {change.expected}"
            problems.append(Problem(code=CharacterChangedError.code, what=what, where=name, hint=_READ_AGAIN))
    if problems:
        raise CharacterChangedError(problems)


_READ_AGAIN = "read it again, and apply the change to what it is now"


async def _keep_images(connection: Connection, owner: str, changes: Sequence[CharacterChange]) -> None:
    """Keep the uploads that these name. Raises: CharacterImageError."""
    digests = [bytes.fromhex(digest) for digest in {image for change in changes for image in change.character.images}]
    await connection.execute(
        """
        insert into character_images (owner, sha256, name, size, media_type)
        select owner, sha256, name, size, media_type from uploads where owner = $1 and sha256 = any($2::bytea[])
        for key share on conflict (owner, sha256) do nothing
        """,
        owner,
        digests,
    )
    rows = await connection.fetch(
        "select sha256 from character_images where owner = $1 and sha256 = any($2::bytea[])", owner, digests
    )
    kept = {row["sha256"].hex() for row in rows}
    problems = [
        Problem(
            code=CharacterImageError.code,
            what=f"{owner!r} has no upload {image}",
            where=f"{change.character.name}.images[{index}]",
            hint="upload it before",
        )
        for change in changes
        for index, image in enumerate(change.character.images)
        if image not in kept
    ]
    if problems:
        raise CharacterImageError(problems)


async def _add_revision(
    connection: Connection, owner: str, name: str, before: _Known | None, content: Json, by: str
) -> None:
    revision = 1 if before is None else before.revision + 1
    character: int = await connection.fetchval(
        """
        insert into characters (owner, name, revision) values ($1, $2, $3)
        on conflict (owner, name) do update set revision = excluded.revision returning id
        """,
        owner,
        name,
        revision,
    )
    await connection.execute(
        "insert into character_revisions (character_id, revision, content, changed_by) values ($1, $2, $3, $4)",
        character,
        revision,
        content,
        by,
    )


def _make_content(character: Character) -> dict[str, Json]:
    content: dict[str, Json] = to_json(character)
    return {name: value for name, value in content.items() if name != "name"}


def _read_character(name: str, content: Mapping[str, Json]) -> Character:
    return Character(name=name, **_read_content(content))


def _read_stored(row: Row) -> StoredCharacter:
    names = ("name", "owner", "revision", "changed_by", "changed_at")
    facts: dict[str, Any] = {name: row[name] for name in names}  # of `StoredCharacter`
    return StoredCharacter(**facts, **_read_content(row["content"]), image_names=tuple(row["image_names"]))


def _read_content(content: Mapping[str, Json]) -> dict[str, Any]:  # of `Character`
    return {**content, "images": tuple(content["images"])}


def _missing(name: str) -> CharacterMissingError:
    hint = "`corral characters list` shows those there are"
    return CharacterMissingError(f"there is no character {name!r} of yours", hint=hint)
