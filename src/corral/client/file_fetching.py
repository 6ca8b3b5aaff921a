"""One file of a server, fetched whole: what is there already is kept, what broke off goes on."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

from corral.client.api import Api, DamagedDownloadError


async def fetch_file(api: Api, path: str, target: Path, *, size: int, sha256: str) -> None:
    """Write a file of `size` bytes to `target`, unless it is there; until it is whole, it has another name.

    Raises: RemoteError, DamagedDownloadError, OSError when the disk refuses.
    """
    if await asyncio.to_thread(has_content, target, size=size, sha256=sha256):
        return
    part = target.parent / f".{sha256}.part"
    await asyncio.to_thread(_drop_if_damaged, part, size, sha256)
    try:
        await api.download(path, part, sha256=sha256)
    except DamagedDownloadError:
        part.unlink(missing_ok=True)
        raise
    part.replace(target)


def has_content(path: Path, *, size: int, sha256: str) -> bool:
    """Whether a file is there with this content."""
    try:
        if path.stat().st_size != size:
            return False
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def _drop_if_damaged(part: Path, size: int, sha256: str) -> None:
    """Remove a part that has all the bytes that it can have, and not the content."""
    if part.exists() and part.stat().st_size >= size and not has_content(part, size=size, sha256=sha256):
        part.unlink()
