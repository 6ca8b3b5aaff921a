"""Where outputs are written by themselves: a pattern for the folder of each task, below one that the file allows.

Pure: nothing here looks at a disk. `/mnt/nas/{batch}/{task}` is the pattern, `/mnt/nas` the allowed folder. Both
placeholders must be in a pattern, so that no two tasks have one folder.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from corral.errors import Problem, did_you_mean

BATCH, TASK = "batch", "task"
PLACEHOLDERS = (BATCH, TASK)
LONGEST_NAME = 255
"""Bytes of a file's or folder's name on the file systems of Linux (NAME_MAX)."""
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A pattern that was checked."""

    root: str
    """The allowed folder, as the cluster file writes it."""
    pattern: str
    """The path below it, with placeholders."""

    def fill_in(self, *, batch: str, task: str) -> str:
        """Return the path of a task's folder below `root`."""
        return self.pattern.replace(f"{{{BATCH}}}", batch).replace(f"{{{TASK}}}", task)


def find_destination(text: str, folders: Collection[str]) -> Destination | None:
    """Return where a pattern leads; None when `check_pattern` has something to say of it."""
    if any(check_pattern(text, folders)):
        return None
    return _split(text, folders)


def check_pattern(text: str, folders: Collection[str]) -> Iterator[Problem]:
    """Yield what is wrong with a pattern; `folders` are those that the cluster file allows."""
    names = _PLACEHOLDER.findall(text)
    for name in names:
        if name not in PLACEHOLDERS:
            known = " and ".join(f"{{{placeholder}}}" for placeholder in PLACEHOLDERS)
            what = f"there is no placeholder {{{name[:60]}}}; there are {known}"
            yield _make_problem(what, did_you_mean(name, PLACEHOLDERS, otherwise="use one of these, or plain text"))
    if set("{}") & set(_PLACEHOLDER.sub("", text)):
        yield _make_problem(f"a brace is open or closed alone in {text[:200]!r}", "write placeholders as {batch}")
    for name in PLACEHOLDERS:
        if name not in names:
            what = f"{{{name}}} is missing in {text[:200]!r}: several tasks would have one folder"
            yield _make_problem(what, "write it as `/mnt/nas/{batch}/{task}`")
    if not is_plain_path(text):
        yield _make_problem(
            f"{text[:200]!r} is not an absolute path without `.` and `..`", "write it as `/mnt/nas/{batch}/{task}`"
        )
    elif _split(text, folders) is None:
        listed = ", ".join(sorted(folders)) or "none"
        yield _make_problem(
            f"{text[:200]!r} is below no folder that the cluster file allows (`outputFolders`: {listed})",
            "name one of them, or add the folder to `outputFolders` and run `corral reload`",
        )


def is_plain_path(text: str) -> bool:
    """Whether text is an absolute path that leads nowhere else than it says."""
    return text.startswith("/") and not {".", ".."} & set(text.split("/")) and "\x00" not in text


def check_name(name: str) -> str | None:
    """Return why text cannot be a file's or folder's name; None when it can."""
    if name in ("", ".", ".."):
        return f"{name!r} cannot be a file's name"
    if "/" in name or "\\" in name or not name.isprintable():
        return f"{name[:80]!r} has a slash, a backslash or a control character, which a file's name cannot have"
    if len(name.encode(errors="replace")) > LONGEST_NAME:
        return f"{name[:80]!r} has more than the {LONGEST_NAME} bytes that a file's name can have"
    return None


def _split(text: str, folders: Collection[str]) -> Destination | None:
    """Divide a path at the longest of the folders that it is below."""
    path = PurePosixPath(text)
    roots = [folder for folder in folders if PurePosixPath(folder) in path.parents]
    if not roots:
        return None
    root = max(roots, key=lambda folder: len(PurePosixPath(folder).parts))
    return Destination(root=root, pattern=str(path.relative_to(root)))


def _make_problem(what: str, hint: str) -> Problem:
    return Problem(code="outputs.pattern", what=what, where="outputs", hint=hint)
