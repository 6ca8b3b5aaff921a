"""Remembers which files were uploaded; the content itself lies in the artifact store."""

from __future__ import annotations

from corral.tasks.store.pool import Pool
from corral.tasks.values import StoredFile


async def record_upload(pool: Pool, owner: str, file: StoredFile) -> None:
    """Record an upload after its content is stored; the same content again counts as new for retention."""
    await pool.execute(
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
