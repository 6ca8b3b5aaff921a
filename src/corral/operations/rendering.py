"""Writes rendered files into a folder, and compares them with what is there."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.files import write_whole
from corral.operations.cluster_file import FileText, check_cluster
from corral.operations.diffs import diff_texts
from corral.operations.placing import find_places

MARK = "Written by `corral render`"
"""Words in the first lines of every rendered file; nothing else is ever overwritten or removed."""
_LINES_READ = 5


class ForeignFileError(CorralError):
    """A file that `corral render` did not write is in the way."""

    code: ClassVar[str] = "render.foreign_file"
    kind: ClassVar[Kind] = Kind.CONFLICT


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChange:
    """What happens to one file."""

    path: str
    before: str | None
    """None: it is new."""
    after: str | None
    """None: it is no longer written, and is removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderAsked:
    """A cluster file that is rendered."""

    cluster: FileText
    layouts: tuple[str, ...] = ()
    """The only layouts to render; empty renders all of the file."""
    only: tuple[str, ...] = ()
    """The only targets to render; empty renders all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderAnswer:
    """The configuration of a cluster."""

    files: Mapping[str, str]
    """Text by path, with `/` between folders."""
    notes: tuple[str, ...]
    """Parts that are left out or are up to people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedTarget:
    """A kind of configuration."""

    name: str
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderTargets:
    """All that can be rendered."""

    items: tuple[ListedTarget, ...]


def render_files(asked: RenderAsked) -> RenderAnswer:
    """Render a cluster file. Raises: ClusterFileError, UnknownTargetError, UnknownLayoutError, ContradictionError."""
    from corral.rendering import targets  # it loads half a second of libraries; a server starts without

    file = check_cluster(asked.cluster)
    rendering = targets.render_cluster(
        file.cluster,
        source=file.name,
        text=file.text,
        layouts=asked.layouts,
        only=asked.only,
        find_places=find_places,
    )
    return RenderAnswer(files=rendering.files, notes=rendering.notes)


def list_targets() -> RenderTargets:
    """List all that can be rendered."""
    from corral.rendering.targets import TARGETS

    return RenderTargets(items=tuple(ListedTarget(name=target.name, summary=target.summary) for target in TARGETS))


def compare_folder(files: Mapping[str, str], folder: Path, *, is_whole: bool) -> tuple[FileChange, ...]:
    """Compare with what is in a folder; `is_whole` also removes files of ours that are no longer written.

    Raises: ForeignFileError when a file that is not ours is in the way.
    """
    changed: list[FileChange] = []
    for path, text in files.items():
        before = _read_text(folder / path)
        if before is not None and before != text and not _is_ours(before):
            raise ForeignFileError(
                "a file that was not written by `corral render` is in the way",
                where=str(folder / path),
                hint="choose another folder with --out, or move the file away",
            )
        if before != text:
            changed.append(FileChange(path=path, before=before, after=text))
    gone = _find_left_over(files, folder) if is_whole else ()
    return (*changed, *(FileChange(path=path, before=_read_text(folder / path), after=None) for path in gone))


def write(changed: Collection[FileChange], folder: Path) -> None:
    """Make the changes, each file at once or not at all."""
    for change in changed:
        target = folder / change.path
        if change.after is None:
            target.unlink()
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, change.after)


def write_diff(changed: Collection[FileChange]) -> Iterator[str]:
    """A unified diff of the changes."""
    for change in changed:
        old_name = "/dev/null" if change.before is None else change.path
        new_name = "/dev/null" if change.after is None else change.path
        yield from diff_texts(change.before or "", change.after or "", old_name, new_name)


def _find_left_over(files: Mapping[str, str], folder: Path) -> Iterator[str]:
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        name = path.relative_to(folder).as_posix()
        if name not in files and path.is_file() and _is_ours(_read_text(path) or ""):
            yield name


def _is_ours(text: str) -> bool:
    return any(MARK in line for line in text.splitlines()[:_LINES_READ])


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        return ""
