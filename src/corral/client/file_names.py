"""Names of the files that a run writes: readable, unique in the folder, and never outside it; pure.

A task's only output of a kind is named after the task: `say-1.wav`. Where a task makes several of one kind, the
output's own name is kept: `render.first.png`. A name that is taken already gets the task's number.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

MANIFEST = "manifest.json"
_LONGEST_STEM = 120  # with an extension and a number, under the 255 bytes that file systems take, in 1-byte characters
_LONGEST_EXTENSION = 12
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})
"""Device names on Windows, whatever follows the first dot; folders are copied to such machines."""


def safe(text: str) -> str:
    """Return a plain file name that people recognise; never empty, hidden, or a path."""
    name = _UNSAFE.sub("-", text).strip(".-")[:_LONGEST_STEM].rstrip(".-") or "unnamed"
    return f"_{name}" if name.split(".")[0].lower() in _RESERVED else name


class Names:
    """Gives each output its file name; the same outputs in the same order get the same names."""

    def __init__(self, taken: Mapping[tuple[int, str], str] | None = None) -> None:
        """Start with the names that an earlier run gave, by task and output."""
        self._given = dict(taken or {})
        self._used = {MANIFEST.casefold(), *(name.casefold() for name in self._given.values())}

    def of_task(self, task: int, name: str, outputs: Iterable[str]) -> dict[str, str]:
        """Return the file name for each of a task's outputs."""
        outputs = list(outputs)
        kinds = Counter(_extension(output) for output in outputs)
        return {output: self._name(task, name, output, alone=kinds[_extension(output)] == 1) for output in outputs}

    def _name(self, task: int, name: str, output: str, *, alone: bool) -> str:
        given = self._given.get((task, output))
        if given is not None:
            return given
        extension = _extension(output)
        stem = safe(name)
        if not alone or not extension:
            stem = f"{stem}.{safe(output.removesuffix(extension))}"[:_LONGEST_STEM]
        file = next(one for one in _candidates(stem, task, extension) if one.casefold() not in self._used)
        self._used.add(file.casefold())
        self._given[task, output] = file
        return file


def _candidates(stem: str, task: int, extension: str) -> Iterable[str]:
    yield f"{stem}{extension}"
    yield f"{stem}-{task}{extension}"
    number = 2
    while True:
        yield f"{stem}-{task}-{number}{extension}"
        number += 1


def _extension(output: str) -> str:
    """Return `.wav` of `speech.wav`, lower case; empty when there is none that is short and plain."""
    suffix = PurePosixPath(output.replace("\\", "/")).suffix.lower()
    return suffix if re.fullmatch(rf"\.[a-z0-9]{{1,{_LONGEST_EXTENSION}}}", suffix) else ""
