"""Tools that change the queue: submit, cancel, retry. Each can be called again when its answer was lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from corral.batchfile.drawing import draw
from corral.batchfile.reading import BatchFileError, Read, read_batch_value
from corral.batchfile.shape import API_VERSION, KIND
from corral.batchfile.values import digest_content
from corral.client.submitting import submit as send
from corral.client.submitting import upload_files
from corral.errors import CorralError, Kind, ProblemsError
from corral.mcp.answers import ToolAnswer, ToolContext, choose, summarize_batch, summarize_task
from corral.mcp.arguments import MOST_TASKS, ExplainArguments, RetryArguments, SubmitArguments, TasksOrBatch
from corral.work import Json

_FORECAST = "/corral/v1/batches/file/forecast"
_NAME = "from-assistant"
_AGAIN = "the same was submitted before, and this is that batch; give another `idempotency_key` to run it anew"


class ChoiceError(CorralError):
    """A call names neither tasks nor a batch, or both."""

    code: ClassVar[str] = "mcp.choice"
    kind: ClassVar[Kind] = Kind.INVALID


async def submit(context: ToolContext, asked: SubmitArguments) -> ToolAnswer:
    """Submit tasks as one batch, all or none. Raises: BatchFileError with each problem's place in the arguments."""
    file = _make_file(asked)
    read = read_batch_value(file, context.folder)
    request = read.batch.request({path: str(path) for path in read.batch.local_files})
    if asked.dry_run and _is_self_contained(file):
        return ToolAnswer(value={"dry_run": True, **await context.api.post(_FORECAST, {"file": file})})
    if asked.dry_run:  # the server cannot read the files that it names
        tasks = draw(request, read.batch.wildcards, _make_key(asked, read, request))["tasks"]
        return ToolAnswer(value={"dry_run": True, "task_count": len(tasks), "tasks": tasks[:MOST_TASKS]})
    request = read.batch.request(await upload_files(context.api, read.batch))
    answer = await send(context.api, read, request, key=_make_key(asked, read, request))
    listed: list[Json] = answer.get("tasks", [])
    return ToolAnswer(
        value={
            **summarize_batch(answer["batch"]),
            "tasks": [choose(task, "id", "name") for task in listed[:MOST_TASKS]],
            "caution": answer.get("caution"),
            "note": _AGAIN if answer["replayed"] else None,
        }
    )


def _make_file(asked: SubmitArguments) -> dict[str, Json]:
    """Write the arguments as a batch file."""
    tasks = [task.model_dump(exclude_none=True, exclude_unset=True) for task in asked.tasks]
    for number, task in enumerate(tasks, 1):
        task.setdefault("name", str(task.get("engine", "task")) + (f"-{number}" if len(tasks) > 1 else ""))
    file: dict[str, Json] = {"apiVersion": API_VERSION, "kind": KIND, "name": asked.name or _NAME, "tasks": tasks}
    if asked.defaults is not None:
        file["defaults"] = asked.defaults
    if asked.by is not None:
        file["by"] = asked.by
    return file


def _is_self_contained(file: Mapping[str, Json]) -> bool:
    """Whether a batch file names no files of this machine."""
    try:
        read_batch_value(file)
    except BatchFileError:
        return False
    return True


def _make_key(asked: SubmitArguments, read: Read, request: Mapping[str, Json]) -> str:
    """Return the key that was given, else one of the content: the same call twice is one batch."""
    return asked.idempotency_key or f"mcp-{digest_content(request, read.batch.wildcards)}"


async def cancel(context: ToolContext, asked: TasksOrBatch) -> ToolAnswer:
    """Cancel tasks, or what has not ended of a batch. Raises: ChoiceError, RemoteError."""
    api = context.api
    if asked.batch is not None and asked.tasks is None:
        return ToolAnswer(value=summarize_batch(await api.post(f"/corral/v1/batches/{asked.batch}/cancel")))
    if asked.tasks is None or asked.batch is not None:
        raise make_choice_error("tasks")
    cancelled: list[Json] = []
    refused: list[CorralError] = []
    for task in asked.tasks:
        try:
            cancelled.append(summarize_task(await api.post(f"/corral/v1/tasks/{task}/cancel")))
        except CorralError as error:
            refused.append(error)
    if not cancelled:
        raise ProblemsError([problem for error in refused for problem in error.problems])
    return ToolAnswer(value={"tasks": cancelled, "refused": [error.what for error in refused]})


async def retry(context: ToolContext, asked: RetryArguments) -> ToolAnswer:
    """Submit a task, or what failed of a batch, anew. Raises: ChoiceError, RemoteError."""
    kind, number = choose_subject(asked)
    key = asked.idempotency_key or f"mcp-retry-{kind}-{number}"
    answer = await context.api.post(f"/corral/v1/{kind}/{number}/retry", idempotency_key=key)
    if kind == "tasks":
        return ToolAnswer(value={**summarize_task(answer), "retry_of": number})
    note = _AGAIN if answer["replayed"] else None
    return ToolAnswer(value={**summarize_batch(answer["batch"]), "retry_of_batch": number, "note": note})


def choose_subject(asked: ExplainArguments) -> tuple[str, int]:
    """Return `tasks` or `batches`, and the number. Raises: ChoiceError."""
    if asked.task is not None and asked.batch is None:
        return "tasks", asked.task
    if asked.batch is not None and asked.task is None:
        return "batches", asked.batch
    raise make_choice_error("task")


def make_choice_error(name: str) -> ChoiceError:
    """Make the error for a call that must name tasks or a batch."""
    return ChoiceError(f"give either `batch` or `{name}`", where=name, hint="`list_tasks` has the numbers")
