"""The shape of a batch file: which keys it has and what each holds, in the cluster file's style (camelCase keys).

`inputs` are the engine's own words, and are checked against `corral.engines.inputs`. `expanding` makes several tasks of
one, `drawing` replaces wildcards and random seeds, `sources` reads the files that are named in place of a value.
"""

from __future__ import annotations

from typing import Annotated, Any, cast

from pydantic import BeforeValidator, Field, PlainValidator, StringConstraints, WithJsonSchema

from corral.cluster.fields import Name, Text, show_value, wrong
from corral.cluster.machine_shapes import Shape
from corral.requests import BatchFields, TaskFields
from corral.work import Json

API_VERSION = "corral/v1"
KIND = "Batch"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _check_api_version(value: object) -> object:
    if value != API_VERSION:
        raise wrong(f"apiVersion {show_value(value)} is unknown", f"write `apiVersion: {API_VERSION}`")
    return value


def _check_kind(value: object) -> object:
    if value != KIND:
        raise wrong(f"the kind {show_value(value)} is not a batch's", f"write `kind: {KIND}`")
    return value


TaskName = Annotated[str, StringConstraints(min_length=1, max_length=200, strict=True)]


class OutputShape(Shape):
    """A file that another task makes."""

    task: TaskName | int = Field(description="The task's name in this batch, or the number of any task.")
    output: Text = Field(description="The output's name, such as `speech.wav`.")


class PathShape(Shape):
    """A file of this machine, uploaded before the batch is submitted."""

    path: Text = Field(description="Its path; a relative one starts at the folder of the batch file.")


class UploadShape(Shape):
    """A file that was uploaded before."""

    upload: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$", strict=True)] = Field(
        description="The SHA-256 that the upload answered with."
    )


FILE_SHAPES: tuple[type[Shape], ...] = (OutputShape, PathShape, UploadShape)


def _choose_form(value: object) -> object:
    """Choose the form by its keys, so that a problem is about that form alone; text is the short form."""
    if isinstance(value, str):
        return _parse_short_form(value)
    if isinstance(value, dict):
        for shape in FILE_SHAPES:
            if set(shape.model_fields) & set(value):  # pyright: ignore[reportUnknownArgumentType]  YAML's own keys
                return shape.model_validate(value)
    hint = "write `task-name/output.ext`, `./file`, {task: NAME, output: NAME} or {path: FILE}"
    raise wrong(f"not a file: {show_value(cast(object, value))}", hint)


def is_path(text: str) -> bool:
    """Whether text is written as a path of this machine."""
    return text.startswith(("./", "../", "/", "~"))


def _parse_short_form(text: str) -> Shape:
    if is_path(text):
        return PathShape(path=text)
    task, _, output = text.rpartition("/")
    if not task or not output:
        raise wrong(
            f"not a file: {show_value(text)}", "write `task-name/output.ext`, or a path that starts with `./` or `/`"
        )
    return OutputShape(task=task, output=output)


FileRef = Annotated[
    OutputShape | PathShape | UploadShape,
    BeforeValidator(_choose_form),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "description": "`task-name/output.ext`, or a path that starts with `./` or `/`."},
                *(shape.model_json_schema(by_alias=True) for shape in FILE_SHAPES),
            ]
        }
    ),
]


def _read_entries(value: object) -> tuple[Json, ...] | PathShape:
    """Read a list, or the path of a file with one entry on each line."""
    if isinstance(value, str) and is_path(value):
        return PathShape(path=value)
    if not isinstance(value, list):
        raise wrong(f"not a list: {show_value(value)}", "write `[...]`, or a path that starts with `./` or `/`")
    if not value:
        raise wrong("the list is empty", "write an entry, or remove the key")
    return tuple(cast("list[Json]", value))  # YAML's own values


def _read_lines(value: object) -> tuple[Json, ...] | PathShape:
    """Read a list of texts, or the path of one."""
    lines = _read_entries(value)
    for line in lines if isinstance(lines, tuple) else ():
        if not isinstance(line, str) or not line.strip():
            raise wrong(f"not a line of text: {show_value(line)}", "write text, in quotes where it looks like a number")
    return lines


_LINES_SCHEMA = {"anyOf": [{"type": "array", "items": {"type": "string"}, "minItems": 1}, {"type": "string"}]}
Lines = Annotated[tuple[Json, ...] | PathShape, PlainValidator(_read_lines), WithJsonSchema(_LINES_SCHEMA)]
Entries = Annotated[
    tuple[Json, ...] | PathShape,
    PlainValidator(_read_entries),
    WithJsonSchema({"anyOf": [{"type": "array", "minItems": 1}, {"type": "string"}]}),
]
WildcardName = Annotated[
    str, StringConstraints(pattern="^[A-Za-z0-9]+([_-][A-Za-z0-9]+)*$", max_length=60, strict=True)
]
MAX_TASKS = 10_000
"""Of one batch; the server takes no more (`corral.tasks.submission_checks`)."""


class _EngineShape(Shape):
    engine: Text | None = Field(None, description="The engine that does the work: `llama`, `whisper`, `piper`, ...")


class DefaultsShape(TaskFields, _EngineShape):
    """The fields of a task, which `defaults` can have for all of them."""

    files: dict[Name, FileRef] = Field(
        default_factory=dict[str, Any], description="Input files by name; outputs of other tasks make those needed."
    )
    needs: tuple[TaskName | int, ...] = Field((), description="Tasks that must succeed first, by name or number.")


class TaskShape(DefaultsShape):
    """One task."""

    name: TaskName = Field(description="Unique in the batch; its outputs are named after it.")
    prompts: Lines = Field(
        (), description="A task for each of these prompts: a list, or a file with one on each line, `./prompts.txt`."
    )
    matrix: dict[Text, Entries] = Field(
        default_factory=dict[str, Any],
        description="A task for each combination of these values of inputs: `{steps: [20, 30], set.3.eta: [0, 1]}`.",
    )
    count: Annotated[int, Field(ge=1, le=MAX_TASKS, strict=True)] | None = Field(
        None, description="That many of each, with a random seed of its own unless `inputs` has a seed."
    )


class BatchShape(BatchFields, Shape):
    """A batch file."""

    api_version: Annotated[str, BeforeValidator(_check_api_version), WithJsonSchema({"const": API_VERSION})] = Field(
        description="The version of this file's format."
    )
    kind: Annotated[str, BeforeValidator(_check_kind), WithJsonSchema({"const": KIND})] = Field(
        description="The kind of the file."
    )
    name: Name = Field(description="The batch's name; its outputs are written to `out/<name>/`.")
    defaults: DefaultsShape | None = Field(
        None, description="What tasks say when they do not say it themselves; `inputs` and `files` are joined by key."
    )
    wildcards: dict[WildcardName, Lines] = Field(
        default_factory=dict[str, Any],
        description="Lists, or files with an entry on each line; each `__name__` in a text of `inputs` becomes one of "
        "its entries, drawn for each task.",
    )
    tasks: Annotated[tuple[TaskShape, ...], Field(min_length=1, max_length=MAX_TASKS)] = Field(description="The tasks.")


def json_schema() -> dict[str, Any]:  # JSON
    """Make the JSON Schema of a batch file."""
    schema = BatchShape.model_json_schema(by_alias=True, mode="validation")
    for definition in schema["$defs"].values():
        definition["title"] = str(definition["title"]).removesuffix("Shape")
    return {"$schema": DIALECT, **schema, "title": "Corral batch file"}
