"""Assets: files that clients brought, and outputs of jobs, under ids that stay.

An output has no row of its own: its id is made of its task and its place among the task's outputs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

from corral.gateway.comfyui.workshop import OutputFile, StoredPrompt
from corral.gateway.doors import Visitor
from corral.work import Json

HASH = "blake3:"
_TASK_BITS, _INDEX_BITS = 48, 16
_MARK = 0x2C0F_FEE0_0000
"""The bits of an output's id that are neither its task nor its place: ids of others do not have them."""
_VERSION, _VARIANT = 8 << 76, 2 << 62


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAsset:
    """A file that a client brought."""

    id: UUID
    blake3: str
    """Its hash in hexadecimal digits."""
    name: str
    file: OutputFile
    created_at: datetime


class Assets(Protocol):
    """Where assets are kept."""

    @property
    def kept_for(self) -> timedelta:
        """How long jobs and files are kept at least."""
        ...

    async def add(self, visitor: Visitor, name: str, media_type: str, content: AsyncIterator[bytes]) -> StoredAsset:
        """Keep a file, within its owner's quota. Raises: CorralError."""
        ...

    async def add_again(self, visitor: Visitor, blake3: str, name: str | None) -> StoredAsset | None:
        """Give content that the owner has another id; None where it has none such."""
        ...

    async def find(self, owner: str, id: UUID) -> StoredAsset | None:
        """Return an owner's asset."""
        ...

    async def find_by_hash(self, owner: str, blake3: str) -> StoredAsset | None:
        """Return an owner's asset with this content."""
        ...

    async def delete(self, visitor: Visitor, id: UUID) -> None:
        """Delete an asset, and its content where nothing else of its owner names it."""
        ...


def make_output_id(task: int, index: int) -> UUID:
    """Return the id of an output: task and place among its outputs, in the order of their names."""
    high = task << 16  # the version takes four of the sixteen bits below the task
    low = _MARK << _INDEX_BITS | index
    return UUID(int=high << 64 | _VERSION | _VARIANT | low & (1 << 62) - 1)


def read_output_id(id: UUID) -> tuple[int, int] | None:
    """Return task and place of an output's id; None for an id of another kind."""
    task, index = id.int >> 80, id.int & (1 << _INDEX_BITS) - 1
    return (task, index) if task < 1 << _TASK_BITS and id == make_output_id(task, index) else None


def find_output(prompt: StoredPrompt, index: int) -> tuple[str, OutputFile] | None:
    """Return name and file of an output by its place."""
    names = sorted(prompt.files)
    return (names[index], prompt.files[names[index]]) if index < len(names) else None


def read_id(text: str) -> UUID | None:
    """Read an id; None for what is not one."""
    try:
        return UUID(text)
    except ValueError:
        return None


def read_hash(text: str) -> str | None:
    """Read `blake3:<hex>`; None for what is not a hash."""
    digits = text.removeprefix(HASH).lower()
    return digits if len(digits) == 64 and all(digit in "0123456789abcdef" for digit in digits) else None


def describe_asset(asset: StoredAsset, base: str, kept_for: timedelta, **more: Json) -> dict[str, Json]:
    """Return an asset as its clients know it; `base` is the address of the API."""
    expires_at = (asset.created_at + kept_for).isoformat()
    return {
        "id": str(asset.id),
        "hash": f"{HASH}{asset.blake3}",
        "size_bytes": asset.file.size,
        "content_type": asset.file.media_type,
        "file_path": asset.name,
        "created_at": asset.created_at.isoformat(),
        "url": f"{base}/assets/{asset.id}/content",
        "url_expires_at": expires_at,
        "expires_at": expires_at,
        "job_id": None,
        **more,
    }
