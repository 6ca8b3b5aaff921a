"""Copies the outputs of one task below an allowed folder: every file whole under its name, or not at all.

The way down is walked folder by folder, from the allowed one, and no link is followed: what users, engines or others on
the share make of names and folders cannot lead out. A file goes to a temporary name in its folder, is synced, read back
and compared with its SHA-256, renamed, and the folder synced. A file that is there already with the right content is
left as it is, so doing it again after a cut-off writes what is missing; one with other content is never replaced.

Several servers on one database can do the same at once. So each copy has a temporary name of its own: the one that is
whole first gets the name, and removes what others have begun; these find the file there.

All of it blocks, for as long as the share does.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import re
import stat
import time
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager, suppress
from typing import BinaryIO, ClassVar
from uuid import uuid4

from corral.cluster.destinations import check_name
from corral.cluster.keeping import OutputFolder
from corral.errors import CorralError, Kind
from corral.tasks.values import Sha256, StoredFile

_CHUNK = 1024 * 1024
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_PRIVATE = 0o600
"""Of a file that is not whole yet."""
_NOT_A_FOLDER = frozenset({errno.ELOOP, errno.ENOTDIR})
_PROBE = ".corral-probe"
_PART = re.compile(r"\.corral-(?P<sha256>[0-9a-f]{64})(-[0-9a-f]{32})?\.part")
_PART_LIVES_S = 3600.0
"""A part that has not grown for so long was left by a server that was killed, and takes the share's room."""


class ShareAwayError(CorralError):
    """The allowed folder cannot be used: not mounted, not there, full, read-only."""

    code: ClassVar[str] = "outputs.away"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class UnsafePathError(CorralError):
    """A name or a link would lead elsewhere than the pattern says."""

    code: ClassVar[str] = "outputs.unsafe_path"
    kind: ClassVar[Kind] = Kind.DENIED


class InTheWayError(CorralError):
    """Another file has the name."""

    code: ClassVar[str] = "outputs.in_the_way"
    kind: ClassVar[Kind] = Kind.CONFLICT


class DamagedCopyError(CorralError):
    """The bytes that were read are not those that were written."""

    code: ClassVar[str] = "outputs.damaged"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


def write_outputs(
    folder: OutputFolder,
    path: str,
    files: Collection[StoredFile],
    open_content: Callable[[Sha256], BinaryIO],
    go_on: Callable[[], None],
) -> None:
    """Write files to `path` below a folder; `go_on` is called at least once for each MiB.

    Raises: ShareAwayError, UnsafePathError, InTheWayError, DamagedCopyError, what `open_content` raises, OSError.
    """
    where = f"{folder.path}/{path}"
    with _open_root(folder) as root, _descend(root, path, where) as target:
        _remove_parts(target, files, before=time.time() - _PART_LIVES_S)
        for file in files:
            if problem := check_name(file.name):
                raise UnsafePathError(problem, where=where, hint="rename the output in the task's inputs, and retry it")
            go_on()
            if not _has_content(target, file, where, go_on):
                with open_content(file.sha256) as content:
                    _write_file(target, file, content, where, go_on)
        _remove_parts(target, files)


def try_folder(folder: OutputFolder) -> None:
    """Write a small file and remove it. Raises: ShareAwayError when that does not work."""
    with _open_root(folder) as root:
        try:
            descriptor = os.open(_PROBE, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE, dir_fd=root)
            try:
                os.write(descriptor, b"corral\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
                with suppress(FileNotFoundError):  # another server tried it at the same time
                    os.unlink(_PROBE, dir_fd=root)
        except OSError as error:
            raise ShareAwayError(
                f"nothing can be written to it: {error.strerror or error}",
                where=folder.path,
                hint="make room, or look at its permissions and its server; it is tried again by itself",
            ) from error


@contextmanager
def _open_root(folder: OutputFolder) -> Generator[int]:
    hint = "mount the share; it is tried again by itself"
    try:
        root = os.open(folder.path, _FOLDER)
    except OSError as error:
        what = f"the folder cannot be opened: {error.strerror or error}"
        raise ShareAwayError(what, where=folder.path, hint=hint) from error
    try:
        if folder.mounted and not os.path.ismount(folder.path):
            raise ShareAwayError("nothing is mounted there", where=folder.path, hint=hint)
        yield root
    finally:
        os.close(root)


@contextmanager
def _descend(root: int, path: str, where: str) -> Generator[int]:
    """Open a folder below another, and make what is missing on the way."""
    current = os.dup(root)
    try:
        for name in path.split("/"):
            if problem := check_name(name):
                raise UnsafePathError(problem, where=where, hint="rename the task, or change `outputs`")
            following = _enter(current, name, where)
            os.close(current)
            current = following
        yield current
    finally:
        os.close(current)


def _enter(parent: int, name: str, where: str) -> int:
    made = False
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
        made = True
    try:
        descriptor = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)
    except OSError as error:
        if error.errno not in _NOT_A_FOLDER:
            raise
        what = f"{name!r} is a link or not a folder, and outputs are written through no link"
        raise UnsafePathError(what, where=where, hint="remove it, or change `outputs`") from error
    if made:
        _share_mode(descriptor, parent)
        os.fsync(parent)
    return descriptor


def _write_file(folder: int, file: StoredFile, content: BinaryIO, where: str, go_on: Callable[[], None]) -> None:
    temporary = f".corral-{file.sha256}-{uuid4().hex}.part"
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(temporary, flags, _PRIVATE, dir_fd=folder)
    try:
        while chunk := content.read(_CHUNK):
            go_on()
            _write_all(descriptor, chunk)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # what is read next is what the share has
        if _hash(descriptor, go_on) != file.sha256:
            raise DamagedCopyError(
                f"the copy of {file.name!r} does not have the content that was written",
                where=where,
                hint="look at the share and its server; it is tried again by itself",
            )
        _share_mode(descriptor, folder)
        try:
            os.rename(temporary, file.name, src_dir_fd=folder, dst_dir_fd=folder)
        except FileNotFoundError:  # removed by another server, which had the file whole first
            if not _has_content(folder, file, where, go_on):
                raise
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=folder)
        raise
    finally:
        os.close(descriptor)
    os.fsync(folder)


def _remove_parts(folder: int, files: Collection[StoredFile], *, before: float = math.inf) -> None:
    """Remove begun copies of these files, of any server, that were not written to since `before` (Unix time)."""
    names, contents = {file.name for file in files}, {file.sha256 for file in files}
    for name in os.listdir(folder):
        part = _PART.fullmatch(name)
        if part is None or part["sha256"] not in contents or name in names:
            continue
        with suppress(FileNotFoundError):
            if os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime < before:
                os.unlink(name, dir_fd=folder)


def _has_content(folder: int, file: StoredFile, where: str, go_on: Callable[[], None]) -> bool:
    """Whether the file is there, whole. Raises: InTheWayError when something else has its name."""
    try:
        status = os.stat(file.name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if stat.S_ISREG(status.st_mode) and status.st_size == file.size:
        descriptor = os.open(file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            if _hash(descriptor, go_on) == file.sha256:
                return True
        finally:
            os.close(descriptor)
    raise InTheWayError(
        f"there is another {file.name!r} already, which is not replaced",
        where=where,
        hint="move it away; it is tried again by itself",
    )


def _hash(descriptor: int, go_on: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    os.lseek(descriptor, 0, os.SEEK_SET)
    while chunk := os.read(descriptor, _CHUNK):
        go_on()
        digest.update(chunk)
    return digest.hexdigest()


def _write_all(descriptor: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


def _share_mode(descriptor: int, folder: int) -> None:
    """Give a new file or folder the permissions of the folder around it, as far as the file system takes them.

    The server's umask would leave them to its own user, and a share is for others.
    """
    status = os.fstat(descriptor)
    allowed = 0o777 if stat.S_ISDIR(status.st_mode) else 0o666
    kept = stat.S_IMODE(status.st_mode) & stat.S_ISGID
    with suppress(OSError):
        os.fchmod(descriptor, (os.fstat(folder).st_mode & allowed) | kept)
