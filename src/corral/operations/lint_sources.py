"""Finds and reads the files of a lint, and writes back its fixes."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.files import replace_text
from corral.linting.compose.projects import list_companions
from corral.linting.kustomizing import NAMES, list_files, normalize_path
from corral.linting.values import STDIN, Source

SUFFIXES = frozenset({".yaml", ".yml", ".nix", ".md", ".markdown"})
"""Looked for in folders; a file that is named is read whatever its suffix."""
_SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})
"""Folders of other projects' files; folders whose name starts with a dot are left out too."""
LARGEST_FILE = 64 * 2**20
"""Bytes; a larger file is reported without being read."""
_DASH = Path("-")


class NothingToLintError(CorralError):
    """The paths have no file that can be linted."""

    code: ClassVar[str] = "lint.nothing"
    kind: ClassVar[Kind] = Kind.MISSING


def find_sources(paths: Iterable[Path]) -> tuple[Source, ...]:
    """Read files and folders, each file once, in order of name, and the files that these name in turn.

    A file that cannot be read is a source with the reason. `-` is the standard input.
    Raises: ProblemsError with every missing path, NothingToLintError.
    """
    paths = tuple(paths)
    problems = [
        Problem(code="lint.no_file", what="there is no such file or folder", where=str(path))
        for path in paths
        if path != _DASH and not _is_there(path)
    ]
    if problems:
        raise ProblemsError(problems)
    sources: dict[str, Source] = {}
    for path in paths:
        if path == _DASH:
            sources[STDIN] = _decode(STDIN, sys.stdin.buffer.read(LARGEST_FILE + 1))
            continue
        unreadable: list[OSError] = []
        for file in _find_files(path, unreadable.append):
            sources.setdefault(normalize_path(str(file)), _read(file))
        for error in unreadable:
            sources.setdefault(normalize_path(str(error.filename)), _make_unread(str(error.filename), error))
    if not sources:
        named = ", ".join(str(path) for path in paths)
        wanted = ", ".join(sorted(SUFFIXES))
        raise NothingToLintError(f"nothing to lint in {named}", hint=f"name a file, or a folder with {wanted}")
    _follow(sources)
    return tuple(sources.values())


def _follow(sources: dict[str, Source]) -> None:
    """Add the files that kustomizations and Compose files name: an overlay is linted with its base, wherever it is."""
    waiting = list(sources.values())
    while waiting:
        source = waiting.pop()
        for entry in (*list_files(source), *list_companions(source)):
            path = Path(entry)
            files = _find_kustomization(path) if _is(path, stat.S_ISDIR) else [path] if _is(path, stat.S_ISREG) else []
            for file in files:
                if normalize_path(str(file)) not in sources:
                    added = sources[normalize_path(str(file))] = _read(file)
                    waiting.append(added)


def _find_kustomization(folder: Path) -> list[Path]:
    return [folder / name for name in sorted(NAMES) if _is(folder / name, stat.S_ISREG)]


def _is(path: Path, kind: Callable[[int], bool]) -> bool:
    """Return whether a path is of a kind; False when that cannot be read."""
    try:
        return kind(path.stat().st_mode)
    except (OSError, ValueError):  # the latter for a name with a zero character
        return False


def _is_there(path: Path) -> bool:
    """Return whether a path exists: also a broken link, and a path without permission."""
    try:
        path.lstat()
    except (OSError, ValueError) as error:
        return isinstance(error, PermissionError)
    return True


def write_fixed(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Replace each file with its new text. Raises: ChangedMeanwhileError, UnwritableFileError."""
    for file, text in after.items():
        replace_text(Path(file), before=before[file], after=text)


def _find_files(path: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    if not _is(path, stat.S_ISDIR):
        yield path
        return
    for folder, below, names in os.walk(path, onerror=on_error):
        below[:] = sorted(
            folder_name for folder_name in below if folder_name not in _SKIPPED and not folder_name.startswith(".")
        )
        for name in sorted(names):
            if Path(name).suffix.lower() in SUFFIXES or name in NAMES:
                yield Path(folder) / name


def _read(file: Path) -> Source:
    """Read a file as a source; one that is not a regular file, too large, or not text has the reason."""
    try:
        facts = file.stat()
        if not stat.S_ISREG(facts.st_mode):
            return Source(name=str(file), text="", unread="not a regular file")
        if facts.st_size > LARGEST_FILE:
            why = f"{facts.st_size:,} bytes; up to {LARGEST_FILE:,} are read"
            return Source(name=str(file), text="", unread=why)
        return _decode(str(file), file.read_bytes())
    except OSError as error:
        return _make_unread(str(file), error)


def _make_unread(name: str, error: OSError) -> Source:
    return Source(name=name, text="", unread=f"cannot be read: {error.strerror or error}")


def _decode(name: str, content: bytes) -> Source:
    """Decode text with its line ends, so that an edit changes nothing else."""
    if len(content) > LARGEST_FILE:
        return Source(name=name, text="", unread=f"more than {LARGEST_FILE:,} bytes")
    if b"\0" in content:
        return Source(name=name, text="", unread="not text: it has a zero byte")
    try:
        return Source(name=name, text=content.decode("utf-8"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        return Source(name=name, text="", unread=f"not UTF-8: byte {content[error.start]:#04x} in line {line}")
