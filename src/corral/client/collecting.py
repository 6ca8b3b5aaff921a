"""A batch's outputs, written into a folder as its tasks end, with the manifest that says what is what.

Every file is written under a temporary name, compared with its checksum, and renamed, so a file with a readable name
is always whole. A file that is there already with the right content is kept; so a run that continues fetches the rest.
A file with other content is replaced if the manifest says that it is this batch's, and otherwise left as it is.
The temporary name is made of the checksum, so that a download that broke off goes on where it was.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

from corral.client.api import Api
from corral.client.file_fetching import fetch_file, has_content
from corral.client.output_folder import MANIFEST, FileNames, Heading, choose_folder, make_manifest, read_names
from corral.client.progress import BatchProgress, Output, TaskView
from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.files import write_whole
from corral.wire import write_out_values
from corral.work import Json

_MANIFEST_EVERY_S = 2.0
"""A manifest of thousands of tasks takes long enough to write that not each task should cost one."""


class OutputUnwritableError(CorralError):
    """The folder for outputs cannot be written to."""

    code: ClassVar[str] = "run.output_unwritable"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


class OutputsIncompleteError(ProblemsError):
    """Tasks succeeded, but some of their outputs could not be fetched; running again fetches them."""

    code: ClassVar[str] = "run.outputs_incomplete"
    kind: ClassVar[Kind] = Kind.UNAVAILABLE


def find_folder(out: Path, name: str, heading: Heading) -> Path:
    """Return the folder of this name, or one with the batch's number where that is another's; see `choose_folder`.

    Raises: OutputUnwritableError when a manifest that is there cannot be read.
    """
    try:
        return choose_folder(out, name, heading)
    except OSError as error:
        raise _make_unwritable_error(out, error) from error


@dataclass(slots=True)
class Collector:
    """The folder of one batch; tasks are handed in with `add`, and `run` writes what they made."""

    api: Api
    folder: Path
    heading: Heading
    batch_progress: BatchProgress
    _waiting: asyncio.Queue[TaskView] = field(default_factory=asyncio.Queue[TaskView])
    _names: FileNames = field(default_factory=FileNames)
    _ours: set[str] = field(default_factory=set[str])
    """Files in the folder that are of this batch, and can be replaced."""
    _written: dict[int, dict[str, str]] = field(default_factory=dict[int, dict[str, str]])
    _problems: list[Problem] = field(default_factory=list[Problem])
    _manifest_at: float = 0.0

    def open(self) -> None:
        """Make the folder, and keep the names that an earlier part of this very run gave.

        Raises: OutputUnwritableError.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _make_unwritable_error(self.folder, error) from error
        given = read_names(self.folder / MANIFEST, self.heading.batch)
        self._names, self._ours = FileNames(given), set(given.values())

    def add(self, task: TaskView) -> None:
        """Hand in a task that ended; never blocks."""
        self._waiting.put_nowait(task)

    async def run(self) -> None:
        """Write outputs as tasks are handed in; ends by being cancelled, after `drain`."""
        while True:
            task = await self._waiting.get()
            try:
                await self._collect(task)
            finally:
                self._waiting.task_done()

    async def drain(self) -> None:
        """Return once everything that was handed in is written, with the manifest.

        Raises: OutputsIncompleteError, OutputUnwritableError.
        """
        await self._waiting.join()
        self._write_manifest()
        if self._problems:
            raise OutputsIncompleteError(self._problems)

    async def _collect(self, task: TaskView) -> None:
        names = self._names.name_outputs(task.id, task.name, (output.name for output in task.outputs))
        written = self._written.setdefault(task.id, {})
        for output in task.outputs:
            try:
                is_there = partial(has_content, size=output.size, sha256=output.sha256)
                name = await self._claim_name(task, output.name, names[output.name], is_there)
                await self._fetch(task, output, self.folder / name)
                written[output.name] = name
            except CorralError as error:
                self._problems.append(_make_problem(error, task, output))
            except OSError as error:
                self._problems.append(_make_problem(_make_unwritable_error(self.folder, error), task, output))
        if task.state == "succeeded" and not task.outputs and task.result:
            await self._write_values(task)
        if asyncio.get_running_loop().time() - self._manifest_at > _MANIFEST_EVERY_S:
            self._write_manifest()

    async def _claim_name(self, task: TaskView, output: str, name: str, has_content: Callable[[Path], bool]) -> str:
        """Return the first name for an output under which there is nothing, what is this batch's, or the content."""
        while name not in self._ours and os.path.lexists(path := self.folder / name):
            if await asyncio.to_thread(has_content, path):
                break
            name = self._names.rename_output(task.id, output)
        self._ours.add(name)
        return name

    async def _fetch(self, task: TaskView, output: Output, target: Path) -> None:
        path = f"/corral/v1/tasks/{task.id}/outputs/{quote(output.name, safe='')}"
        await fetch_file(self.api, path, target, size=output.size, sha256=output.sha256)

    async def _write_values(self, task: TaskView) -> None:
        """Keep the small results of a task that made no file: its text as text, anything else as JSON."""
        output, content = write_out_values(task.result)
        name = self._names.name_outputs(task.id, task.name, [output])[output]
        try:
            name = await self._claim_name(task, output, name, partial(_has_bytes, content=content))
            write_whole(self.folder / name, content)
        except OSError as error:
            self._problems.append(_make_problem(_make_unwritable_error(self.folder, error), task, None))

    def _write_manifest(self) -> None:
        self._manifest_at = asyncio.get_running_loop().time()
        content = _dump(make_manifest(self.heading, self.batch_progress.all, self._written))
        try:
            write_whole(self.folder / MANIFEST, content)
        except OSError as error:
            raise _make_unwritable_error(self.folder, error) from error


def _has_bytes(path: Path, content: bytes) -> bool:
    try:
        return path.read_bytes() == content
    except OSError:
        return False


def _dump(value: Json) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _make_unwritable_error(folder: Path, error: OSError) -> OutputUnwritableError:
    return OutputUnwritableError(
        f"an output cannot be written: {error.strerror or error}",
        where=str(folder),
        hint="make room or choose another folder with `--out`, and run the same command again",
    )


def _make_problem(error: CorralError, task: TaskView, output: Output | None) -> Problem:
    place = f"{task.name}, {output.name}" if output else task.name
    return Problem(code=error.code, what=f"{place}: {error.what}", where=error.where, hint=error.hint)
