"""The shape of a batch file: which keys it has and what each holds, in the cluster file's style (camelCase keys).

`inputs` are the engine's own words and are passed on as they are; they are checked against `corral.engines.inputs`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from corral.cluster.fields import Count, Duration, Name, Size, Text, shown, wrong
from corral.cluster.shape import Shape
from corral.work import Json

API_VERSION = "corral/v1"
KIND = "Batch"
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def _api_version(value: object) -> object:
    if value != API_VERSION:
        raise wrong(f"apiVersion {shown(value)} is not known here", f"write `apiVersion: {API_VERSION}`")
    return value


def _kind(value: object) -> object:
    if value != KIND:
        raise wrong(f"the kind {shown(value)} is not a batch's", f"write `kind: {KIND}`")
    return value


def _instant(value: str) -> str:
    try:
        instant = datetime.fromisoformat(value)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise wrong(f"not an instant: {shown(value)}", "write date, time and zone, such as 2026-12-24T18:00:00+01:00")
    return value


TaskName = Annotated[str, StringConstraints(min_length=1, max_length=200, strict=True)]
Instant = Annotated[Text, AfterValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]


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


def _file(value: object) -> object:
    """Choose the form by its keys, so that a problem is about that form alone; text is the short form."""
    if isinstance(value, str):
        return _short(value)
    if isinstance(value, dict):
        for shape in FILE_SHAPES:
            if set(shape.model_fields) & set(value):  # pyright: ignore[reportUnknownArgumentType]  YAML's own keys
                return shape.model_validate(value)
    hint = "write `task-name/output.ext`, `./file`, {task: NAME, output: NAME} or {path: FILE}"
    raise wrong(f"not a file: {shown(cast(object, value))}", hint)


def _short(text: str) -> Shape:
    if text.startswith(("./", "../", "/", "~")):
        return PathShape(path=text)
    task, _, output = text.rpartition("/")
    if not task or not output:
        raise wrong(
            f"not a file: {shown(text)}", "write `task-name/output.ext`, or a path that starts with `./` or `/`"
        )
    return OutputShape(task=task, output=output)


FileRef = Annotated[
    OutputShape | PathShape | UploadShape,
    BeforeValidator(_file),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "description": "`task-name/output.ext`, or a path that starts with `./` or `/`."},
                *(shape.model_json_schema(by_alias=True) for shape in FILE_SHAPES),
            ]
        }
    ),
]


class TaskFields(Shape):
    """What a task may say, and what `defaults` may say for all of them."""

    engine: Text | None = Field(None, description="The engine that does the work: `llama`, `whisper`, `piper`, ...")
    model: Text | None = Field(None, description="The model: a name of `corral models list`, or what the engine knows.")
    inputs: dict[str, Json] = Field(default_factory=dict[str, Json], description="What to do, in the engine's words.")
    files: dict[Name, FileRef] = Field(
        default_factory=dict[str, Any], description="Input files by name; outputs of other tasks make those needed."
    )
    needs: tuple[TaskName | int, ...] = Field((), description="Tasks that must succeed first, by name or number.")
    queue: Name | None = Field(None, description="The queue. Default: `default`.")
    task_class: Literal["batch", "interactive"] | None = Field(
        None, alias="class", description="`interactive` tasks go before `batch` tasks. Default: `batch`."
    )
    priority: Literal["critical", "high", "normal", "low", "idle"] | None = Field(
        None, description="The order inside a class. Default: `normal`."
    )
    gpus: Count | None = Field(None, description="How many GPUs of one node it needs. Default: 1.")
    memory: Size | None = Field(None, description="GPU memory that it needs, such as `8Gi`; measured when left out.")
    timeout: Duration | None = Field(None, description="How long an attempt may take, such as `10m`. Default: 1h.")
    max_attempts: Count | None = Field(None, description="How often it is tried when attempts fail. Default: 3.")
    not_before: Instant | None = Field(None, description="It starts at this instant at the earliest.")


class TaskShape(TaskFields):
    """One task."""

    name: TaskName = Field(description="Unique in the batch; its outputs are named after it.")


class BatchShape(Shape):
    """A batch file."""

    api_version: Annotated[str, BeforeValidator(_api_version), WithJsonSchema({"const": API_VERSION})] = Field(
        description="The version of this file's format."
    )
    kind: Annotated[str, BeforeValidator(_kind), WithJsonSchema({"const": KIND})] = Field(description="What it is.")
    name: Name = Field(description="The batch's name; its outputs are written to `out/<name>/`.")
    defaults: TaskFields | None = Field(
        None, description="What tasks say when they do not say it themselves; `inputs` and `files` are joined by key."
    )
    tasks: Annotated[tuple[TaskShape, ...], Field(min_length=1, max_length=10_000)] = Field(description="The tasks.")


def json_schema() -> dict[str, Any]:  # JSON
    """Make the JSON Schema of a batch file."""
    schema = BatchShape.model_json_schema(by_alias=True, mode="validation")
    for definition in schema["$defs"].values():
        definition["title"] = str(definition["title"]).removesuffix("Shape")
    return {"$schema": DIALECT, **schema, "title": "Corral batch file"}
