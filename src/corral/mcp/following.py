"""Tools that look at tasks and batches: wait for them, show them, explain why they wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from corral.client.progress import ACTIVE, ENDED
from corral.client.requests import ServerApi
from corral.errors import CorralError, Kind
from corral.mcp.answers import ToolAnswer, ToolContext, ask_all, choose, summarize_batch, summarize_task, write_event
from corral.mcp.arguments import (
    LONGEST_WAIT_S,
    ExplainArguments,
    ListArguments,
    TaskArgument,
    WaitArguments,
)
from corral.mcp.submitting import choose_subject
from corral.work import Json

_AGAIN_S = 1.0
"""Between two tries while the server is away: one that is started anew takes some seconds."""
_SHOWN = 10
"""Tasks of a batch that are shown in an answer, of each kind."""
_WAITING = ("queued", "waiting")
_EXPLAINED = 3
"""Waiting tasks of a batch that are explained: they wait for much the same."""
_NOT_SHOWN = ("outputs", "result", "progress", "precedence")
_TAIL = 5
_STORY = 30
_LOG_LINES = 15


async def wait(context: ToolContext, asked: WaitArguments) -> ToolAnswer:
    """Return when all have ended, else how they are when the time has run out. Raises: ChoiceError, RemoteError."""
    api, timeout_s = context.api, min(asked.timeout_seconds, LONGEST_WAIT_S)
    kind, numbers = choose_subject(asked)
    if kind == "tasks":
        tasks = await ask_all(*(_wait_for(api, f"tasks/{task}", timeout_s) for task in numbers))
        shown = [summarize_task(task) for task in tasks]
        return ToolAnswer(
            value={"done": all(map(_has_ended, tasks)), "tasks": shown, **await _describe_open(api, tasks)}
        )
    waited = await _wait_for(api, f"batches/{numbers[0]}", timeout_s)
    running, failed, waiting = await ask_all(
        _list(api, batch=waited["id"], states=ACTIVE),
        _list(api, batch=waited["id"], states=("failed",)),
        _list(api, batch=waited["id"], states=_WAITING, limit=1),
    )
    return ToolAnswer(
        value={
            **summarize_batch(waited),
            "running": [summarize_task(task) for task in running],
            "failed": [summarize_task(task) for task in failed],
            **await _describe_open(api, [*running, *failed, *waiting]),
        }
    )


async def _wait_for(api: ServerApi, subject: str, timeout_s: float) -> Json:
    """Wait on the server; while it is away, try again until the time has run out."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + timeout_s
    while True:
        left_s = max(0.0, ends_at - loop.time())
        try:
            return await api.get(f"/corral/v1/{subject}/wait", [("timeout", f"{left_s:.3f}")])
        except CorralError as error:
            if error.kind is not Kind.UNAVAILABLE or loop.time() + _AGAIN_S > ends_at:
                raise
        await asyncio.sleep(_AGAIN_S)


async def _describe_open(api: ServerApi, tasks: Sequence[Json]) -> dict[str, Json]:
    """Describe when tasks can be done, why the first of those that wait does, and the last lines about one of them."""
    running = [task for task in tasks if task["state"] in ACTIVE]
    waiting = [task for task in tasks if task["state"] in _WAITING]
    failed = [task for task in tasks if task["state"] == "failed"]
    subject = next(iter((*running, *failed, *waiting)), None)
    reason: Json = await api.get(f"/corral/v1/tasks/{waiting[0]['id']}/explain") if waiting else {}
    return {
        "first_waiting": choose(reason, "task", "summary", "ahead", "may_start_at"),
        "expected": await _find_end(api, running, has_waiting=bool(waiting)) if running or waiting else None,
        "log": None if subject is None else await _read_tail(api, subject["id"]),
    }


async def _find_end(api: ServerApi, running: list[Json], *, has_waiting: bool) -> Json:
    """Find when the tasks end by what was measured; of tasks that wait, when all that the queue has is done."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    if has_waiting:
        status = await api.get("/corral/v1/status")
        return {"end_of_everything_in_the_queue": status["expected_end"] or "unknown", "now": now}
    slots = await api.get("/corral/v1/slots")
    ends = {work["task"]: work["expected_end"] for slot in slots["items"] for work in slot["tasks"]}
    known = [end for task in running if (end := ends.get(task["id"]))]
    return {"end": max(known) if len(known) == len(running) else "unknown", "now": now}


async def _read_tail(api: ServerApi, task: int, lines: int = _TAIL) -> list[str]:
    story = await api.get(f"/corral/v1/tasks/{task}/story")
    return [f"task {task}: {write_event(event)}" for event in story["items"][-lines:]]


async def get_task(context: ToolContext, asked: TaskArgument) -> ToolAnswer:
    """Show a task, its story, and what its engine printed last where the caller can read that. Raises: RemoteError."""
    api = context.api
    task, story = await ask_all(
        api.get(f"/corral/v1/tasks/{asked.task}"), api.get(f"/corral/v1/tasks/{asked.task}/story")
    )
    shown = {name: value for name, value in task.items() if name not in _NOT_SHOWN and value is not False}
    return ToolAnswer(
        value={
            **shown,
            "progress": choose(task["progress"] or {}, "fraction", "note"),
            "outputs": [choose(output, "name", "size", "media_type", "sha256") for output in task["outputs"]],
            "values": list(task["result"] or {}),
            "story": [write_event(event) for event in story["items"][-_STORY:]],
            "engine_log": await _read_engine_log(api, task) if task["state"] in ACTIVE else None,
        }
    )


async def _read_engine_log(api: ServerApi, task: Json) -> list[str]:
    """Read the last lines of the engine; none where there is no log here, or it is for administrators only."""
    for slot in task["slots"][:1]:
        with suppress(CorralError):
            part = await api.get("/corral/v1/slots/logs", [("slot", slot), ("lines", _LOG_LINES)])
            return part["lines"]
    return []


async def list_tasks(context: ToolContext, asked: ListArguments) -> ToolAnswer:
    """List tasks, the newest first. Raises: RemoteError."""
    query: list[tuple[str, str | int]] = [("state", state) for state in asked.state or ()]
    for name in ("batch", "engine", "queue", "owner", "limit", "cursor"):
        value: str | int | None = getattr(asked, name)
        if value is not None:
            query.append((name, value))
    page = await context.api.get("/corral/v1/tasks", query)
    return ToolAnswer(value={"tasks": [summarize_task(task) for task in page["items"]], "next": page["next"]})


async def explain_waiting(context: ToolContext, asked: ExplainArguments) -> ToolAnswer:
    """Explain why a task, a batch, or all that has not started waits. Raises: ChoiceError, RemoteError."""
    api = context.api
    if asked.task is not None or asked.batch is not None:
        kind, (number,) = choose_subject(asked)
        explain = _explain_batch(api, number) if kind == "batches" else api.get(f"/corral/v1/tasks/{number}/explain")
        return ToolAnswer(value=await explain)
    waiting = await api.get("/corral/v1/waiting", [("limit", _SHOWN)])
    items = [
        {**choose(item["task"], "name", "batch", "owner", "engine", "model"), **item["explanation"]}
        for item in waiting["items"]
    ]
    return ToolAnswer(value={"total": waiting["total"], "first": items})


async def _explain_batch(api: ServerApi, number: int) -> Json:
    """Explain the pace of a batch: what of it runs and waits, and what has the slots that its engines use."""
    batch, running, waiting, status = await ask_all(
        api.get(f"/corral/v1/batches/{number}"),
        _list(api, batch=number, states=ACTIVE),
        _list(api, batch=number, states=_WAITING, limit=_EXPLAINED),
        api.get("/corral/v1/status"),
    )
    reasons = await ask_all(*(api.get(f"/corral/v1/tasks/{task['id']}/explain") for task in waiting))
    engines = {task["engine"] for task in (*running, *waiting)}
    return {
        **summarize_batch(batch),
        "now": datetime.now(UTC).isoformat(timespec="seconds"),
        "running": [summarize_task(task) for task in running],
        "waiting": [
            {**choose(task, "name", "engine", "model"), "failed_attempts": task["attempts"] or None, **reason}
            for task, reason in zip(waiting, reasons, strict=True)
        ],
        "slots": [slot for slot in status["slots"] if slot["engine"] in engines][:_SHOWN],
        "end_of_everything_in_the_queue": status["expected_end"] or "unknown",
        "alarms": status["alarms"],
    }


async def _list(api: ServerApi, *, batch: int, states: Iterable[str], limit: int = _SHOWN) -> list[Json]:
    query: list[tuple[str, str | int]] = [("batch", batch), ("limit", limit), ("order", "oldest")]
    page = await api.get("/corral/v1/tasks", [*query, *(("state", state) for state in states)])
    return page["items"]


def _has_ended(task: Mapping[str, Json]) -> bool:
    return task["state"] in ENDED
