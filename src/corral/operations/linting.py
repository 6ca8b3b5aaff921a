"""Finds the files that a linter is asked about, reads them, and writes back what it mended."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import ClassVar

from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.linting.values import Source

SUFFIXES = frozenset({".yaml", ".yml", ".nix", ".md", ".markdown"})
"""What is looked for in folders; a file that is named is read whatever it is called."""
_NAMES = frozenset({"Kustomization"})
_SKIPPED = frozenset({"node_modules", "__pycache__", "venv", "site-packages"})
"""Folders of other people's files; folders whose name starts with a dot are left out too."""
LARGEST_FILE = 256 * 2**20
"""Bytes; such a file is told without being read."""


class NothingToLintError(CorralError):
    """There is nothing there that could be judged."""

    code: ClassVar[str] = "lint.nothing"
    kind: ClassVar[Kind] = Kind.MISSING


class FileChangedError(CorralError):
    """A file is not as it was when it was judged."""

    code: ClassVar[str] = "lint.file_changed"
    kind: ClassVar[Kind] = Kind.CONFLICT


def find_sources(paths: Iterable[Path]) -> tuple[Source, ...]:
    """Read files and folders, each file once, in order of name.

    Raises: ProblemsError with every path that is not there or cannot be read, NothingToLintError.
    """
    problems: list[Problem] = []
    found: dict[str, Source] = {}
    for path in paths:
        if not path.exists():
            problems.append(Problem(code="lint.no_file", what="there is no such file or folder", where=str(path)))
        for file in _files(path):
            source = _read(file, problems)
            if source is not None:
                found.setdefault(source.name, source)
    if problems:
        raise ProblemsError(problems)
    if not found:
        named = ", ".join(str(path) for path in paths)
        wanted = ", ".join(sorted(SUFFIXES))
        raise NothingToLintError(f"nothing to judge in {named}", hint=f"name a file, or a folder that holds {wanted}")
    return tuple(found.values())


def write_mended(before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Replace each file with its new text, unless it was changed meanwhile. Raises: FileChangedError."""
    for file, text in after.items():
        path = Path(file)
        if path.read_bytes() != before[file].encode():
            raise FileChangedError("the file was changed meanwhile", where=file, hint="run the command again")
        temporary = path.with_name(f".{path.name}.new")
        temporary.write_bytes(text.encode())
        temporary.chmod(path.stat().st_mode & 0o7777)
        temporary.replace(path)


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for folder, below, names in os.walk(path):
        below[:] = sorted(one for one in below if one not in _SKIPPED and not one.startswith("."))
        for name in sorted(names):
            if Path(name).suffix.lower() in SUFFIXES or name in _NAMES:
                yield Path(folder) / name


def _read(file: Path, problems: list[Problem]) -> Source | None:
    try:
        size = file.stat().st_size
        if size > LARGEST_FILE:
            problems.append(
                Problem(code="lint.too_large", what=f"{size:,} bytes; up to {LARGEST_FILE:,} are read", where=str(file))
            )
            return None
        # As bytes: line ends stay as they are, so that an edit changes nothing else.
        return Source(name=str(file), text=file.read_bytes().decode("utf-8", errors="replace"))
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        problems.append(Problem(code="lint.unreadable", what=what, where=str(file)))
        return None
