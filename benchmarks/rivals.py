"""The other queues, used as their documentation advises for speed.

PgQueuer: one INSERT for a batch of jobs, its recommended autovacuum settings, a single asyncpg connection for the queue
manager, a `batch_size` far above the default of 10 (its tuning guide says so for short jobs), its own event loop
(uvloop, which its command line uses), all tables durable (its default).

Procrastinate: `batch_defer_async`, its psycopg connector, one worker with concurrency; jobs are fetched and finished
one by one, which is what it offers.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import asyncpg
import procrastinate
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode


@dataclass(frozen=True, slots=True, kw_only=True)
class Phases:
    """Seconds that a system took for all tasks of a round."""

    submit_s: float
    work_s: float
    """Claim, run (nothing) and complete."""


async def pgqueuer_round(url: str, tasks: int, batch: int, at_once: int) -> Phases:
    """Enqueue the tasks in batches, then drain them; `at_once` jobs are claimed together."""
    connection = await asyncpg.connect(url)
    queue = PgQueuer(AsyncpgDriver(connection))
    queries = Queries(AsyncpgDriver(connection))
    await queries.install()
    await queries.optimize_autovacuum()
    done = 0

    @queue.entrypoint("nothing")
    async def nothing(job: Job) -> None:
        nonlocal done
        done += 1

    begun = time.perf_counter()
    for _ in range(tasks // batch):
        await queries.enqueue(["nothing"] * batch, [b'{"seconds":0}'] * batch, [0] * batch)
    submitted = time.perf_counter()
    await queue.run(batch_size=at_once, mode=QueueExecutionMode.drain)
    ended = time.perf_counter()
    await connection.close()
    if done != tasks:
        raise RuntimeError(f"PgQueuer ran {done} of {tasks} jobs")
    return Phases(submit_s=submitted - begun, work_s=ended - submitted)


async def procrastinate_round(url: str, tasks: int, batch: int, at_once: int) -> Phases:
    """Defer the tasks in batches, then work until none is left; `at_once` jobs run together."""
    connector = procrastinate.PsycopgConnector(conninfo=url, min_size=4, max_size=12)
    app = procrastinate.App(connector=connector)
    done = 0

    @app.task(name="nothing")
    async def nothing(seconds: float) -> None:
        nonlocal done
        done += 1

    async with app.open_async():
        await app.schema_manager.apply_schema_async()
        begun = time.perf_counter()
        for _ in range(tasks // batch):
            await nothing.batch_defer_async(*[{"seconds": 0}] * batch)
        submitted = time.perf_counter()
        await app.run_worker_async(wait=False, concurrency=at_once, install_signal_handlers=False)
        ended = time.perf_counter()
    if done != tasks:
        raise RuntimeError(f"Procrastinate ran {done} of {tasks} jobs")
    return Phases(submit_s=submitted - begun, work_s=ended - submitted)
