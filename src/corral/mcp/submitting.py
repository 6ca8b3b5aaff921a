"""Tools that change the queue: submit, cancel, retry. Each can be called again when its answer was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from corral.batchfile.drawing import draw
from corral.batchfile.reading import BatchFileError, read_batch_value
from corral.batchfile.shape import API_VERSION, KIND
from corral.batchfile.values import digest_content
from corral.client.submitting import submit as send
from corral.client.submitting import upload_files
from corral.errors import CorralError, Kind, ProblemsError
from corral.mcp.answers import ToolAnswer, ToolContext, choose, summarize_batch, summarize_task
from corral.mcp.arguments import MOST_TASKS, ExplainArguments, RetryArguments, SubmitArguments, TasksOrBatch
from corral.work import Json

_FILE = "/corral/v1/batches/file"
_FORECAST = f"{_FILE}/forecast"
_NAME = "from-assistant"
_AGAIN = "the same was submitted before, and this is that batch; give another `idempotency_key` to run it anew"


class ChoiceError(CorralError):
    """A call names neither tasks nor a batch, or both."""

    code: ClassVar[str] = "mcp.choice"
    kind: ClassVar[Kind] = Kind.INVALID


async def submit(context: ToolContext, asked: SubmitArguments) -> ToolAnswer:
    """Submit tasks as one batch, all or none. Raises: BatchFileError with each problem's place in the arguments."""
    file = _make_file(asked)
    if asked.dry_run:
        return ToolAnswer(value={"dry_run": True, **await _forecast(context, asked, file)})
    if context.folder is None:  # the server, which knows the caller's role, works out the tasks
        key = asked.idempotency_key or await asyncio.to_thread(_make_key, file)
        answer = await context.api.post(_FILE, {"file": file}, idempotency_key=key)
    else:
        read = await asyncio.to_thread(read_batch_value, file, context.folder)
        request = read.batch.request(await upload_files(context.api, read.batch))
        answer = await send(context.api, read, request, key=asked.idempotency_key or _make_key(request))
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


async def _forecast(context: ToolContext, asked: SubmitArguments, file: Mapping[str, Json]) -> dict[str, Json]:
    """Ask the server for the forecast; list the tasks where it could not read the files that they name."""
    if context.folder is not None:
        tasks = await asyncio.to_thread(_list_drawn, file, context.folder, asked.idempotency_key)
        if tasks is not None:
            return {"task_count": len(tasks), "tasks": tasks[:MOST_TASKS]}
    return await context.api.post(_FORECAST, {"file": file})


def _list_drawn(file: Mapping[str, Json], folder: Path, key: str | None) -> Sequence[Json] | None:
    """List the tasks of a batch file as they are drawn; None where it names no files of this machine."""
    read = read_batch_value(file, folder)
    try:
        read_batch_value(file)
    except BatchFileError:
        request = read.batch.request({path: str(path) for path in read.batch.local_files})
        return draw(request, read.batch.wildcards, key or _make_key(request))["tasks"]
    return None


def _make_key(content: Mapping[str, Json]) -> str:
    """Make a key of what is asked for: the same call twice is one batch."""
    return f"mcp-{digest_content(content, {})}"


async def cancel(context: ToolContext, asked: TasksOrBatch) -> ToolAnswer:
    """Cancel tasks, or what has not ended of a batch. Raises: ChoiceError, RemoteError."""
    api = context.api
    kind, numbers = choose_subject(asked)
    if kind == "batches":
        return ToolAnswer(value=summarize_batch(await api.post(f"/corral/v1/batches/{numbers[0]}/cancel")))
    cancelled: list[Json] = []
    refused: list[CorralError] = []
    for task in numbers:
        try:
            cancelled.append(summarize_task(await api.post(f"/corral/v1/tasks/{task}/cancel")))
        except CorralError as error:
            refused.append(error)
    if not cancelled:
        raise ProblemsError([problem for error in refused for problem in error.problems])
    return ToolAnswer(value={"tasks": cancelled, "refused": [error.what for error in refused]})


async def retry(context: ToolContext, asked: RetryArguments) -> ToolAnswer:
    """Submit a task, or what failed of a batch, anew. Raises: ChoiceError, RemoteError."""
    kind, (number,) = choose_subject(asked)
    key = asked.idempotency_key or f"mcp-retry-{kind}-{number}"
    answer = await context.api.post(f"/corral/v1/{kind}/{number}/retry", idempotency_key=key)
    if kind == "tasks":
        return ToolAnswer(value={**summarize_task(answer), "retry_of": number})
    note = _AGAIN if answer["replayed"] else None
    return ToolAnswer(value={**summarize_batch(answer["batch"]), "retry_of_batch": number, "note": note})


def choose_subject(asked: TasksOrBatch | ExplainArguments) -> tuple[str, list[int]]:
    """Return `tasks` or `batches`, and their numbers. Raises: ChoiceError where both are given, or none."""
    if isinstance(asked, ExplainArguments):
        name, tasks = "task", None if asked.task is None else [asked.task]
    else:
        name, tasks = "tasks", asked.tasks
    if tasks is not None and asked.batch is None:
        return "tasks", tasks
    if asked.batch is not None and tasks is None:
        return "batches", [asked.batch]
    raise ChoiceError(f"give either `batch` or `{name}`", where=name, hint="`list_tasks` has the numbers")
