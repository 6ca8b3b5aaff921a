"""Plays the dispatcher for tests of the API: takes tasks through their lives in the real store, with no engine."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

from corral.errors import Problem
from corral.tasks.lifecycle import AttemptFailed, Leased, Started, Succeeded
from corral.tasks.store.pool import Pool
from corral.tasks.store.transitions import Lease, TaskChange, apply
from corral.tasks.values import StoredFile
from corral.work import FailureScope, SlotId

_HERE = Lease(holder=uuid4(), ttl=timedelta(seconds=60))


async def start(pool: Pool, task: int, slot: str | None = None) -> UUID:
    """Let an attempt begin, on a slot of its own unless one is named, and return its token."""
    attempt = uuid4()
    changes = [
        TaskChange(task=task, event=Leased(attempt, (SlotId(slot or f"node/cpu{task}"),))),
        TaskChange(task=task, event=Started(attempt)),
    ]
    applied = await apply(pool, changes, lease=_HERE)
    assert not applied.refused
    return attempt


async def succeed(pool: Pool, task: int, *outputs: StoredFile) -> None:
    """Let a queued task succeed with these outputs."""
    attempt = await start(pool, task)
    applied = await apply(
        pool, [TaskChange(task=task, event=Succeeded(attempt), outputs=outputs, result={"slept_s": 0})]
    )
    assert not applied.refused


async def fail(pool: Pool, task: int) -> None:
    """Let a queued task fail for good."""
    attempt = await start(pool, task)
    error = Problem(code="engine.task_invalid", what="the inputs cannot be used", hint="change them")
    change = TaskChange(task=task, event=AttemptFailed(attempt, FailureScope.TASK, 0.0), error=error)
    applied = await apply(pool, [change])
    assert not applied.refused
