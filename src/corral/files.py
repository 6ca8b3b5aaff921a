"""Whole-file writes: a reader sees the old file or the new one, and after a power cut one of the two is on the disk.

The content goes to a temporary file in the same folder, is synced, and is renamed over the target; then the folder is
synced, without which the rename itself can be lost (rename(2), fsync(2)).

Belongs here: writing files whole, and plain names for them, for every package that writes one.
Does not belong here: what is in a file; files that grow (logs, downloads).
May import: `corral.errors`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

from corral.errors import CorralError, Kind

NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
"""Errors of a disk that takes nothing more: full, over a quota, read-only (which Linux makes of one that fails)."""
_NEW_FILE_MODE = 0o666
"""Before the umask, as for every file that a program creates."""
LONGEST_STEM = 120
"""With an extension and a number, under the 255 bytes that file systems take, in 1-byte characters."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})
"""Device names on Windows, whatever follows the first dot; folders are copied to such machines."""


class ChangedMeanwhileError(CorralError):
    """The file was changed since the new text was made from it."""

    code: ClassVar[str] = "file.changed"
    kind: ClassVar[Kind] = Kind.CONFLICT


class UnwritableFileError(CorralError):
    """The file cannot be written."""

    code: ClassVar[str] = "file.unwritable"
    kind: ClassVar[Kind] = Kind.DENIED


def write_whole(path: Path, content: str | bytes, *, mode: int | None = None) -> None:
    """Write a file: all of the content or nothing, on the disk when this returns.

    A link stays a link. A file that is replaced keeps its owner and mode, unless `mode` is given. What is not a regular
    file (`/dev/stdout`, a pipe) is written to directly. Raises: OSError.
    """
    _write(path, content, mode=mode, check=lambda _: None)


def replace_text(path: Path, *, before: str, after: str) -> None:
    """Replace the text of a file that another program can be editing, if it is still `before`.

    Raises: ChangedMeanwhileError, UnwritableFileError.
    """

    def check(target: Path) -> None:
        if target.read_bytes() != before.encode():
            what = "the file was changed after it was read; nothing was written"
            raise ChangedMeanwhileError(what, where=str(path), hint="run the command again, on the file as it is now")

    try:
        _write(path, after, mode=None, check=check)
    except OSError as error:
        raise UnwritableFileError(
            f"cannot write: {error.strerror or error}", where=str(path), hint="look at its permissions"
        ) from error


def sync_file(path: Path) -> None:
    """Make what was written to a file survive a power cut. Raises: OSError."""
    _sync(path, os.O_RDONLY)


def sync_folder(folder: Path) -> None:
    """Make the renames in a folder survive a power cut. Raises: OSError."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, content: str | bytes, *, mode: int | None, check: Callable[[Path], None]) -> None:
    data = content.encode() if isinstance(content, str) else content
    target = path.resolve()
    kept = _get_status(target)
    if kept is not None and not stat.S_ISREG(kept.st_mode):
        check(target)
        target.write_bytes(data)
        return
    temporary = target.with_name(f".{uuid4().hex}.new")
    try:
        _create(temporary, data, _NEW_FILE_MODE if mode is None else mode)
        if kept is not None:
            _keep_owner(temporary, kept, mode)
        check(target)  # as late as can be: what is written between this and the next line is lost
        temporary.replace(target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
    sync_folder(target.parent)


def _get_status(target: Path) -> os.stat_result | None:
    try:
        return target.stat()
    except FileNotFoundError:
        return None


def _create(temporary: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _keep_owner(temporary: Path, kept: os.stat_result, mode: int | None) -> None:
    if mode is None:
        temporary.chmod(kept.st_mode & 0o7777)
    with contextlib.suppress(PermissionError):  # only root can give a file away; `sudo` must not take it
        os.chown(temporary, kept.st_uid, kept.st_gid)


def to_file_name(text: str) -> str:
    """Return a plain file name that people recognise; never empty, hidden, or a path."""
    name = _UNSAFE.sub("-", text).strip(".-")[:LONGEST_STEM].rstrip(".-") or "unnamed"
    return f"_{name}" if name.split(".")[0].lower() in _RESERVED else name
