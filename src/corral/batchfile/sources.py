"""Files whose content a batch file takes in: workflows, lists of prompts, lists of wildcards.

They are read where the batch file is; a relative path starts at its folder, and each file is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from corral.batchfile.objects import SourceError, find_path, read_object, read_text
from corral.batchfile.shape import BatchShape, DefaultsShape, PathShape, TaskShape
from corral.cluster.document import Document, YamlPath
from corral.engine_kinds import ENGINES
from corral.engines.converting import is_of_editor
from corral.errors import CorralError
from corral.work import Json

Convert = Callable[[str, Mapping[str, Json]], dict[str, Json]]
"""Takes an engine's name and a workflow of its editor, and returns it as tasks take it. Raises: CorralError."""
ShapeT = TypeVar("ShapeT", bound=DefaultsShape)

_UNREAD = ("unread",)
"""The list that could not be read; its problem is reported, and the rest of the file is checked with this."""
ContentT = TypeVar("ContentT")


@dataclass(slots=True)
class Sources:
    """The files that one batch file takes in; what is wrong with them is reported in its document."""

    folder: Path | None
    """Where relative paths start; None where a batch file can name no files: it is from another machine."""
    document: Document
    convert: Convert | None = None
    """Converts workflows as an engine's editor saves them; None leaves them as they are."""
    _texts: dict[Path, str | None] = field(default_factory=dict[Path, str | None])
    _objects: dict[Path, dict[str, Json] | None] = field(default_factory=dict[Path, "dict[str, Json] | None"])
    _converted: dict[int, dict[str, Json] | str] = field(default_factory=dict[int, "dict[str, Json] | str"])
    """By the identity of what was converted, which the shape holds: a file that tasks share is converted once."""

    def take_in(self, shape: BatchShape) -> BatchShape:
        """Return the batch with the content of every such file in the place of its path."""
        wildcards = {name: self._list_lines(lines, ("wildcards", name)) for name, lines in shape.wildcards.items()}
        tasks = tuple(self._fill_task(task, index, shape) for index, task in enumerate(shape.tasks))
        defaults = shape.defaults and self._fill_inputs(shape.defaults, _list_engines(shape), ("defaults",))
        return _share_objects(shape.model_copy(update={"wildcards": wildcards, "tasks": tasks, "defaults": defaults}))

    def _fill_task(self, task: TaskShape, index: int, shape: BatchShape) -> TaskShape:
        at: YamlPath = ("tasks", index)
        engine = task.engine or (shape.defaults.engine if shape.defaults else None)
        update: dict[str, object] = {}
        if isinstance(task.prompts, PathShape):
            update["prompts"] = self._list_lines(task.prompts, (*at, "prompts"))
        if any(isinstance(values, PathShape) for values in task.matrix.values()):
            update["matrix"] = {
                name: self._list_lines(values, (*at, "matrix", name)) if isinstance(values, PathShape) else values
                for name, values in task.matrix.items()
            }
        filled = self._fill_inputs(task, () if engine is None else (engine,), at)
        return filled.model_copy(update=update) if update else filled

    def _fill_inputs(self, shape: ShapeT, engines: tuple[str, ...], at: YamlPath) -> ShapeT:
        contents: dict[str, Json] = {}
        for engine in engines:
            for name in _list_objects(engine):
                given: Json = contents.get(name, shape.inputs.get(name))
                place = (*at, "inputs", name)
                content = self._read_object(given, place) if isinstance(given, str) else given
                if isinstance(content, dict):
                    contents[name] = self._convert_object(engine, content, place)  # pyright: ignore[reportUnknownArgumentType]  JSON, as typed
        return shape.model_copy(update={"inputs": {**shape.inputs, **contents}}) if contents else shape

    def _convert_object(self, engine: str, content: dict[str, Json], at: YamlPath) -> dict[str, Json] | str:
        """Convert what an editor saved; text in its place says that its problems are reported."""
        if self.convert is None or not is_of_editor(ENGINES[engine], content):
            return content
        if id(content) not in self._converted:
            try:
                self._converted[id(content)] = self.convert(engine, content)
            except CorralError as error:
                for problem in error.problems:
                    place = f" ({problem.where})" if problem.where else ""
                    self.document.report(problem.code, f"{problem.what}{place}", at=at, hint=problem.hint)
                self._converted[id(content)] = _UNREAD[0]
        return self._converted[id(content)]

    def _list_lines(self, lines: tuple[Json, ...] | PathShape, at: YamlPath) -> tuple[Json, ...]:
        """Return the lines of a list; in a file, empty lines and those that begin with `#` are left out."""
        if not isinstance(lines, PathShape):
            return lines
        text = self._read_text(lines.path, at)
        if text is None:
            return _UNREAD
        stripped = (line.strip() for line in text.splitlines())
        listed = tuple(line for line in stripped if line and not line.startswith("#"))
        if not listed:
            self.document.report(
                "batchfile.no_file", f"{lines.path} has no lines", at=at, hint="write one line for each"
            )
        return listed or _UNREAD

    def _read_object(self, name: str, at: YamlPath) -> dict[str, Json] | None:
        path = self._locate(name, at)
        if path is None:
            return None
        if path not in self._objects:
            self._objects[path] = self._report_failure(read_object, path, at)
        return self._objects[path]

    def _read_text(self, name: str, at: YamlPath) -> str | None:
        path = self._locate(name, at)
        if path is None:
            return None
        if path not in self._texts:
            self._texts[path] = self._report_failure(read_text, path, at)
        return self._texts[path]

    def _report_failure(self, read: Callable[[Path], ContentT], path: Path, at: YamlPath) -> ContentT | None:
        try:
            return read(path)
        except SourceError as error:
            return report_source(error, self.document, at)

    def _locate(self, name: str, at: YamlPath) -> Path | None:
        if self.folder is None:
            what = f"the server reads no files that a batch file names: {name[:60]}"
            self.document.report("batchfile.no_file", what, at=at, hint="write the file's content in its place")
            return None
        try:
            return find_path(name, self.folder)
        except SourceError as error:
            return report_source(error, self.document, at)


def report_source(error: SourceError, document: Document, at: YamlPath) -> None:
    """Report a file that cannot be used where the batch file names it."""
    document.report(error.code, f"{error.where}: {error.what}", at=at, hint=error.hint)


def _list_engines(shape: BatchShape) -> tuple[str, ...]:
    """List the engines of the batch."""
    named = [*(task.engine for task in shape.tasks), shape.defaults.engine if shape.defaults else None]
    return tuple(dict.fromkeys(engine for engine in named if engine is not None))


def _list_objects(engine: str) -> tuple[str, ...]:
    """List the inputs that an engine takes as an object."""
    kind = ENGINES.get(engine)
    return kind.object_inputs if kind else ()


def _share_objects(shape: BatchShape) -> BatchShape:
    """Move an object that every task names into the defaults, so that it is sent once and not for each task."""
    defaults = shape.defaults or DefaultsShape.model_validate({})
    first = shape.tasks[0].inputs
    names = {name for engine in _list_engines(shape) for name in _list_objects(engine)}
    shared: dict[str, Json] = {
        name: value
        for name, value in first.items()
        if name in names
        and isinstance(value, dict)
        and name not in defaults.inputs
        and all(task.inputs.get(name) is value for task in shape.tasks)
    }
    if not shared:
        return shape
    tasks = tuple(
        task.model_copy(update={"inputs": {name: task.inputs[name] for name in task.inputs if name not in shared}})
        for task in shape.tasks
    )
    defaults = defaults.model_copy(update={"inputs": {**defaults.inputs, **shared}})
    return shape.model_copy(update={"tasks": tasks, "defaults": defaults})
