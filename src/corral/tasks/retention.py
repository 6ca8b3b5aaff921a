"""Deletes what is past its time: ended tasks with their story and outputs, uploads, and files that nothing names.

A batch is collected as a whole, once its last task is past its time, so that its counts stay true while it is there. A
task that an open task needs stays, whatever its age. Each step locks the rows that it chose and looks again before it
deletes: a submission that came in between, and needs one of them, has won.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from corral.cluster.values import Retention
from corral.tasks.artifacts import ArtifactMissingError, ArtifactStore
from corral.tasks.store.pool import Connection, Pool, Queries
from corral.tasks.values import Sha256

_STEP = 2000
"""Tasks or uploads deleted in one transaction; a larger batch is deleted at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Counts of what was removed, or would be."""

    tasks: int = 0
    batches: int = 0
    outputs: int = 0
    """Outputs forgotten, with their tasks or before them."""
    uploads: int = 0
    files: int = 0
    bytes: int = 0
    """Of the files."""


async def collect(
    pool: Pool, artifacts: ArtifactStore, retention: Retention, *, now: datetime | None = None, dry_run: bool = False
) -> Collected:
    """Delete what `retention` does not keep at `now`, or with `dry_run` only count what that would be.

    Files of a dry run are those that nothing would name any more; older leftovers of crashes come on top.
    """
    instant = now or datetime.now(UTC)
    tasks_before = _compute_cutoff(instant, retention.tasks)
    files_before = _compute_cutoff(instant, retention.artifacts)
    async with pool.acquire() as connection:
        if dry_run:
            return await _try_deletion(connection, artifacts, tasks_before, files_before)
        removed = await _delete(connection, tasks_before, files_before)
        kept = await _list_named_files(connection)
    files, freed = await asyncio.to_thread(artifacts.sweep, kept)
    return replace(removed, files=files, bytes=freed)


class _RolledBackError(Exception):
    """Ends the transaction of a dry run."""


async def _try_deletion(
    connection: Connection, artifacts: ArtifactStore, tasks_before: datetime, files_before: datetime
) -> Collected:
    """Delete for real, look at what is left, and roll it back: a dry run cannot report anything else than the run."""
    named = await _list_named_files(connection)
    removed, left = Collected(), named
    with suppress(_RolledBackError):
        async with connection.transaction():
            removed = await _delete(connection, tasks_before, files_before)
            left = await _list_named_files(connection)
            raise _RolledBackError
    sizes = await asyncio.to_thread(_measure_sizes, artifacts, named - left)
    return replace(removed, files=len(sizes), bytes=sum(sizes))


def _measure_sizes(artifacts: ArtifactStore, names: Iterable[Sha256]) -> list[int]:
    sizes: list[int] = []
    for name in names:
        with suppress(ArtifactMissingError, FileNotFoundError):
            sizes.append(artifacts.locate(name).stat().st_size)
    return sizes


async def _delete(connection: Connection, tasks_before: datetime, files_before: datetime) -> Collected:
    tasks, batches, outputs = await _delete_tasks(connection, tasks_before)
    outputs += await _delete_outputs(connection, files_before)
    uploads = await _delete_uploads(connection, files_before)
    return Collected(tasks=tasks, batches=batches, outputs=outputs, uploads=uploads)


def _compute_cutoff(now: datetime, age: timedelta | None) -> datetime:
    """Return the instant before which things are past their time; nothing is when they are kept for ever."""
    return datetime.min.replace(tzinfo=UTC) if age is None else now - age


_NEEDED = """exists (select from needs n join tasks d on d.id = n.task_id
                    where n.need_id = t.id and d.state in ('waiting', 'queued', 'leased', 'running'))"""

_PAST = f"""
select t.id, t.batch_id from tasks t
where t.finished_at < $1 and not {_NEEDED}
  and not exists (select from tasks s where s.batch_id = t.batch_id
                  and (s.finished_at is null or s.finished_at >= $1 or {_NEEDED.replace("t.id", "s.id")}))
"""
"""Ended tasks that are past their time, and whose whole batch is."""


async def _delete_tasks(connection: Connection, before: datetime) -> tuple[int, int, int]:
    """Return how many tasks, batches and outputs went."""
    totals = (0, 0, 0)
    while True:
        async with connection.transaction():
            step = await _delete_some_tasks(connection, before)
        totals = (totals[0] + step[0], totals[1] + step[1], totals[2] + step[2])
        if step[0] == 0:
            return totals


async def _delete_some_tasks(connection: Connection, before: datetime) -> tuple[int, int, int]:
    chosen = await connection.fetch(f"{_PAST} order by t.id limit {_STEP}", before)
    batches = {row["batch_id"] for row in chosen if row["batch_id"] is not None}
    locked = await connection.fetch(
        "select id from tasks where id = any($1::bigint[]) or batch_id = any($2::bigint[]) order by id for update",
        [row["id"] for row in chosen],
        list(batches),
    )
    rows = await connection.fetch(f"{_PAST} and t.id = any($2::bigint[])", before, [row["id"] for row in locked])
    ids = [row["id"] for row in rows]
    outputs: int = await connection.fetchval("select count(*) from outputs where task_id = any($1::bigint[])", ids)
    await connection.execute("delete from events where task_id = any($1::bigint[])", ids)
    await connection.execute("delete from tasks where id = any($1::bigint[])", ids)
    gone = await connection.fetch(
        "delete from batches b where id = any($1::bigint[])"
        " and not exists (select from tasks t where t.batch_id = b.id) returning id",
        list(batches),
    )
    return len(ids), len(gone), outputs


_PAST_OUTPUTS = f"""
outputs o using tasks t where t.id = o.task_id and t.finished_at < $1 and not {_NEEDED}
"""


async def _delete_outputs(connection: Connection, before: datetime) -> int:
    """Forget outputs that are kept for a shorter time than their tasks."""
    async with connection.transaction():
        await connection.execute(
            "select from tasks t where t.finished_at < $1 and exists (select from outputs o where o.task_id = t.id)"
            " order by t.id for update",
            before,
        )
        return _count(await connection.execute(f"delete from {_PAST_OUTPUTS}", before))


_PAST_UPLOADS = """
created_at < $1 and not exists (select from task_uploads u where u.sha256 = uploads.sha256)
"""


async def _delete_uploads(connection: Connection, before: datetime) -> int:
    async with connection.transaction():
        await connection.execute(f"select from uploads where {_PAST_UPLOADS} order by sha256, owner for update", before)
        return _count(await connection.execute(f"delete from uploads where {_PAST_UPLOADS}", before))


def _count(status: str) -> int:
    """Read PostgreSQL's command status: `DELETE 12`."""
    return int(status.rpartition(" ")[2])


async def _list_named_files(pool: Queries) -> frozenset[Sha256]:
    rows = await pool.fetch(
        "select sha256 from outputs union select sha256 from uploads union select sha256 from task_uploads"
    )
    return frozenset(Sha256(row["sha256"].hex()) for row in rows)
