"""Takes uploads: within an owner's quota, whichever way they come."""

from __future__ import annotations

from collections.abc import AsyncIterator

from corral.server.api.state import ApiState
from corral.tasks.artifacts import ArtifactTooLargeError, Content
from corral.tasks.store.uploads import measure_uploads, record_upload, refuse_over_quota
from corral.tasks.values import StoredFile


async def take_upload(
    api: ApiState, owner: str, chunks: AsyncIterator[bytes], *, name: str, media_type: str, declared: int = 0
) -> StoredFile:
    """Store a file of an owner as it arrives, and record it; `declared` is its size where that is said before.

    Raises: ArtifactTooLargeError, DiskFullError, UploadQuotaError.
    """
    pool, store, rules = api.services.pool, api.services.artifacts, api.services.cluster.server

    async def admit(content: Content) -> None:
        kept = await measure_uploads(pool, owner, without=content.sha256)
        refuse_over_quota(owner, kept + content.size, rules.uploads_per_owner)

    with api.arriving.open(owner, rules.uploads_per_owner) as arriving:
        if declared > api.max_upload:
            raise ArtifactTooLargeError(f"the upload has {declared} bytes, more than {api.max_upload}")
        arriving.refuse(declared)
        store.refuse_below(rules.disk_reserve, coming=declared)
        content = await store.receive(
            arriving.count(chunks), limit=api.max_upload, reserve=rules.disk_reserve, admit=admit
        )
        file = StoredFile(name=name, sha256=content.sha256, size=content.size, media_type=media_type)
        await record_upload(pool, owner, file, quota=rules.uploads_per_owner)
    return file
