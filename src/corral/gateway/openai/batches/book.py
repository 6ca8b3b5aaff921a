"""The seam of this door: files and batches of owners, which `corral.server` keeps, over the queue."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Protocol

from corral.errors import CorralError, Kind
from corral.gateway.doors import Visitor
from corral.work import Json


class FileMissingError(CorralError):
    """The owner has no file with this id."""

    code: ClassVar[str] = "batch.file_missing"
    kind: ClassVar[Kind] = Kind.MISSING


class FileInUseError(CorralError):
    """A batch that has not ended reads the file."""

    code: ClassVar[str] = "batch.file_in_use"
    kind: ClassVar[Kind] = Kind.CONFLICT


class BatchMissingError(CorralError):
    """The owner has no batch with this id."""

    code: ClassVar[str] = "batch.missing"
    kind: ClassVar[Kind] = Kind.MISSING


class BatchEndedError(CorralError):
    """The batch has ended, and cannot be cancelled any more."""

    code: ClassVar[str] = "batch.ended"
    kind: ClassVar[Kind] = Kind.CONFLICT


class FileView(Protocol):
    """A file as its owner sees it."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def purpose(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def created_at(self) -> datetime: ...


class BatchView(Protocol):
    """A batch as its owner sees it; instants of steps that it has not reached are None."""

    @property
    def id(self) -> str: ...
    @property
    def endpoint(self) -> str: ...
    @property
    def input_file(self) -> str: ...
    @property
    def completion_window(self) -> str: ...
    @property
    def by(self) -> datetime: ...
    @property
    def metadata(self) -> Mapping[str, Json] | None: ...
    @property
    def status(self) -> str: ...
    @property
    def problems(self) -> Sequence[Mapping[str, Json]]:
        """Why the file as a whole could not be used."""
        ...

    @property
    def output_file(self) -> str | None: ...
    @property
    def error_file(self) -> str | None: ...
    @property
    def created_at(self) -> datetime: ...
    @property
    def in_progress_at(self) -> datetime | None: ...
    @property
    def finalizing_at(self) -> datetime | None: ...
    @property
    def completed_at(self) -> datetime | None: ...
    @property
    def failed_at(self) -> datetime | None: ...
    @property
    def cancelling_at(self) -> datetime | None: ...
    @property
    def cancelled_at(self) -> datetime | None: ...
    @property
    def total(self) -> int: ...
    @property
    def completed(self) -> int: ...
    @property
    def failed(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAsked:
    """A batch to make."""

    endpoint: str
    input_file: str
    completion_window: str
    window_s: float
    metadata: Mapping[str, Json] | None


class Book(Protocol):
    """Files and batches, each its owner's own."""

    async def receive_file(
        self, visitor: Visitor, *, name: str, purpose: str, content: AsyncIterator[bytes]
    ) -> FileView:
        """Keep a file. Raises: CorralError when it is too large, or the owner's quota or the disk is full."""
        ...

    async def find_file(self, visitor: Visitor, id: str) -> FileView:
        """Return a file. Raises: FileMissingError."""
        ...

    async def locate_content(self, visitor: Visitor, id: str) -> Path:
        """Return where the content of a file is on this machine. Raises: FileMissingError."""
        ...

    async def list_files(
        self, visitor: Visitor, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
    ) -> Sequence[FileView]:
        """List files. Raises: FileMissingError for an unknown `after`."""
        ...

    async def delete_file(self, visitor: Visitor, id: str) -> None:
        """Delete a file. Raises: FileMissingError, FileInUseError."""
        ...

    async def create_batch(self, visitor: Visitor, asked: BatchAsked) -> BatchView:
        """Take a batch; its file is read later. Raises: FileMissingError, and CorralError for the key's limits."""
        ...

    async def find_batch(self, visitor: Visitor, id: str) -> BatchView:
        """Return a batch. Raises: BatchMissingError."""
        ...

    async def list_batches(self, visitor: Visitor, *, after: str | None, limit: int) -> Sequence[BatchView]:
        """List batches, newest first. Raises: BatchMissingError for an unknown `after`."""
        ...

    async def cancel_batch(self, visitor: Visitor, id: str) -> BatchView:
        """Cancel what of a batch has not ended. Raises: BatchMissingError, BatchEndedError."""
        ...
