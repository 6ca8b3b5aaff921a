"""Deletes what is past its time: ended tasks with their story and outputs, uploads, and files that nothing names.

A batch is collected as a whole, once its last task is past its time, so that its counts stay true while it is there. A
task that an open task needs stays, whatever its age, and so does one whose outputs wait for their folder. Each step
locks the rows that it chose and looks again before it deletes: a submission that came in between, and needs one of
them, has won.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from corral.cluster.keeping import Retention
from corral.tasks.artifacts import ArtifactMissingError, ArtifactStore
from corral.tasks.store.audit import Act, append_act
from corral.tasks.store.pool import Connection, Pool, Queries, Row
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
    pool: Pool,
    artifacts: ArtifactStore,
    retention: Retention,
    *,
    now: datetime | None = None,
    dry_run: bool = False,
    act: Act | None = None,
) -> Collected:
    """Delete what `retention` does not keep at `now`, or with `dry_run` only count what that would be.

    Files of a dry run are those that nothing would name any more; older leftovers of crashes come on top. `act` goes
    into the audit log with the first step.
    """
    instant = now or datetime.now(UTC)
    tasks_before = _compute_cutoff(instant, retention.tasks)
    files_before = _compute_cutoff(instant, retention.artifacts)
    async with pool.acquire() as connection:
        if dry_run:
            return await _try_deletion(connection, artifacts, tasks_before, files_before)
        steps = _Steps(connection, act)
        removed = await _delete(steps, tasks_before, files_before)
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
            removed = await _delete(_Steps(connection), tasks_before, files_before)
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


@dataclass(slots=True)
class _Steps:
    """The transactions of one collection."""

    connection: Connection
    act: Act | None = None
    """Written with the first step: once something is deleted, the audit log says who asked."""

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[Connection]:
        """Open the next one."""
        async with self.connection.transaction():
            yield self.connection
            if self.act is not None:
                await append_act(self.connection, self.act)
        self.act = None


async def _delete(steps: _Steps, tasks_before: datetime, files_before: datetime) -> Collected:
    tasks, batches, outputs = await _delete_tasks(steps, tasks_before)
    outputs += await _delete_outputs(steps, files_before)
    uploads = await _delete_uploads(steps, files_before)
    return Collected(tasks=tasks, batches=batches, outputs=outputs, uploads=uploads)


def _compute_cutoff(now: datetime, age: timedelta | None) -> datetime:
    """Return the instant before which things are past their time; nothing is when they are kept for ever."""
    return datetime.min.replace(tzinfo=UTC) if age is None else now - age


_NEEDED = """(exists (select from needs n join tasks d on d.id = n.task_id
                    where n.need_id = t.id and d.state in ('waiting', 'queued', 'leased', 'running'))
            or (t.state = 'succeeded'
                and exists (select from deliveries v where v.task_id = t.id and v.written_at is null)))"""
"""An open task needs it, or its outputs are not where they were asked for yet."""
_PAST_TASK = f"t.batch_id is null and t.finished_at < $1 and not {_NEEDED}"
"""An ended task without a batch that is past its time."""
_PAST_BATCH = f"""not exists (select from tasks t where t.batch_id = b.id
                            and (t.finished_at is null or t.finished_at >= $1 or {_NEEDED}))"""
"""A batch all of whose tasks are past their time. It is asked once for each batch: for each of its tasks, a batch of
8,000 took longer than the 30 s that a statement has."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Tasks without a batch, or whole batches, that one transaction deletes."""

    tasks: tuple[int, ...] = ()
    batches: tuple[int, ...] = ()


async def _delete_tasks(steps: _Steps, before: datetime) -> tuple[int, int, int]:
    """Return how many tasks, batches and outputs went; what a step has deleted stays so when the next one is cut off.

    Each step begins after the last one's ids: rows that are deleted and not yet vacuumed are not read again.
    """
    totals = (0, 0, 0)
    async for chosen in _choose(steps.connection, before):
        async with steps.open() as connection:
            step = await _delete_chosen(connection, before, chosen)
        totals = (totals[0] + step[0], totals[1] + step[1], totals[2] + step[2])
    return totals


async def _choose(connection: Connection, before: datetime) -> AsyncGenerator[_Chosen]:
    after = 0
    while rows := await connection.fetch(
        f"select t.id from tasks t where {_PAST_TASK} and t.id > $2 order by t.id limit {_STEP}", before, after
    ):
        yield _Chosen(tasks=tuple(row["id"] for row in rows))
        after = rows[-1]["id"]
    after = 0
    while rows := await connection.fetch(f"{_PAST_BATCHES} order by b.id limit {_BATCHES}", before, after):
        for batches in _group(rows):
            yield _Chosen(batches=batches)
        after = rows[-1]["id"]


_BATCHES = 200
"""Batches that are looked at in one query."""
_PAST_BATCHES = f"""
select b.id, (select count(*) from tasks t where t.batch_id = b.id) as count from batches b
where b.id > $2 and {_PAST_BATCH} and exists (select from tasks t where t.batch_id = b.id)
"""


def _group(rows: Iterable[Row]) -> Iterator[tuple[int, ...]]:
    """Put batches together whose tasks fit into one step; a larger one is alone."""
    group: list[int] = []
    count = 0
    for row in rows:
        if group and count + row["count"] > _STEP:
            yield tuple(group)
            group, count = [], 0
        group.append(row["id"])
        count += row["count"]
    if group:
        yield tuple(group)


async def _delete_chosen(connection: Connection, before: datetime, chosen: _Chosen) -> tuple[int, int, int]:
    """Lock what was chosen, look again, and delete what is still past its time."""
    locked = await connection.fetch(
        "select id from tasks where id = any($1::bigint[]) or batch_id = any($2::bigint[]) order by id for update",
        list(chosen.tasks),
        list(chosen.batches),
    )
    rows = await connection.fetch(
        f"""
        select t.id from tasks t where t.id = any($2::bigint[]) and {_PAST_TASK}
        union all
        select s.id from tasks s where s.id = any($2::bigint[]) and s.batch_id in (
          select b.id from batches b where b.id = any($3::bigint[]) and {_PAST_BATCH})
        """,
        before,
        [row["id"] for row in locked],
        list(chosen.batches),
    )
    ids = [row["id"] for row in rows]
    outputs: int = await connection.fetchval("select count(*) from outputs where task_id = any($1::bigint[])", ids)
    await connection.execute("delete from events where task_id = any($1::bigint[])", ids)
    await connection.execute("delete from tasks where id = any($1::bigint[])", ids)
    gone = await connection.fetch(
        "delete from batches b where id = any($1::bigint[])"
        " and not exists (select from tasks t where t.batch_id = b.id) returning id",
        list(chosen.batches),
    )
    return len(ids), len(gone), outputs


_PAST_OUTPUTS = f"""
outputs o using tasks t where t.id = o.task_id and t.finished_at < $1 and not {_NEEDED}
"""


async def _delete_outputs(steps: _Steps, before: datetime) -> int:
    """Forget outputs that are kept for a shorter time than their tasks."""
    async with steps.open() as connection:
        await connection.execute(
            "select from tasks t where t.finished_at < $1 and exists (select from outputs o where o.task_id = t.id)"
            " order by t.id for update",
            before,
        )
        return _count(await connection.execute(f"delete from {_PAST_OUTPUTS}", before))


_PAST_UPLOADS = """
created_at < $1 and not exists (select from task_uploads u where u.sha256 = uploads.sha256)
"""


_ENDED_BATCHES = "greatest(completed_at, failed_at, cancelled_at) < $1"
"""Batches of clients that have ended; those that have not have none of these instants."""
_PAST_FILES = """
created_at < $1 and not exists (
  select from client_batches b where b.input_file = client_files.id and b.completed_at is null and b.failed_at is null
    and b.cancelled_at is null
)
"""


async def _delete_uploads(steps: _Steps, before: datetime) -> int:
    """Forget uploads, and files and batches of clients; return how many files those were."""
    async with steps.open() as connection:
        await connection.execute(f"select from uploads where {_PAST_UPLOADS} order by sha256, owner for update", before)
        uploads = _count(await connection.execute(f"delete from uploads where {_PAST_UPLOADS}", before))
        await connection.execute(f"delete from client_batches where {_ENDED_BATCHES}", before)
        return uploads + _count(await connection.execute(f"delete from client_files where {_PAST_FILES}", before))


def _count(status: str) -> int:
    """Read PostgreSQL's command status: `DELETE 12`."""
    return int(status.rpartition(" ")[2])


async def _list_named_files(pool: Queries) -> frozenset[Sha256]:
    rows = await pool.fetch(
        """
        select sha256 from outputs union select sha256 from uploads union select sha256 from task_uploads
        union select sha256 from voices union select sha256 from client_files union select sha256 from character_images
        union select refused_lines from client_batches where refused_lines is not null
        """
    )
    return frozenset(Sha256(row["sha256"].hex()) for row in rows)
