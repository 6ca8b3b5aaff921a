"""Assets: uploads under ids of their own, found by their BLAKE3 hash as well."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from corral.tasks.store.pool import Queries, Row
from corral.tasks.values import Sha256, StoredFile
from corral.units import Bytes

_ASSET = "select a.*, u.size from assets a join uploads u using (sha256, owner)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file that an owner uploaded, under one id."""

    id: UUID
    blake3: str
    """64 hexadecimal digits."""
    file: StoredFile
    created_at: datetime


async def add_asset(pool: Queries, owner: str, file: StoredFile, blake3: str) -> Asset:
    """Give an owner's upload an id."""
    row = await pool.fetchrow(
        "with made as (insert into assets (id, owner, sha256, blake3, name, media_type)"
        " values (gen_random_uuid(), $1, $2, $3, $4, $5) returning *)"
        " select made.*, u.size from made join uploads u using (sha256, owner)",
        owner,
        bytes.fromhex(file.sha256),
        bytes.fromhex(blake3),
        file.name,
        file.media_type,
    )
    assert row is not None, "the upload was recorded before"
    return _read_asset(row)


async def find_asset(pool: Queries, owner: str, id: UUID) -> Asset | None:
    """Find an owner's asset by its id."""
    row = await pool.fetchrow(f"{_ASSET} where a.id = $1 and a.owner = $2", id, owner)
    return None if row is None else _read_asset(row)


async def find_asset_by_hash(pool: Queries, owner: str, blake3: str) -> Asset | None:
    """Find the newest of an owner's assets with this content."""
    query = f"{_ASSET} where a.owner = $1 and a.blake3 = $2 order by a.created_at desc limit 1"
    row = await pool.fetchrow(query, owner, bytes.fromhex(blake3))
    return None if row is None else _read_asset(row)


async def delete_asset(pool: Queries, owner: str, id: UUID) -> Sha256 | None:
    """Delete an asset; return its content where no other name of its owner has it."""
    row = await pool.fetchrow("delete from assets where id = $1 and owner = $2 returning sha256", id, owner)
    if row is None:
        return None
    is_named = await pool.fetchval(
        "select exists (select from assets where sha256 = $1 and owner = $2)"
        " or exists (select from input_files where sha256 = $1 and owner = $2)",
        row["sha256"],
        owner,
    )
    return None if is_named else Sha256(row["sha256"].hex())


def _read_asset(row: Row) -> Asset:
    file = StoredFile(
        name=row["name"],
        sha256=Sha256(row["sha256"].hex()),
        size=Bytes(row["size"]),
        media_type=row["media_type"],
    )
    return Asset(id=row["id"], blake3=row["blake3"].hex(), file=file, created_at=row["created_at"])
