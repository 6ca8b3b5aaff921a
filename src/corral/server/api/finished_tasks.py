"""The tasks that this queue has finished, for use cases that learn from how long they took."""

from __future__ import annotations

import asyncio
from datetime import datetime

from corral.operations.forecasting import FinishedTasks
from corral.server.api import answers
from corral.server.api.state import ApiState
from corral.tasks.lifecycle import TaskState
from corral.tasks.store import reading
from corral.work import Json

_PAGE = 500


def make_reader(api: ApiState) -> FinishedTasks:
    """Return a reader of this queue for a use case that runs in a thread."""
    loop = asyncio.get_running_loop()
    return lambda since: asyncio.run_coroutine_threadsafe(_read_finished(api, since), loop).result()


async def _read_finished(api: ApiState, since: datetime) -> list[Json]:
    """Read the tasks that were submitted since then and have succeeded, the newest first."""
    tasks: list[Json] = []
    before: int | None = None
    while True:
        page = await reading.list_tasks(
            api.services.pool, reading.Filter(states=[TaskState.SUCCEEDED]), before=before, limit=_PAGE
        )
        recent = [task for task in page.tasks if task.created_at >= since]
        tasks += [answers.describe_task(task, {}).model_dump(mode="json", by_alias=True) for task in recent]
        if len(recent) < len(page.tasks) or not page.more:
            return tasks
        before = recent[-1].id
