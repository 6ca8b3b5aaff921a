"""Finds the files that a linter is asked about, reads them, and writes back what it mended."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.files import replace_text
from corral.linting.kustomizing import NAMES, listed_by, normal
from corral.linting.values import STDIN, Source

SUFFIXES = frozenset({".yaml", ".yml", ".nix", ".md", ".markdown"})
"""What is looked for in folders; a file that is named is read whatever it is called."""
_SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})
"""Folders of other people's files; folders whose name starts with a dot are left out too."""
LARGEST_FILE = 64 * 2**20
"""Bytes; a larger file is told without being read."""
_DASH = Path("-")


class NothingToLintError(CorralError):
    """There is nothing there that could be judged."""

    code: ClassVar[str] = "lint.nothing"
    kind: ClassVar[Kind] = Kind.MISSING


def find_sources(paths: Iterable[Path]) -> tuple[Source, ...]:
    """Read files and folders, each file once, in order of name; and what kustomizations among them list elsewhere.

    What is there and cannot be read is a source that says why. `-` is the standard input.
    Raises: ProblemsError with every path that is not there, NothingToLintError.
    """
    paths = tuple(paths)
    problems = [
        Problem(code="lint.no_file", what="there is no such file or folder", where=str(path))
        for path in paths
        if path != _DASH and not _is_there(path)
    ]
    if problems:
        raise ProblemsError(problems)
    found: dict[str, Source] = {}
    for path in paths:
        if path == _DASH:
            found[STDIN] = _decoded(STDIN, sys.stdin.buffer.read(LARGEST_FILE + 1))
            continue
        unreadable: list[OSError] = []
        for file in _files(path, unreadable.append):
            found.setdefault(normal(str(file)), _read(file))
        for error in unreadable:
            found.setdefault(normal(str(error.filename)), _unread(str(error.filename), error))
    if not found:
        named = ", ".join(str(path) for path in paths)
        wanted = ", ".join(sorted(SUFFIXES))
        raise NothingToLintError(f"nothing to judge in {named}", hint=f"name a file, or a folder that holds {wanted}")
    _follow(found)
    return tuple(found.values())


def _follow(found: dict[str, Source]) -> None:
    """Add the files that kustomizations list: an overlay is judged with its base, wherever that lies."""
    waiting = list(found.values())
    while waiting:
        for entry in listed_by(waiting.pop()):
            path = Path(entry)
            files = _kustomization_in(path) if _is(path, stat.S_ISDIR) else [path] if _is(path, stat.S_ISREG) else []
            for file in files:
                if normal(str(file)) not in found:
                    source = found[normal(str(file))] = _read(file)
                    waiting.append(source)


def _kustomization_in(folder: Path) -> list[Path]:
    return [folder / name for name in sorted(NAMES) if _is(folder / name, stat.S_ISREG)]


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    """Tell whether a path is of a kind; what cannot be asked is not."""
    try:
        return kind(path.stat().st_mode)
    except (OSError, ValueError):  # the latter for a name with a zero character
        return False


def _is_there(path: Path) -> bool:
    """Tell whether something is there: also a link to nowhere, and what may not be looked at."""
    try:
        path.lstat()
    except (OSError, ValueError) as error:
        return isinstance(error, PermissionError)
    return True


def write_mended(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Replace each file with its new text. Raises: ChangedMeanwhileError, UnwritableFileError."""
    for file, text in after.items():
        replace_text(Path(file), before=before[file], after=text)


def _files(path: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    if not _is(path, stat.S_ISDIR):
        yield path
        return
    for folder, below, names in os.walk(path, onerror=on_error):
        below[:] = sorted(one for one in below if one not in _SKIPPED and not one.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in SUFFIXES or name in NAMES:
                yield Path(folder) / name


def _read(file: Path) -> Source:
    """A file as a source; one that is no regular file, too large, or not text says so."""
    try:
        facts = file.stat()
        if not stat.S_ISREG(facts.st_mode):
            return Source(name=str(file), text="", unread="not a regular file")
        if facts.st_size > LARGEST_FILE:
            why = f"{facts.st_size:,} bytes; up to {LARGEST_FILE:,} are read"
            return Source(name=str(file), text="", unread=why)
        return _decoded(str(file), file.read_bytes())
    except OSError as error:
        return _unread(str(file), error)


def _unread(name: str, error: OSError) -> Source:
    return Source(name=name, text="", unread=f"cannot be read: {error.strerror or error}")


def _decoded(name: str, content: bytes) -> Source:
    """Text as it stands: line ends are kept, so that an edit changes nothing else."""
    if len(content) > LARGEST_FILE:
        return Source(name=name, text="", unread=f"more than {LARGEST_FILE:,} bytes")
    if b"\0" in content:
        return Source(name=name, text="", unread="not text: it holds a zero byte")
    try:
        return Source(name=name, text=content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Source(name=name, text="", unread=f"not UTF-8: byte {content[error.start]:#04x} in line {line}")
