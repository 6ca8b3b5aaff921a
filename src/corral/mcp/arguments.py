"""The arguments of the tools; their JSON Schemas are what a model reads, so descriptions are short."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from corral.work import Json

LONGEST_WAIT_S = 45.0
"""Clients give up on a call after 60 s, some sooner."""
USUAL_WAIT_S = 25.0
MOST_TASKS = 50
"""Tasks that a call can name, and lines that a list can have."""

Number = Annotated[int, Field(ge=1)]
Numbers = Annotated[list[Number], Field(min_length=1, max_length=MOST_TASKS)]
Key = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[\x20-\x7e]+$")]
State = Literal["waiting", "queued", "leased", "running", "succeeded", "failed", "cancelled"]


class Arguments(BaseModel):
    """Base of the arguments of a tool."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NoArguments(Arguments):
    """For a tool that takes none."""


class DescribeArguments(Arguments):
    """Of `describe_cluster`."""

    engine: str | None = Field(None, description="Also give the JSON Schema of this engine's inputs")


class TaskArguments(BaseModel):
    """A task of `submit`; what is not listed here is a field of a batch file's task, and checked as that."""

    model_config = ConfigDict(extra="allow", frozen=True)

    engine: str | None = None
    model: str | None = None
    inputs: dict[str, Json] | None = Field(None, description="In the engine's words")
    name: str | None = Field(None, description="Unique")
    prompts: list[str] | None = Field(None, description="A task for each")
    matrix: dict[str, list[Json]] | None = Field(None, description="A task for each combination: {steps: [20, 30]}")
    count: Number | None = Field(None, description="So many of each, with different seeds")
    files: dict[str, Json] | None = Field(None, description="By name: `task-name/output.ext` or {upload: SHA-256}")
    needs: list[str | int] | None = Field(None, description="Tasks that must succeed first")


class SubmitArguments(Arguments):
    """Of `submit`."""

    tasks: list[TaskArguments] = Field(min_length=1, description="One, several, or a sweep: prompts, matrix, count")
    defaults: dict[str, Json] | None = Field(None, description="Fields that all tasks share")
    name: str | None = Field(None, description="The batch's")
    by: str | None = Field(None, description="Deadline: `07:00` or an instant; the answer says whether it is met")
    idempotency_key: Key | None = Field(None, description="Made of the content if left out")
    dry_run: bool = Field(False, description="Check, list the tasks and forecast their end; submit nothing")


class TasksOrBatch(Arguments):
    """Tasks or a whole batch."""

    batch: Number | None = None
    tasks: Numbers | None = None


class WaitArguments(TasksOrBatch):
    """Of `wait`."""

    timeout_seconds: float = Field(USUAL_WAIT_S, ge=0, description="At most 45")


class TaskArgument(Arguments):
    """Of `get_task`."""

    task: Number


class ListArguments(Arguments):
    """Of `list_tasks`."""

    state: list[State] | None = None
    batch: Number | None = None
    engine: str | None = None
    queue: str | None = None
    owner: str | None = None
    limit: int = Field(20, ge=1, le=MOST_TASKS)
    cursor: str | None = Field(None, description="`next` of the page before")


class ExplainArguments(Arguments):
    """Of `explain_waiting`."""

    batch: Number | None = None
    task: Number | None = None


class RetryArguments(ExplainArguments):
    """Of `retry`."""

    idempotency_key: Key | None = Field(None, description="Give one to retry the same again")


class OutputArguments(Arguments):
    """Of `get_output`."""

    task: Number
    name: str | None = Field(None, description="Of the output; needed where there are several")


class FitArguments(Arguments):
    """Of `fit`."""

    model: str = Field(description="llama3:8b, 33b@q4_k_m, hf:owner/repo/file, or a stored model")
    gpus: list[str] | None = Field(None, description="Such as RTX 4090; those of this cluster if left out")
    context: int = Field(4096, ge=1, description="Tokens")
    parallel: int = Field(1, ge=1, description="Sequences at a time")


def make_schema(arguments: type[Arguments]) -> dict[str, Any]:  # JSON Schema
    """Return the JSON Schema of a tool's arguments in few words: no titles, no null in place of absence."""
    schema = arguments.model_json_schema()
    definitions = schema.pop("$defs", {})
    schema.pop("description", None)
    return _shorten(schema, definitions)


def _shorten(schema: Any, definitions: dict[str, Any]) -> Any:  # JSON Schema, or a part of it
    if isinstance(schema, list):
        return [_shorten(part, definitions) for part in schema]  # pyright: ignore[reportUnknownVariableType]  as above
    if not isinstance(schema, dict):
        return schema
    part: dict[str, Any] = dict(schema)  # pyright: ignore[reportUnknownArgumentType]  as above
    if reference := part.pop("$ref", None):
        part = {**definitions[reference.rpartition("/")[2]], **part}
        part.pop("description", None)
    forms = [form for form in part.get("anyOf", ()) if form != {"type": "null"}]
    if len(forms) == 1:
        del part["anyOf"]
        part = {**forms[0], **part}
    if part.get("default", 0) is None:
        del part["default"]
    if isinstance(part.get("title"), str):
        del part["title"]
    if part.get("additionalProperties") is True:
        del part["additionalProperties"]
    properties: dict[str, Any] = part.get("properties", {})
    short = {key: _shorten(value, definitions) for key, value in part.items() if key != "properties"}
    if properties:
        short["properties"] = {name: _shorten(value, definitions) for name, value in properties.items()}
    return short
