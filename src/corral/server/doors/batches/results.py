"""Writes the output and error files of a batch from its tasks, a page at a time.

Everything but `ResultFiles.close` blocks: it runs outside the event loop.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from types import TracebackType

from corral.gateway.openai.batches.answers import Result, make_answer
from corral.gateway.openai.batches.lines import (
    Line,
    read_line,
    write_answer_line,
    write_failure_line,
    write_undone_line,
)
from corral.narrowing import as_list, as_object
from corral.server.doors.batches.reading import read_number
from corral.tasks.artifacts import ArtifactMissingError, ArtifactStore, Content
from corral.tasks.lifecycle import TaskState
from corral.tasks.values import Task

_TEXT, _THINKING, _VECTORS = "text.txt", "thinking.txt", "embeddings.json"
_CANCELLED = "batch_cancelled"


class ResultFiles:
    """The two files while they are written, in a folder that goes when the context ends."""

    def __init__(self, *, endpoint: str, requests: Path, artifacts: ArtifactStore, scratch: Path) -> None:
        self._endpoint = endpoint
        self._artifacts = artifacts
        self._requests = requests.open("rb")
        self._places = _find_places(requests)
        scratch.mkdir(parents=True, exist_ok=True)
        self._folder = Path(mkdtemp(dir=scratch, prefix="batch-"))
        self._output, self._error = (self._folder / name for name in ("output", "error"))
        self.completed = 0
        self.failed = 0

    def __enter__(self) -> ResultFiles:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._requests.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add_lines(self, content: Path) -> None:
        """Copy lines of the error file that are stored already."""
        with content.open("rb") as source, self._error.open("ab") as target:
            shutil.copyfileobj(source, target)

    def add_tasks(self, tasks: Sequence[Task]) -> None:
        """Add ended tasks."""
        answers, errors = list[bytes](), list[bytes]()
        for task in tasks:
            (answers if task.state is TaskState.SUCCEEDED else errors).append(self._write(task))
        for path, lines in ((self._output, answers), (self._error, errors)):
            if lines:
                with path.open("ab") as file:
                    file.writelines(lines)
        self.completed += len(answers)
        self.failed += len(errors)

    def store(self) -> tuple[Content | None, Content | None]:
        """Take both into the artifact store; None for one without a line. Raises: DiskFullError."""
        output, error = (self._artifacts.adopt(path) if path.exists() else None for path in (self._output, self._error))
        self._artifacts.settle(content for content in (output, error) if content is not None)
        return output, error

    def _write(self, task: Task) -> bytes:
        line, id = self._read_line(task), str(task.id)
        if task.state is TaskState.SUCCEEDED:
            try:
                return write_answer_line(id, line.custom_id, make_answer(self._endpoint, line.body, self._read(task)))
            except ArtifactMissingError:  # it was deleted by hand, or its retention is shorter than the batch
                return write_failure_line(
                    id, line.custom_id, code="answer_missing", message="the answer's file is gone"
                )
        if task.state is TaskState.CANCELLED:
            return write_undone_line(id, line.custom_id, code=_CANCELLED, message="it was cancelled before it was done")
        code, what = ("task.failed", "the task failed") if task.error is None else (task.error.code, task.error.what)
        return write_failure_line(id, line.custom_id, code=code, message=what)

    def _read_line(self, task: Task) -> Line:
        number = read_number(task.name)
        self._requests.seek(self._places[number - 1])
        return read_line(number, self._requests.readline())

    def _read(self, task: Task) -> Result:
        values = task.result or {}
        text = values.get("text")
        if not isinstance(text, str):  # too long to be kept with the task
            text = self._read_output(task, _TEXT)
        vectors = as_object(json.loads(self._read_output(task, _VECTORS) or "{}")).get("embeddings")
        return Result(
            id=str(task.id),
            created=0 if task.finished_at is None else int(task.finished_at.timestamp()),
            values=values,
            text=text,
            thinking=self._read_output(task, _THINKING),
            vectors=as_list(vectors),
        )

    def _read_output(self, task: Task, name: str) -> str:
        for output in task.outputs:
            if output.name == name:
                return self._artifacts.locate(output.sha256).read_text(encoding="utf-8")
        return ""


def _find_places(requests: Path) -> Sequence[int]:
    """Return where each line that is not blank begins, in bytes."""
    places: list[int] = []
    with requests.open("rb") as file:
        while True:
            place = file.tell()
            content = file.readline()
            if not content:
                return places
            if content.strip():
                places.append(place)
