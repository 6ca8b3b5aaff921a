"""Files by content: written once under their SHA-256, whole or not at all.

A file is hashed, synced and renamed into place before the transaction that records it; a crash in between leaves a file
that nothing refers to, which `sweep` removes after a grace time. Equal content is stored once.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import time
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

from corral.errors import CorralError, Kind
from corral.files import NO_ROOM
from corral.tasks.values import Sha256
from corral.units import Bytes

_TRIED = 1024 * 1024
"""Bytes written to see whether the disk takes any."""
_CHUNK = 1024 * 1024
_NAME = re.compile(r"[0-9a-f]{64}")
SWEEP_GRACE_S = 3600.0
"""How long an unrecorded file is kept: far longer than any transaction, and longer than the longest database outage
during which an attempt keeps its lease."""


class ArtifactMissingError(CorralError):
    """There is no file with this checksum."""

    code: ClassVar[str] = "artifact.missing"
    kind: ClassVar[Kind] = Kind.MISSING


class ArtifactDamagedError(CorralError):
    """The file is not what was stored: it was changed on the disk, or the disk lost a part of it."""

    code: ClassVar[str] = "artifact.damaged"
    kind: ClassVar[Kind] = Kind.CONFLICT


class ArtifactTooLargeError(CorralError):
    """An upload is larger than allowed."""

    code: ClassVar[str] = "artifact.too_large"
    kind: ClassVar[Kind] = Kind.INVALID


class DiskFullError(CorralError):
    """The disk on which attempts work and outputs are kept takes nothing more: full, over a quota, or read-only."""

    code: ClassVar[str] = "artifact.disk_full"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY
    remedy: ClassVar[str] = "free some space, or run `corral gc`"


@dataclass(frozen=True, slots=True)
class Content:
    """What names a file's content."""

    sha256: Sha256
    size: Bytes


class ArtifactStore:
    """A folder of files by content. Its methods block; call them outside the event loop where files are large."""

    def __init__(self, root: Path, *, fsync: Callable[[int], None] = os.fsync) -> None:
        self._root = root
        self._incoming = root / "incoming"
        self._fsync = fsync
        self._checked: dict[Sha256, tuple[int, int, int]] = {}
        """Files whose content was hashed: inode, size and change time (which `utime` cannot set) as they were then."""

    @property
    def root(self) -> Path:
        """The folder of the store."""
        return self._root

    def try_writing(self) -> None:
        """Write a file and remove it. Raises: DiskFullError, OSError."""
        path = self._incoming / uuid4().hex
        try:
            with path.open("wb") as file:
                file.write(bytes(_TRIED))
                file.flush()
                self._fsync(file.fileno())
        except OSError as error:
            if error.errno in NO_ROOM:
                raise translate_disk_error(error, path) from error
            raise
        finally:
            with suppress(OSError):
                path.unlink(missing_ok=True)

    def prepare(self) -> None:
        """Create the folders and remove what an interrupted write left."""
        self._incoming.mkdir(parents=True, exist_ok=True)
        for leftover in self._incoming.iterdir():
            leftover.unlink(missing_ok=True)

    def locate(self, sha256: Sha256) -> Path:
        """Return where the file lies. Raises: ArtifactMissingError."""
        path = self._place(sha256)
        if not path.is_file():
            raise ArtifactMissingError(
                f"there is no artifact {sha256}", hint="perhaps it was collected: retry the task"
            )
        return path

    def adopt(self, source: Path, *, go_on: Callable[[], None] = lambda: None) -> Content:
        """Take a finished file into the store by renaming it; `source` is on the same file system and is gone after.

        `go_on` is called before each MiB and before the rename; what it raises leaves the file where it is.
        Raises: DiskFullError.
        """
        digest, size = hashlib.sha256(), 0
        try:
            with source.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    go_on()
                    digest.update(chunk)
                    size += len(chunk)
                self._fsync(file.fileno())
            go_on()
            self._move(source, Sha256(digest.hexdigest()))
        except OSError as error:
            raise translate_disk_error(error, source) from error
        return Content(Sha256(digest.hexdigest()), Bytes(size))

    async def receive(self, chunks: AsyncIterator[bytes], *, limit: Bytes) -> Content:
        """Write a stream of at most `limit` bytes into the store. Raises: ArtifactTooLargeError, DiskFullError."""
        temporary = self._incoming / uuid4().hex
        digest = hashlib.sha256()
        size = 0
        try:
            with temporary.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        raise ArtifactTooLargeError(f"the upload is larger than {limit} bytes")
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                await asyncio.to_thread(self._fsync, file.fileno())
            await asyncio.to_thread(self._move, temporary, Sha256(digest.hexdigest()))
        except OSError as error:
            raise translate_disk_error(error, temporary) from error
        finally:
            temporary.unlink(missing_ok=True)
        return Content(Sha256(digest.hexdigest()), Bytes(size))

    def check(self, sha256: Sha256) -> Path:
        """Return where the file is, once it is known to be what was stored: hashed at first, and after each change.

        Raises: ArtifactDamagedError, ArtifactMissingError.
        """
        path = self.locate(sha256)
        seen = _read_identity(path)
        if self._checked.get(sha256) == seen:
            return path
        if not self.verify(sha256):
            raise ArtifactDamagedError(
                f"the artifact {sha256} was changed after it was stored: it has {seen[1]} bytes of other content",
                where=str(path),
                hint="remove that file, and retry the task that made it or upload it again",
            )
        self._checked[sha256] = seen
        return path

    def verify(self, sha256: Sha256) -> bool:
        """Return whether the file's content still has its name."""
        with self.locate(sha256).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256

    def sweep(self, keep: Collection[Sha256], *, older_than_s: float = SWEEP_GRACE_S) -> tuple[int, Bytes]:
        """Remove files that are not in `keep` and older than the grace time; return how many and their bytes."""
        count, freed = 0, 0
        limit = time.time() - older_than_s
        for path in self._root.glob("??/*"):
            status = path.stat()
            if path.name not in keep and status.st_mtime < limit:
                path.unlink(missing_ok=True)
                count, freed = count + 1, freed + status.st_size
        return count, Bytes(freed)

    def _place(self, sha256: Sha256) -> Path:
        if not _NAME.fullmatch(sha256):
            raise ArtifactMissingError(f"not a SHA-256: {sha256[:80]!r}")
        return self._root / sha256[:2] / sha256

    def _move(self, source: Path, sha256: Sha256) -> None:
        target = self._place(sha256)
        target.parent.mkdir(exist_ok=True)
        os.utime(source)  # content that is taken again counts as new for `sweep`
        source.chmod(0o444)
        source.replace(target)
        folder = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._fsync(folder)
        finally:
            os.close(folder)


def _read_identity(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_ino, status.st_size, status.st_ctime_ns


def translate_disk_error(error: OSError, path: Path) -> CorralError:
    """Translate an error of writing `path`: a disk that is full is a DiskFullError."""
    if error.errno == errno.EROFS:
        hint = "find out in the kernel's log (`dmesg`) why the disk is read-only, and mount it again"
        return DiskFullError(f"the disk is read-only: {path.name} cannot be written", where=str(path.parent), hint=hint)
    if error.errno in NO_ROOM:
        return DiskFullError(f"no space is left for {path.name}", where=str(path.parent), hint=DiskFullError.remedy)
    return CorralError(f"cannot store {path.name}: {error.strerror}", where=str(path.parent))
