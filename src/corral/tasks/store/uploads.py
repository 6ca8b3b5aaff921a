"""Input files that owners brought: what each keeps, within its quota, until it is deleted or past its time.

An upload is a row for each owner of a content; the file is there once. Tasks name contents, and keep them as long as
they are there themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.tasks.store.audit import Act, append_act
from corral.tasks.store.pool import Connection, Pool, Queries
from corral.tasks.values import Sha256, StoredFile
from corral.units import Bytes, format_bytes, list_some

_QUOTA = 0x75706C64  # "upld": the first half of an advisory lock; the other is a hash of the owner
_NAMED_TASKS = 100
"""Tasks that are read to say who uses an upload."""


class UploadQuotaError(CorralError):
    """An owner would keep more bytes of uploads than the cluster file allows."""

    code: ClassVar[str] = "upload.quota"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY


class UploadMissingError(CorralError):
    """The owner has no upload with this checksum."""

    code: ClassVar[str] = "upload.missing"
    kind: ClassVar[Kind] = Kind.MISSING


class UploadInUseError(CorralError):
    """A task that has not ended takes the upload."""

    code: ClassVar[str] = "upload.in_use"
    kind: ClassVar[Kind] = Kind.CONFLICT


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload(StoredFile):
    """An upload as its owner has it."""

    owner: str
    created_at: datetime
    in_use: bool
    """Whether a task that has not ended takes it."""


def refuse_over_quota(owner: str, size: int, quota: Bytes) -> None:
    """Return when an owner can have so many bytes. Raises: UploadQuotaError."""
    if size > quota:
        raise UploadQuotaError(
            f"{owner!r} would have {format_bytes(size)} of uploads; {format_bytes(quota)} are allowed",
            hint="delete some with `corral uploads rm`, or raise `server.limits.perOwner.uploads` in the cluster file",
        )


async def measure_uploads(pool: Queries, owner: str, *, without: Sha256 | None = None) -> Bytes:
    """Return the bytes of an owner's uploads, less those of one content, and of what else it brought."""
    kept: int = await pool.fetchval(
        """
        select (
          coalesce((select sum(size) from uploads where owner = $1 and sha256 is distinct from $2), 0)
          + coalesce((select sum(size) from client_files where owner = $1), 0)
          + coalesce((select sum(size) from character_images c where owner = $1 and not exists (
              select from uploads u where u.owner = c.owner and u.sha256 = c.sha256)), 0)
        )::bigint
        """,
        owner,
        None if without is None else bytes.fromhex(without),
    )
    return Bytes(kept)


async def lock_quota(connection: Queries, owner: str) -> None:
    """Let no other transaction count until this one ends: two that each fit could exceed the quota together."""
    await connection.execute("select pg_advisory_xact_lock($1, hashtext($2))", _QUOTA, owner)


async def record_upload(pool: Pool, owner: str, file: StoredFile, *, quota: Bytes) -> None:
    """Record an upload after its content is stored; the same content again counts as new for retention.

    Raises: UploadQuotaError.
    """
    async with pool.acquire() as connection, connection.transaction():
        await lock_quota(connection, owner)
        kept = await measure_uploads(connection, owner, without=file.sha256)
        refuse_over_quota(owner, kept + file.size, quota)
        await connection.execute(
            """
            insert into uploads (sha256, owner, name, size, media_type) values ($1, $2, $3, $4, $5)
            on conflict (sha256, owner) do update
              set name = excluded.name, media_type = excluded.media_type, created_at = now()
            """,
            bytes.fromhex(file.sha256),
            owner,
            file.name,
            file.size,
            file.media_type,
        )


async def find_upload(pool: Queries, owner: str, sha256: Sha256) -> StoredFile:
    """Find an owner's upload. Raises: UploadMissingError."""
    row = await pool.fetchrow(
        "select name, size, media_type from uploads where sha256 = $1 and owner = $2", bytes.fromhex(sha256), owner
    )
    if row is None:
        raise _make_missing_error(owner, sha256)
    return StoredFile(name=row["name"], sha256=sha256, size=Bytes(row["size"]), media_type=row["media_type"])


async def require_uploads(pool: Queries, owner: str, digests: Sequence[Sha256]) -> None:
    """Return when the owner has all of these. Raises: UploadMissingError, which names the first that is missing."""
    rows = await pool.fetch(
        "select sha256 from uploads where owner = $1 and sha256 = any($2::bytea[])",
        owner,
        [bytes.fromhex(digest) for digest in digests],
    )
    there = {row["sha256"].hex() for row in rows}
    missing = next((digest for digest in digests if digest not in there), None)
    if missing is not None:
        raise _make_missing_error(owner, missing)


def _make_missing_error(owner: str, sha256: Sha256) -> UploadMissingError:
    hint = "`corral uploads list` shows those that there are"
    return UploadMissingError(f"{owner!r} has no upload {sha256}", hint=hint)


async def list_uploads(pool: Queries, owner: str, *, after: Sha256 | None, limit: int) -> tuple[Upload, ...]:
    """Return an owner's uploads in the order of their checksums."""
    rows = await pool.fetch(
        """
        select u.*, exists (
          select from task_uploads n join tasks t on t.id = n.task_id
          where n.sha256 = u.sha256 and t.finished_at is null
        ) as in_use
        from uploads u where u.owner = $1 and ($2::bytea is null or u.sha256 > $2) order by u.sha256 limit $3
        """,
        owner,
        None if after is None else bytes.fromhex(after),
        limit,
    )
    return tuple(
        Upload(
            name=row["name"],
            sha256=Sha256(row["sha256"].hex()),
            size=row["size"],
            media_type=row["media_type"],
            owner=row["owner"],
            created_at=row["created_at"],
            in_use=row["in_use"],
        )
        for row in rows
    )


async def delete_upload(pool: Pool, owner: str, sha256: Sha256, *, act: Act | None = None) -> bool:
    """Delete an owner's upload; return whether nothing names its content any more.

    Tasks that have ended let go of it, and cannot be retried without it. `act` goes into the audit log.

    Raises: UploadInUseError, UploadMissingError.
    """
    content = bytes.fromhex(sha256)
    async with pool.acquire() as connection, connection.transaction():
        # Submissions lock these rows too: one that takes the upload comes before this, or finds none.
        rows = await connection.fetch("select owner from uploads where sha256 = $1 order by owner for update", content)
        owners = {row["owner"] for row in rows}
        if owner not in owners:
            raise _make_missing_error(owner, sha256)
        if owners == {owner}:
            await _refuse_used(connection, sha256)
            await connection.execute("delete from task_uploads where sha256 = $1", content)
        await connection.execute("delete from uploads where sha256 = $1 and owner = $2", content, owner)
        if act is not None:
            await append_act(connection, act)
        return owners == {owner} and not await connection.fetchval(
            "select exists (select from outputs where sha256 = $1) or exists (select from voices where sha256 = $1)"
            " or exists (select from character_images where sha256 = $1)",
            content,
        )


async def _refuse_used(connection: Connection, sha256: Sha256) -> None:
    rows = await connection.fetch(
        "select t.id from task_uploads n join tasks t on t.id = n.task_id"
        " where n.sha256 = $1 and t.finished_at is null order by t.id limit $2",
        bytes.fromhex(sha256),
        _NAMED_TASKS,
    )
    if rows:
        tasks = list_some(str(row["id"]) for row in rows)
        raise UploadInUseError(
            f"tasks that have not ended take the upload {sha256}: {tasks}",
            hint="wait until they have ended, or cancel them with `corral tasks cancel`",
        )
