"""The tasks that wait, in the order in which they are expected to start, each with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Query

from corral.server.api import answers
from corral.server.api.answers import explain
from corral.server.api.errors import declare_refusals
from corral.server.api.routing import make_router
from corral.server.api.schemas import ExplanationOut, WaitingList, WaitingTask
from corral.server.api.state import Here, Viewer
from corral.tasks.lifecycle import TaskState
from corral.tasks.store import reading
from corral.tasks.store.overview import list_waiting
from corral.tasks.values import Task

MOST = 200

router = make_router("tasks", prefix="/corral/v1/waiting")


@router.get("", summary="List what waits", responses=declare_refusals())
async def list_waiting_tasks(
    api: Here, caller: Viewer, limit: Annotated[int, Query(ge=1, le=MOST)] = 50
) -> WaitingList:
    """List the tasks that have not started, those that are expected first in front, with why each waits."""
    pool = api.services.pool
    waiting = await list_waiting(pool, limit)
    tasks = await reading.get_tasks(pool, waiting.first)
    progress = api.services.board.progress
    reasons = api.services.explain_several([task.id for task in tasks if task.state is TaskState.QUEUED])
    needed = {need.id: need for need in await reading.get_tasks(pool, [need for task in tasks for need in task.needs])}
    now = datetime.now(UTC)
    items = [
        WaitingTask(
            task=answers.describe_task(task, progress),
            explanation=explain(task, _choose(needed, task.needs), reasons.get(task.id), None, now=now),
        )
        for task in tasks
    ]
    places = {task: place for place, task in enumerate(waiting.first)}
    items.sort(key=lambda item: (_rank(item.explanation), places[item.task.id]))
    return WaitingList(items=items, total=waiting.total)


def _choose(tasks: Mapping[int, Task], ids: Iterable[int]) -> list[Task]:
    return [tasks[id] for id in ids if id in tasks]


def _rank(explanation: ExplanationOut) -> float:
    """Return how many tasks go first; those for which that is unknown come last."""
    return float("inf") if explanation.ahead is None else explanation.ahead
