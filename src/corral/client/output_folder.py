"""The folder of a run's outputs: its manifest (what each task did and made) and the names of its files.

File names are readable, unique in the folder, and never outside it. A task's only output of a kind is named after the
task: `say-1.wav`. Where a task makes several of one kind, the output's own name is kept: `render.first.png`. A name
that is taken already gets the task's number.

A folder is of one batch. Where the manifest in it is of another, the folder's name gets the batch's number; a file that
is there and is not of this batch is never replaced.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path, PurePosixPath

from corral.client.progress import TaskView
from corral.client.tally import count_states
from corral.files import LONGEST_STEM, to_file_name
from corral.work import Json

VERSION = 1
"""Grows when a reader of older manifests could be misled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heading:
    """Which run a manifest is of."""

    name: str
    batch: int | None
    """None for a task that was fetched alone."""
    digest: str | None
    """SHA-256 of what was asked for; None where it was submitted elsewhere."""


def make_manifest(heading: Heading, tasks: Sequence[TaskView], files: Mapping[int, Mapping[str, str]]) -> Json:
    """Return the manifest; `files` has, by task and output, the name of the file in the folder."""
    return {
        "version": VERSION,
        "name": heading.name,
        "batch": heading.batch,
        "digest": heading.digest,
        "states": count_states(tasks),
        "tasks": [_make_entry(task, files.get(task.id, {})) for task in tasks],
    }


def read_names(path: Path, batch: int | None) -> dict[tuple[int, str], str]:
    """Return the file names that a manifest of this batch gave, by task and output; none when it is of another."""
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if earlier["batch"] != batch:
            return {}
        return {
            (task["id"], output["name"]): output["file"]
            for task in earlier["tasks"]
            for output in task["outputs"]
            if _is_plain(output["file"])
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}  # absent, or not ours: names are then given anew


def choose_folder(out: Path, name: str, heading: Heading) -> Path:
    """Return the folder of this name, or the next one, with the batch's number, that has no manifest of another batch.

    Raises: OSError when a manifest that is there cannot be read.
    """
    names = _generate_names(to_file_name(name), heading.batch, "")
    folders = (out / folder for folder in names)
    return next(folder for folder in folders if not _is_of_another(folder / MANIFEST, heading.batch))


def _is_of_another(path: Path, batch: int | None) -> bool:
    """Whether a file is there that is not the manifest of this batch."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))["batch"] != batch
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (ValueError, KeyError, TypeError):
        return True  # manifests are written whole: it is not ours


def _is_plain(name: Json) -> bool:
    """Whether a name stays in the folder, whatever the manifest has."""
    return isinstance(name, str) and name == Path(name).name and not name.startswith(".")


def _make_entry(task: TaskView, files: Mapping[str, str]) -> Json:
    return {
        "id": task.id,
        "name": task.name,
        "state": task.state,
        "engine": task.engine,
        "model": task.model,
        "inputs": dict(task.inputs),
        "slots": list(task.slots),
        "failed_attempts": task.failed_attempts,
        "started_at": _format_instant(task.started_at),
        "finished_at": _format_instant(task.finished_at),
        "waited_s": task.waited_s,
        "ran_s": task.ran_s,
        "values": task.result,
        "outputs": [
            {
                "name": output.name,
                "file": files.get(output.name),
                "sha256": output.sha256,
                "size": output.size,
                "media_type": output.media_type,
            }
            for output in task.outputs
        ],
        "error": task.error,
    }


def _format_instant(instant: datetime | None) -> str | None:
    return None if instant is None else instant.isoformat()


MANIFEST = "manifest.json"
_LONGEST_EXTENSION = 12


class FileNames:
    """Gives each output its file name; the same outputs in the same order get the same names."""

    def __init__(self, taken: Mapping[tuple[int, str], str] | None = None) -> None:
        """Start with the names that an earlier run gave, by task and output."""
        self._given = dict(taken or {})
        self._candidates: dict[tuple[int, str], Iterator[str]] = {}
        self._used = {MANIFEST.casefold(), *(name.casefold() for name in self._given.values())}

    def name_outputs(self, task: int, name: str, outputs: Iterable[str]) -> dict[str, str]:
        """Return the file name for each of a task's outputs."""
        outputs = list(outputs)
        kinds = Counter(_find_extension(output) for output in outputs)
        return {
            output: self._choose_name(task, name, output, alone=kinds[_find_extension(output)] == 1)
            for output in outputs
        }

    def rename_output(self, task: int, output: str) -> str:
        """Return the next file name for an output that was named here: the one it had is not free in the folder."""
        file = next(candidate for candidate in self._candidates[task, output] if candidate.casefold() not in self._used)
        self._used.add(file.casefold())
        self._given[task, output] = file
        return file

    def _choose_name(self, task: int, name: str, output: str, *, alone: bool) -> str:
        given = self._given.get((task, output))
        if given is not None:
            return given
        extension = _find_extension(output)
        stem = to_file_name(name)
        if not alone or not extension:
            stem = f"{stem}.{to_file_name(output.removesuffix(extension))}"[:LONGEST_STEM]
        self._candidates[task, output] = _generate_names(stem, task, extension)
        return self.rename_output(task, output)


def _generate_names(stem: str, owner: int | None, extension: str) -> Iterator[str]:
    """Yield names, the plainest first; `owner` is the number of the task or batch, None for none."""
    yield f"{stem}{extension}"
    if owner is not None:
        stem = f"{stem}-{owner}"
        yield f"{stem}{extension}"
    for number in count(2):
        yield f"{stem}-{number}{extension}"


def _find_extension(output: str) -> str:
    """Return `.wav` of `speech.wav`, lower case; empty when there is none that is short and plain."""
    suffix = PurePosixPath(output.replace("\\", "/")).suffix.lower()
    return suffix if re.fullmatch(rf"\.[a-z0-9]{{1,{_LONGEST_EXTENSION}}}", suffix) else ""
