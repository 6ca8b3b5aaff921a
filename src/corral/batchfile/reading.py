"""A batch file, read in steps: YAML, shape, files that it takes in, one task for each that is meant, checks, request.

The request body has the same parts as the file, with units written out and paths made absolute. YAML with positions,
field types and wording come from the cluster file, so both are alike.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic.alias_generators import to_camel

from corral.batchfile.bounds import Bounds
from corral.batchfile.checks import check
from corral.batchfile.expanding import Expanded, expand
from corral.batchfile.objects import SourceError, find_path
from corral.batchfile.shape import BatchShape, DefaultsShape, OutputShape, PathShape, TaskShape, UploadShape
from corral.batchfile.sources import Convert, Sources, report_source
from corral.batchfile.validating import recode, validate_shape
from corral.batchfile.values import BatchFile
from corral.cluster.document import Document, YamlPath
from corral.cluster.machine_shapes import Shape
from corral.cluster.parsing import read
from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.requests import BatchFields, TaskFields, request_of
from corral.work import Json

_PART = re.compile(r"(?:tasks\[(\d+)\](?: \(.*?\))?|defaults)(.*)", re.DOTALL)


class BatchFileError(ProblemsError):
    """A batch file that cannot be used; `problems` has every reason, in the order of the file."""

    code: ClassVar[str] = "batchfile.invalid"


class BatchFileMissingError(CorralError):
    """There is no such file, or it cannot be read."""

    code: ClassVar[str] = "batchfile.missing"
    kind: ClassVar[Kind] = Kind.MISSING


@dataclasses.dataclass(frozen=True, slots=True)
class Read:
    """A batch file and the places of its parts, for the problems that the server finds."""

    batch: BatchFile
    document: Document

    def make_error(self, problems: tuple[Problem, ...]) -> BatchFileError:
        """Make the error for problems that the server found, with their places in the file where they have one."""
        for problem in problems:
            place = _parse_path(problem.where, self.batch.origins)
            self.document.report(problem.code, problem.what, at=place, hint=problem.hint)
        return BatchFileError(self.document.sort_problems())


def open_batch_file(path: Path, convert: Convert | None = None) -> Read:
    """Read the batch file at a path; `convert` takes workflows as an editor saves them.

    Raises: BatchFileMissingError, BatchFileError.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BatchFileMissingError(
            f"not UTF-8 text: {error.reason}", where=str(path), hint="save it as UTF-8"
        ) from error
    except OSError as error:
        raise BatchFileMissingError(
            f"the batch file cannot be read: {error.strerror}", where=str(path), hint="check the path"
        ) from error
    return read_batch(text, filename=str(path), folder=path.parent, convert=convert)


def read_batch(text: str, *, filename: str, folder: Path, convert: Convert | None = None) -> Read:
    """Read the text of a batch file; relative paths in it start at `folder`. Raises: BatchFileError."""
    return _read_document(read(text, filename=filename), folder, convert)


def read_batch_value(value: Mapping[str, Json], folder: Path | None = None, bounds: Bounds | None = None) -> Read:
    """Read a batch file that came as JSON; without a folder from another machine: it can name no files of this one.

    Problems have their paths in it as places. Raises: BatchFileError, also where it stands for more than `bounds`.
    """
    return _read_document(Document("", value), folder, None, bounds)


def _read_document(
    document: Document, folder: Path | None, convert: Convert | None, bounds: Bounds | None = None
) -> Read:
    if isinstance(document.value, dict):
        shape = validate_shape(document, BatchShape, _shape_at, _FORMS)
        if shape is not None:
            shape = Sources(folder, document, convert).take_in(shape)
            tasks = expand(shape, document, bounds)
            check(tasks, shape, document)
            batch = resolve(tasks, shape, folder=folder, document=document)
            if not document.problems:
                return Read(batch, document)
    elif not document.problems:
        what = "the file is empty" if document.value is None else "the file must be a mapping"
        document.report(
            "cluster.bad_value", what, at=(), hint="start it with `apiVersion: corral/v1` and `kind: Batch`"
        )
    raise BatchFileError([recode(problem, "batchfile.") for problem in document.sort_problems()])


_FORMS = frozenset({"OutputShape", "PathShape", "UploadShape", "int", "constrained-str", "str"})
"""Steps that pydantic adds to a path for the members of a union; they are not in the file."""


def _shape_at(at: YamlPath) -> type[Shape]:
    match at:
        case ("tasks", _):
            return TaskShape
        case ("defaults",):
            return DefaultsShape
        case (*_, "files", _):
            return PathShape
        case _:
            return BatchShape


def _parse_path(where: str | None, origins: Sequence[int]) -> YamlPath:
    """Find the path that the server wrote: `tasks[3] (say-1).inputs.text`, `defaults.max_attempts`."""
    if where in ("outputs", "webhook", "notify", "by", "when"):
        return (where,)
    match = _PART.fullmatch(where or "")
    if match is None:
        return ()
    rest: list[Any] = [int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", match[2])]
    rest[:1] = [to_camel(name) for name in rest[:1]]
    if match[1] is None:
        return ("defaults", *rest)
    index = int(match[1])
    return ("tasks", origins[index] if index < len(origins) else index, *rest)


def resolve(tasks: Sequence[Expanded], shape: BatchShape, *, folder: Path | None, document: Document) -> BatchFile:
    """Make the batch; report files of this machine that are not there."""
    body = request_of(shape, BatchFields)
    if shape.defaults is not None:
        body["defaults"] = _make_body(shape.defaults, folder, document, ("defaults",))
    bodies: dict[int, dict[str, Json]] = {}  # what the tasks of one entry share, which is all but name and inputs
    for expanded in tasks:
        if expanded.index not in bodies:
            bodies[expanded.index] = _make_body(expanded.task, folder, document, expanded.at)
    body["tasks"] = [_overlay(bodies[expanded.index], expanded.task) for expanded in tasks]
    wildcards = {name: tuple(map(str, lines)) for name, lines in shape.wildcards.items() if isinstance(lines, tuple)}
    return BatchFile(body, wildcards, tuple(expanded.index for expanded in tasks))


def _overlay(body: Mapping[str, Json], task: TaskShape) -> dict[str, Json]:
    own: dict[str, Json] = {"name": task.name, **body}
    return {**own, "inputs": task.inputs} if "inputs" in own else own


def _make_body(shape: DefaultsShape, folder: Path | None, document: Document, at: YamlPath) -> dict[str, Json]:
    body = request_of(shape, TaskFields)
    if shape.engine is not None:
        body["engine"] = shape.engine
    if shape.files:
        references = {
            name: _make_reference(file, folder, document, (*at, "files", name)) for name, file in shape.files.items()
        }
        body["files"] = {name: reference for name, reference in references.items() if reference is not None}
    if shape.needs:
        body["needs"] = list(shape.needs)
    return body


def _make_reference(
    file: OutputShape | PathShape | UploadShape, folder: Path | None, document: Document, at: YamlPath
) -> dict[str, Json] | None:
    """Return the file as the request names it; None of one that cannot be read here, which is reported."""
    match file:
        case OutputShape():
            return {"task": file.task, "output": file.output}
        case UploadShape():
            return {"upload": file.upload}
        case PathShape():
            path = _locate(file.path, folder, document, at)
            return None if path is None else {"path": str(path)}


def _locate(name: str, folder: Path | None, document: Document, at: YamlPath) -> Path | None:
    """Find a file of this machine; None with a problem reported where it is not there, or not this file's to name."""
    if folder is None:
        what, hint = "the server reads no files that a batch file names", "upload it, and write `upload: SHA-256`"
        document.report("batchfile.no_file", what, at=at, hint=hint)
        return None
    try:
        path = find_path(name, folder).absolute()
    except SourceError as error:
        return report_source(error, document, at)
    if path.is_file():
        return path
    document.report("batchfile.no_file", f"there is no file {path}", at=at, hint="check the path")
    return None
