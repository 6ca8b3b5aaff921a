"""Voices that owners have created: a file of the artifact store, a name, and the consent of the speaker."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar
from uuid import uuid4

from corral.errors import CorralError, Kind
from corral.tasks.store.audit import Act, Action, append_act
from corral.tasks.store.pool import Pool, Queries, Row
from corral.tasks.values import Sha256
from corral.units import Bytes

MOST_VOICES = 100
"""Of one owner; with OpenAI's 10 MiB for a file, they take a gigabyte at most."""
_LOCK = 0x766F6963  # "voic": the first half of an advisory lock; the other is a hash of the owner


class VoiceExistsError(CorralError):
    """The owner has a voice of that name."""

    code: ClassVar[str] = "voice.exists"
    kind: ClassVar[Kind] = Kind.CONFLICT


class VoiceMissingError(CorralError):
    """There is no such voice, or it is another owner's."""

    code: ClassVar[str] = "voice.missing"
    kind: ClassVar[Kind] = Kind.MISSING


class VoiceQuotaError(CorralError):
    """The owner has as many voices as one can have."""

    code: ClassVar[str] = "voice.quota"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY


@dataclass(frozen=True, slots=True, kw_only=True)
class NewVoice:
    """A voice whose file is stored, and that is not recorded yet."""

    owner: str
    name: str
    consent: str
    """The words with which the speaker agreed."""
    sha256: Sha256
    size: Bytes
    file_name: str
    """The name of the file as it was sent; its ending says what it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice(NewVoice):
    """A voice as it is recorded."""

    id: str
    created_at: datetime


async def create_voice(pool: Pool, new: NewVoice) -> Voice:
    """Record a voice, and who did. Raises: VoiceExistsError, VoiceQuotaError."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("select pg_advisory_xact_lock($1, hashtext($2))", _LOCK, new.owner)
        count: int = await connection.fetchval("select count(*) from voices where owner = $1", new.owner)
        if count >= MOST_VOICES:
            raise VoiceQuotaError(f"{new.owner!r} has {count} voices, which is the most", hint="delete one")
        row = await connection.fetchrow(
            """
            insert into voices (id, owner, name, consent, sha256, size, file_name) values ($1, $2, $3, $4, $5, $6, $7)
            on conflict (owner, name) do nothing returning *
            """,
            f"voice_{uuid4().hex}",
            new.owner,
            new.name,
            new.consent,
            bytes.fromhex(new.sha256),
            new.size,
            new.file_name,
        )
        if row is None:
            hint = "choose another name, or delete that voice"
            raise VoiceExistsError(f"{new.owner!r} has a voice {new.name!r}", where="name", hint=hint)
        voice = _read(row)
        await append_act(connection, _describe_act(Action.VOICE_CREATED, new.owner, voice))
    return voice


async def list_voices(pool: Queries, owner: str) -> tuple[Voice, ...]:
    """List an owner's voices, the oldest first."""
    return tuple(map(_read, await pool.fetch("select * from voices where owner = $1 order by created_at, id", owner)))


async def delete_voice(pool: Pool, voice_id: str, *, by: str, is_admin: bool) -> Voice:
    """Delete a voice of one's own, as an administrator any; its file goes with the next collection.

    Raises: VoiceMissingError.
    """
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            "delete from voices where id = $1 and (owner = $2 or $3) returning *", voice_id, by, is_admin
        )
        if row is None:
            raise VoiceMissingError(f"there is no voice {voice_id!r}", hint="`GET /v1/audio/voices` lists yours")
        voice = _read(row)
        await append_act(connection, _describe_act(Action.VOICE_DELETED, by, voice))
    return voice


def _describe_act(action: Action, by: str, voice: Voice) -> Act:
    details = {"name": voice.name, "of": voice.owner, "consent": voice.consent}
    return Act(owner=by, origin=None, action=action, subject=voice.id, details=details)


def _read(row: Row) -> Voice:
    return Voice(
        id=row["id"],
        owner=row["owner"],
        name=row["name"],
        consent=row["consent"],
        sha256=Sha256(row["sha256"].hex()),
        size=Bytes(row["size"]),
        file_name=row["file_name"],
        created_at=row["created_at"],
    )
