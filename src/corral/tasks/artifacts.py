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
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

from corral.errors import CorralError, Kind
from corral.files import NO_ROOM
from corral.tasks.values import Sha256
from corral.units import Bytes, format_bytes

_TRIED = 1024 * 1024
"""Bytes written to see whether the disk takes any."""
_CHUNK = 1024 * 1024
_LOOK_EVERY = 16 * 1024 * 1024
"""Bytes of an upload between two looks at the free bytes."""
_NAME = re.compile(r"[0-9a-f]{64}")
LEFTOVER_GRACE_S = 600.0
"""How long an unfinished file is kept in a folder that several servers share: nothing was written to it for so long."""
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


class ClosedArtifactsError(CorralError):
    """The user that runs the server cannot write where artifacts are kept."""

    code: ClassVar[str] = "artifact.closed"
    kind: ClassVar[Kind] = Kind.INVALID


class DiskFullError(CorralError):
    """The disk on which attempts work and outputs are kept takes nothing more: full, over a quota, or read-only."""

    code: ClassVar[str] = "artifact.disk_full"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY
    remedy: ClassVar[str] = "free some space: `corral gc`, `corral uploads rm`, `corral models rm`"


@dataclass(frozen=True, slots=True)
class Content:
    """What names a file's content."""

    sha256: Sha256
    size: Bytes


async def _admit_all(content: Content) -> None:
    pass


def count_free(folder: Path) -> Bytes | None:
    """Return the bytes that this user can still write; None where the file system does not know."""
    status = os.statvfs(folder)
    return Bytes(status.f_bavail * status.f_frsize) if status.f_blocks else None


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

    def place(self, sha256: Sha256) -> Path:
        """Return where the file belongs, whether it is there or not. Raises: ArtifactMissingError, for no SHA-256."""
        if not _NAME.fullmatch(sha256):
            raise ArtifactMissingError(f"not a SHA-256: {sha256[:80]!r}")
        return self._root / sha256[:2] / sha256

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

    def prepare(self, *, older_than_s: float = 0.0) -> None:
        """Create the folders and remove what an interrupted write left, if it was not written to for so long.

        Raises: ClosedArtifactsError.
        """
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
        except PermissionError as error:
            raise ClosedArtifactsError(
                f"user {os.getuid()}, which runs Corral, cannot write where artifacts are kept",
                where=str(self.root),
                hint="let it write there (`chown`, `chmod`); a folder on a share, where the share is",
            ) from error
        limit = time.time() - older_than_s
        for leftover in self._incoming.iterdir():
            with suppress(FileNotFoundError):
                if leftover.stat().st_mtime <= limit:
                    leftover.unlink()

    def locate(self, sha256: Sha256) -> Path:
        """Return where the file lies. Raises: ArtifactMissingError."""
        path = self.place(sha256)
        if not path.is_file():
            raise ArtifactMissingError(
                f"there is no artifact {sha256}", hint="perhaps it was collected: retry the task"
            )
        return path

    def adopt(self, source: Path, *, go_on: Callable[[], None] = lambda: None) -> Content:
        """Take a finished file into the store; `source` is gone after. On the same file system it is renamed.

        `go_on` is called before each MiB and before the rename; what it raises leaves the file where it is. A power cut
        can undo the rename until `settle` has returned. Raises: DiskFullError.
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
            self._rename(source, Sha256(digest.hexdigest()))
        except OSError as error:
            raise translate_disk_error(error, source) from error
        return Content(Sha256(digest.hexdigest()), Bytes(size))

    def settle(self, contents: Iterable[Content]) -> None:
        """Make the renames of adopted files last, before anything is recorded: one sync for each folder.

        Raises: DiskFullError.
        """
        for folder in {self.place(content.sha256).parent for content in contents}:
            try:
                self._sync_folder(folder)
            except OSError as error:
                raise translate_disk_error(error, folder) from error

    async def receive(
        self,
        chunks: AsyncIterator[bytes],
        *,
        limit: Bytes,
        reserve: Bytes = Bytes(0),  # noqa: B008 (a number)
        admit: Callable[[Content], Awaitable[None]] = _admit_all,
    ) -> Content:
        """Write a stream of at most `limit` bytes into the store, and leave `reserve` bytes free on the disk.

        `admit` is asked when all of it is there, and raises what keeps it out.

        Raises: ArtifactTooLargeError, DiskFullError.
        """
        temporary = self._incoming / uuid4().hex
        digest = hashlib.sha256()
        size, looked_at = 0, 0
        try:
            self.refuse_below(reserve)
            with temporary.open("wb") as file:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > limit:
                        raise ArtifactTooLargeError(f"the upload is larger than {limit} bytes")
                    if size - looked_at > _LOOK_EVERY:
                        self.refuse_below(reserve)
                        looked_at = size
                    digest.update(chunk)
                    file.write(chunk)
                file.flush()
                await asyncio.to_thread(self._fsync, file.fileno())
            content = Content(Sha256(digest.hexdigest()), Bytes(size))
            await admit(content)
            await asyncio.to_thread(self._move, temporary, content.sha256)
        except OSError as error:
            raise translate_disk_error(error, temporary) from error
        finally:
            temporary.unlink(missing_ok=True)
        return content

    def refuse_below(self, reserve: Bytes, *, coming: int = 0) -> None:
        """Return when the disk has more than `reserve` free once `coming` bytes are on it. Raises: DiskFullError."""
        free = count_free(self._root)
        if free is not None and free - coming < reserve:
            what = f"{format_bytes(coming)} would leave" if coming else "the disk has"
            raise DiskFullError(
                f"{what} {format_bytes(max(0, free - coming))} free; {format_bytes(reserve)} are kept in reserve",
                where=str(self._root),
                hint=f"{DiskFullError.remedy}; `server.diskReserve` in the cluster file is the reserve",
            )

    def remove(self, sha256: Sha256, *, older_than_s: float = SWEEP_GRACE_S) -> Bytes:
        """Remove a file that nothing names, if it is older than the grace time; return the bytes that are free now."""
        path = self.place(sha256)
        with suppress(FileNotFoundError):
            status = path.stat()
            if status.st_mtime < time.time() - older_than_s:
                path.unlink()
                return Bytes(status.st_size)
        return Bytes(0)

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

    def _move(self, source: Path, sha256: Sha256) -> None:
        self._rename(source, sha256)
        self._sync_folder(self.place(sha256).parent)

    def _rename(self, source: Path, sha256: Sha256) -> None:
        target = self.place(sha256)
        target.parent.mkdir(exist_ok=True)
        os.utime(source)  # content that is taken again counts as new for `sweep`
        source.chmod(0o444)
        try:
            source.replace(target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._copy(source, target)

    def _copy(self, source: Path, target: Path) -> None:
        """Move a file from another file system: servers that share a store have folders of their own for attempts."""
        temporary = self._incoming / uuid4().hex
        try:
            shutil.copyfile(source, temporary)
            temporary.chmod(0o444)
            with temporary.open("rb") as file:
                self._fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        source.unlink()

    def _sync_folder(self, folder: Path) -> None:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self._fsync(descriptor)
        finally:
            os.close(descriptor)


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
