"""Corral's own rounds: the store alone, and the whole path through the dispatcher."""

from __future__ import annotations

import tempfile
import time
from datetime import timedelta
from pathlib import Path
from uuid import UUID, uuid4

from benchmarks.rivals import Phases
from benchmarks.yard import NothingEngine, dispatching, submit_tasks, until_ended
from corral.tasks.lifecycle import Leased, Started, Succeeded
from corral.tasks.migrations import migrate
from corral.tasks.store.dispatching import commit_round
from corral.tasks.store.pool import open_pool
from corral.tasks.store.transitions import Lease, TaskChange
from corral.work import SlotId


async def store_round(url: str, tasks: int, batch: int, at_once: int) -> Phases:
    """Submit, then lease and complete in commits of `at_once`: the SQL and the lifecycle without a dispatcher."""
    await migrate(url)
    pool = await open_pool(url)
    begun = time.perf_counter()
    ids = await submit_tasks(pool, tasks, batch, 0)
    submitted = time.perf_counter()
    lease = Lease(holder=uuid4(), ttl=timedelta(seconds=60))
    running: list[tuple[int, UUID]] = []
    for start in range(0, tasks + at_once, at_once):
        leased = [(task, uuid4()) for task in ids[start : start + at_once]]
        ended = [
            change
            for task, attempt in running
            for change in (
                TaskChange(task=task, event=Started(attempt)),
                TaskChange(task=task, event=Succeeded(attempt), result={}),
            )
        ]
        taken = [
            TaskChange(task=task, event=Leased(attempt, (SlotId(f"node/cpu{slot}"),)), device_model="cpu")
            for slot, (task, attempt) in enumerate(leased)
        ]
        await commit_round(pool, [*ended, *taken], lease, epoch=None)
        running = leased
    ended_at = time.perf_counter()
    await until_ended(pool)
    await pool.close()
    return Phases(submit_s=submitted - begun, work_s=ended_at - submitted)


async def dispatcher_round(url: str, tasks: int, batch: int, at_once: int) -> Phases:
    """Submit, then let the real dispatcher run everything on `at_once` slots whose engine does nothing."""
    await migrate(url)
    pool = await open_pool(url)
    begun = time.perf_counter()
    await submit_tasks(pool, tasks, batch, 0)
    submitted = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="corral-bench-") as folder:
        async with dispatching(url, pool, Path(folder), [NothingEngine() for _ in range(at_once)]):
            await until_ended(pool)
            ended = time.perf_counter()
    await pool.close()
    return Phases(submit_s=submitted - begun, work_s=ended - submitted)
