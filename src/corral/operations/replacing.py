"""Writes a file that somebody else may be editing: all of it or nothing, and never over a change that nobody read."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import ClassVar

from corral.errors import CorralError, Kind


class ChangedMeanwhileError(CorralError):
    """The file is not the one any more that the new text was made from."""

    code: ClassVar[str] = "file.changed"
    kind: ClassVar[Kind] = Kind.CONFLICT


class UnwritableFileError(CorralError):
    """The file cannot be written."""

    code: ClassVar[str] = "file.unwritable"
    kind: ClassVar[Kind] = Kind.DENIED


def replace_text(path: Path, *, before: str, after: str) -> None:
    """Replace the text of a file at once, if it is still `before`; owner, mode and links stay.

    Raises: ChangedMeanwhileError, UnwritableFileError.
    """
    target = path.resolve()  # a link stays a link
    try:
        kept = target.stat()
        descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        temporary = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(after.encode())
                file.flush()
                os.fsync(file.fileno())
            temporary.chmod(kept.st_mode & 0o7777)
            with contextlib.suppress(PermissionError):  # only root can give a file away; `sudo` must not take it
                os.chown(temporary, kept.st_uid, kept.st_gid)
            _check(target, before)  # as late as can be: what is written between this and the next line is lost
            temporary.replace(target)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
    except OSError as error:
        raise UnwritableFileError(
            f"cannot write: {error.strerror or error}", where=str(path), hint="look at its permissions"
        ) from error


def _check(target: Path, before: str) -> None:
    if target.read_bytes() != before.encode():
        what = "the file was changed after it was read; nothing was written"
        raise ChangedMeanwhileError(what, where=str(target), hint="run the command again, on the file as it is now")
