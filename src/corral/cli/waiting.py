"""Waits for tasks and batches; the server holds each answer back for a while, so that waiting costs little."""

from __future__ import annotations

from corral.cli import exits
from corral.cli.client import Api
from corral.work import Json

_HELD_S = 30


async def task_ended(api: Api, task: int) -> Json:
    """Return the task once it has ended. Raises: RemoteError."""
    while True:
        answer = await api.get(f"/corral/v1/tasks/{task}/wait", {"timeout": _HELD_S})
        if answer["finished_at"] is not None:
            return answer


async def batch_ended(api: Api, batch: int) -> Json:
    """Return the batch once every task of it has ended. Raises: RemoteError."""
    while True:
        answer = await api.get(f"/corral/v1/batches/{batch}/wait", {"timeout": _HELD_S})
        if answer["done"]:
            return answer


def exit_code(tasks: list[Json]) -> int:
    """Return 0 when every task succeeded."""
    return 0 if all(task["state"] == "succeeded" for task in tasks) else exits.TASKS_FAILED
