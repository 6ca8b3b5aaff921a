"""Files and batches as the door asks for them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from corral.gateway.doors import Visitor
from corral.gateway.openai.batches.book import (
    BatchAsked,
    BatchEndedError,
    BatchMissingError,
    FileInUseError,
    FileMissingError,
)
from corral.server.api.state import ApiState
from corral.tasks.artifacts import Content
from corral.tasks.store import client_batches
from corral.tasks.store.client_batches import ClientBatch, ClientFile
from corral.tasks.store.uploads import measure_uploads, refuse_over_quota
from corral.units import Bytes

LARGEST_FILE = Bytes(512 * 1024**2)
"""Bytes of a file of requests; OpenAI takes 200 MB."""


class StoredBook:
    """Keeps them in the database and the artifact store."""

    def __init__(self, api: ApiState, wake: Callable[[], None]) -> None:
        """`wake` lets batches go on at once."""
        self._api = api
        self._pool = api.services.pool
        self._wake = wake

    async def receive_file(
        self, visitor: Visitor, *, name: str, purpose: str, content: AsyncIterator[bytes]
    ) -> ClientFile:
        """Keep a file. Raises: ArtifactTooLargeError, DiskFullError, UploadQuotaError."""
        rules, owner = self._api.services.cluster.server, visitor.owner

        async def admit(stored: Content) -> None:
            refuse_over_quota(owner, await measure_uploads(self._pool, owner) + stored.size, rules.uploads_per_owner)

        with self._api.arriving.open(owner, rules.uploads_per_owner) as arriving:
            stored = await self._api.services.artifacts.receive(
                arriving.count(content), limit=LARGEST_FILE, reserve=rules.disk_reserve, admit=admit
            )
        file = make_file(owner, name, purpose, stored)
        return await client_batches.add_upload(self._pool, file, quota=rules.uploads_per_owner)

    async def find_file(self, visitor: Visitor, id: str) -> ClientFile:
        """Return a file. Raises: FileMissingError."""
        file = await client_batches.find_file(self._pool, visitor.owner, id)
        if file is None:
            raise FileMissingError(f"there is no file {id!r}", where="file_id", hint="`GET /v1/files` lists them")
        return file

    async def locate_content(self, visitor: Visitor, id: str) -> Path:
        """Return where a file's content is. Raises: ArtifactMissingError, FileMissingError."""
        file = await self.find_file(visitor, id)
        return self._api.services.artifacts.locate(file.sha256)

    async def list_files(
        self, visitor: Visitor, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> Sequence[ClientFile]:
        """List files. Raises: FileMissingError."""
        if after is not None:
            await self.find_file(visitor, after)
        return await client_batches.list_files(
            self._pool, visitor.owner, purpose=purpose, after=after, limit=limit, newest_first=newest_first
        )

    async def delete_file(self, visitor: Visitor, id: str) -> None:
        """Delete a file; its content goes with the next collection. Raises: FileInUseError, FileMissingError."""
        await self.find_file(visitor, id)
        reader = await client_batches.delete_file(self._pool, visitor.owner, id)
        if reader is not None:
            raise FileInUseError(
                f"the batch {reader} reads the file {id}", where="file_id", hint="wait until it has ended, or cancel it"
            )

    async def create_batch(self, visitor: Visitor, asked: BatchAsked) -> ClientBatch:
        """Take a batch. Raises: FileMissingError, KeyLimitError."""
        with self._api.services.keys.enter(visitor.key, visitor.limits):
            batch = await client_batches.add_batch(
                self._pool,
                id=f"batch_{uuid4().hex}",
                owner=visitor.owner,
                key=visitor.key,
                models=None if visitor.limits is None else visitor.limits.models,
                endpoint=asked.endpoint,
                input_file=asked.input_file,
                completion_window=asked.completion_window,
                by=datetime.now(UTC) + timedelta(seconds=asked.window_s),
                metadata=asked.metadata,
            )
        if batch is None:
            what = f"there is no file {asked.input_file!r}"
            raise FileMissingError(what, where="input_file_id", hint="upload one with the purpose `batch`")
        self._wake()
        return batch

    async def find_batch(self, visitor: Visitor, id: str) -> ClientBatch:
        """Return a batch. Raises: BatchMissingError."""
        batch = await client_batches.find_batch(self._pool, visitor.owner, id)
        if batch is None:
            raise BatchMissingError(f"there is no batch {id!r}", where="batch_id", hint="`GET /v1/batches` lists them")
        return batch

    async def list_batches(self, visitor: Visitor, *, after: str | None, limit: int) -> Sequence[ClientBatch]:
        """List batches, newest first. Raises: BatchMissingError."""
        if after is not None:
            await self.find_batch(visitor, after)
        return await client_batches.list_batches(self._pool, visitor.owner, after=after, limit=limit)

    async def cancel_batch(self, visitor: Visitor, id: str) -> ClientBatch:
        """Cancel a batch; its tasks end soon after. Raises: BatchEndedError, BatchMissingError."""
        await self.find_batch(visitor, id)
        if not await client_batches.note_cancelling(self._pool, visitor.owner, id):
            batch = await self.find_batch(visitor, id)
            hint = "its files have what was done"
            raise BatchEndedError(f"the batch {id} has the status {batch.status!r}", where="batch_id", hint=hint)
        self._wake()
        return await self.find_batch(visitor, id)


def make_file(owner: str, name: str, purpose: str, content: Content) -> ClientFile:
    """Return a new file of an owner; the name is what a client called it, cut to a bound."""
    return ClientFile(
        id=f"file-{uuid4().hex}",
        owner=owner,
        name=name.replace("\x00", "")[:255] or "file",
        purpose=purpose,
        sha256=content.sha256,
        size=content.size,
        created_at=datetime.now(UTC),
    )
