"""Outputs that are written to a folder by themselves: which are open, and what became of each task's.

A row is made with its task. It is open until `written_at` is set, which is after the last file is on the disk: what is
cut off in between is looked at again, and files that are whole are left as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from corral.errors import Problem
from corral.tasks.store.pool import Connection, Queries, Row
from corral.tasks.values import Deliveries, Sha256, StoredFile
from corral.units import Bytes
from corral.work import Json

TO_WRITE = "d.written_at is null and t.state = 'succeeded'"
"""Rows whose outputs can be written now; those of tasks that failed or were cancelled stay as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The outputs of one task, and where they go."""

    task: int
    path: str
    """Of the task's folder, below the folder that the cluster file allows."""
    files: tuple[StoredFile, ...]
    values: Mapping[str, Json]
    """Small results, which are written where there are no files."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenDelivery:
    """Outputs of one task that are not in their folder yet."""

    root: str
    path: str
    problem: Problem | None
    """Why they could not be written the last time."""


NewDelivery = tuple[int, int | None, str, str]
"""Task, batch, root and path."""


async def add_in(connection: Connection, new: Sequence[NewDelivery], retries: Sequence[tuple[int, int]]) -> None:
    """Store where the outputs of new tasks go; a retry of a single task has the folder of the task that it retries."""
    if new:
        columns = ["task_id", "batch_id", "root", "path"]
        await connection.copy_records_to_table("deliveries", records=new, columns=columns)
    if retries:
        await connection.execute(
            "insert into deliveries (task_id, batch_id, root, path)"
            " select retry.id, d.batch_id, d.root, d.path"
            " from unnest($1::bigint[], $2::bigint[]) as retry(id, original)"
            " join deliveries d on d.task_id = retry.original"
            " on conflict (task_id) do update"
            " set batch_id = excluded.batch_id, root = excluded.root, path = excluded.path",
            *(list(column) for column in zip(*retries, strict=True)),
        )


async def list_roots(pool: Queries) -> tuple[str, ...]:
    """Return the folders below which something is open."""
    rows = await pool.fetch(
        f"select distinct d.root from deliveries d join tasks t on t.id = d.task_id where {TO_WRITE} order by d.root"
    )
    return tuple(row["root"] for row in rows)


async def list_open(pool: Queries, root: str, *, after: int, limit: int) -> tuple[Delivery, ...]:
    """Return the next deliveries below a folder, of tasks with an id above `after`, the oldest first."""
    rows = await pool.fetch(
        f"""
        select d.task_id, d.path, coalesce(t.result, '{{}}') as result,
          (select coalesce(jsonb_agg(jsonb_build_object(
             'name', o.name, 'sha256', encode(o.sha256, 'hex'), 'size', o.size, 'media_type', o.media_type)
             order by o.name), '[]') from outputs o where o.task_id = t.id) as files
        from deliveries d join tasks t on t.id = d.task_id
        where d.root = $1 and d.task_id > $2 and {TO_WRITE} order by d.task_id limit $3
        """,
        root,
        after,
        limit,
    )
    return tuple(
        Delivery(task=row["task_id"], path=row["path"], files=_read_files(row), values=row["result"]) for row in rows
    )


async def read_open(pool: Queries, task: int) -> OpenDelivery | None:
    """Return where the outputs of a task that has succeeded wait to be written; None where none do."""
    row = await pool.fetchrow(
        f"select d.root, d.path, d.problem from deliveries d join tasks t on t.id = d.task_id"
        f" where d.task_id = $1 and {TO_WRITE}",
        task,
    )
    if row is None:
        return None
    problem = None if row["problem"] is None else Problem(**row["problem"])
    return OpenDelivery(root=row["root"], path=row["path"], problem=problem)


async def note_written(pool: Queries, task: int) -> None:
    """Close a delivery: every file is on the disk."""
    await pool.execute("update deliveries set written_at = now(), problem = null where task_id = $1", task)


async def note_problem(pool: Queries, task: int, problem: Problem) -> None:
    """Keep why the outputs of a task could not be written the last time."""
    await pool.execute("update deliveries set problem = $2 where task_id = $1", task, asdict(problem))


BATCH_SUMMARY = f"""
(select jsonb_build_object(
   'written', count(*) filter (where d.written_at is not null),
   'waiting', count(*) filter (where {TO_WRITE}),
   'roots', coalesce(jsonb_agg(distinct d.root) filter (where {TO_WRITE}), '[]'),
   'problem', (array_agg(d.problem order by d.task_id) filter (where d.problem is not null))[1])
 from deliveries d join tasks t on t.id = d.task_id where d.batch_id = b.id having count(*) > 0)
"""
"""What became of the outputs of the batch `b`; null where none go anywhere."""


def read_summary(row: Row) -> Deliveries | None:
    """Read the column of the query above."""
    summary = row["deliveries"]
    if summary is None:
        return None
    problem = summary["problem"]
    return Deliveries(
        written=summary["written"],
        waiting=summary["waiting"],
        roots=tuple(summary["roots"]),
        problem=None if problem is None else Problem(**problem),
    )


def _read_files(row: Row) -> tuple[StoredFile, ...]:
    return tuple(
        StoredFile(
            name=file["name"],
            sha256=Sha256(file["sha256"]),
            size=Bytes(file["size"]),
            media_type=file["media_type"],
        )
        for file in row["files"]
    )
