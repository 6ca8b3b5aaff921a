"""Files and batches of clients that speak OpenAI's protocol, each its owner's own.

A batch is a row whose status only goes forward, guarded in each update; its requests are tasks in `parts`, batches of
the queue. Counts of a batch that is under way are those of its tasks; once it has ended they are in the row, so they
outlive the tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from corral.tasks.store.pool import Pool, Queries, Row
from corral.tasks.store.uploads import lock_quota, measure_uploads, refuse_over_quota
from corral.tasks.values import Sha256
from corral.units import Bytes
from corral.work import Json

Status = Literal["validating", "failed", "in_progress", "finalizing", "completed", "cancelling", "cancelled"]
OPEN = ("validating", "in_progress", "finalizing", "cancelling")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFile:
    """A file that a client has uploaded, or that a batch has made."""

    id: str
    owner: str
    name: str
    purpose: str
    sha256: Sha256
    size: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientBatch:
    """A batch as it is stored; instants of steps that it has not reached are None."""

    id: str
    owner: str
    key: str | None
    models: Sequence[str] | None
    endpoint: str
    input_file: str
    completion_window: str
    by: datetime
    metadata: Mapping[str, Json] | None
    status: Status
    parts: Sequence[int]
    """Batches of the queue with its requests, in their order."""
    total: int
    """Requests; 0 until its file was read."""
    refused: int
    """Requests that were not accepted."""
    refused_lines: Sha256 | None
    """The content with their lines of the error file."""
    completed: int
    failed: int
    problems: Sequence[Mapping[str, Json]]
    """Why its file as a whole could not be used."""
    output_file: str | None
    error_file: str | None
    created_at: datetime
    in_progress_at: datetime | None
    finalizing_at: datetime | None
    completed_at: datetime | None
    failed_at: datetime | None
    cancelling_at: datetime | None
    cancelled_at: datetime | None


# --- files ----------------------------------------------------------------------------------------------------------


async def add_file(pool: Queries, file: ClientFile) -> ClientFile:
    """Record a file whose content is stored; `created_at` is that of the database."""
    row = await pool.fetchrow(
        "insert into client_files (id, owner, name, purpose, sha256, size) values ($1, $2, $3, $4, $5, $6) returning *",
        file.id,
        file.owner,
        file.name,
        file.purpose,
        bytes.fromhex(file.sha256),
        file.size,
    )
    assert row is not None, "what was inserted is returned"
    return _read_file(row)


async def add_upload(pool: Pool, file: ClientFile, *, quota: Bytes) -> ClientFile:
    """Record a file that a client has uploaded, within its owner's quota. Raises: UploadQuotaError."""
    async with pool.acquire() as connection, connection.transaction():
        await lock_quota(connection, file.owner)
        refuse_over_quota(file.owner, await measure_uploads(connection, file.owner) + file.size, quota)
        return await add_file(connection, file)


async def find_file(pool: Queries, owner: str, id: str) -> ClientFile | None:
    """Return an owner's file."""
    row = await pool.fetchrow("select * from client_files where id = $1 and owner = $2", id, owner)
    return None if row is None else _read_file(row)


async def list_files(
    pool: Queries, owner: str, *, purpose: str | None, after: str | None, limit: int, newest_first: bool
) -> tuple[ClientFile, ...]:
    """Return an owner's files, those after one of them in this order."""
    compare, order = ("<", "desc") if newest_first else (">", "asc")
    rows = await pool.fetch(
        f"""
        select * from client_files where owner = $1 and ($2::text is null or purpose = $2)
          and ($3::text is null or number {compare} (select number from client_files where id = $3 and owner = $1))
        order by number {order} limit $4
        """,
        owner,
        purpose,
        after,
        limit,
    )
    return tuple(_read_file(row) for row in rows)


async def delete_file(pool: Pool, owner: str, id: str) -> str | None:
    """Delete an owner's file, unless a batch that has not ended reads it: then return the batch's id."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.fetchrow("select from client_files where id = $1 and owner = $2 for update", id, owner)
        reader: str | None = await connection.fetchval(
            "select id from client_batches where owner = $1 and input_file = $2 and status = any($3) limit 1",
            owner,
            id,
            list(OPEN),
        )
        if reader is None:
            await connection.execute("delete from client_files where id = $1 and owner = $2", id, owner)
    return reader


# --- batches --------------------------------------------------------------------------------------------------------


async def add_batch(
    pool: Pool,
    *,
    id: str,
    owner: str,
    key: str | None,
    models: Sequence[str] | None,
    endpoint: str,
    input_file: str,
    completion_window: str,
    by: datetime,
    metadata: Mapping[str, Json] | None,
) -> ClientBatch | None:
    """Record a batch whose file was not read yet; None when the owner has no such file."""
    async with pool.acquire() as connection, connection.transaction():
        known = await connection.fetchrow(
            "select from client_files where id = $1 and owner = $2 for share", input_file, owner
        )
        if known is None:
            return None
        row = await connection.fetchrow(
            """
            insert into client_batches
              (id, owner, key, models, endpoint, input_file, completion_window, by, metadata)
            values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning *
            """,
            id,
            owner,
            key,
            None if models is None else list(models),
            endpoint,
            input_file,
            completion_window,
            by,
            None if metadata is None else dict(metadata),
        )
    assert row is not None, "what was inserted is returned"
    return _read_batch(row)


_COUNTED = """
select b.*, coalesce(c.succeeded, 0) as now_completed, coalesce(c.ended, 0) as now_failed
from client_batches b left join lateral (
  select count(*) filter (where t.state = 'succeeded') as succeeded,
    count(*) filter (where t.state in ('failed', 'cancelled')) as ended
  from tasks t where b.status = any('{validating,in_progress,finalizing,cancelling}') and t.batch_id = any(b.parts)
) c on true
"""


async def find_batch(pool: Queries, owner: str, id: str) -> ClientBatch | None:
    """Return an owner's batch, with the counts of its tasks now."""
    row = await pool.fetchrow(f"{_COUNTED} where b.id = $1 and b.owner = $2", id, owner)
    return None if row is None else _read_batch(row)


async def list_batches(pool: Queries, owner: str, *, after: str | None, limit: int) -> tuple[ClientBatch, ...]:
    """Return an owner's batches, newest first, those after one of them."""
    rows = await pool.fetch(
        f"""
        {_COUNTED} where b.owner = $1
          and ($2::text is null or b.number < (select number from client_batches where id = $2 and owner = $1))
        order by b.number desc limit $3
        """,
        owner,
        after,
        limit,
    )
    return tuple(_read_batch(row) for row in rows)


async def list_open_batches(pool: Queries) -> tuple[ClientBatch, ...]:
    """Return the batches that have not ended, oldest first."""
    rows = await pool.fetch(
        "select * from client_batches where status = any($1) order by number limit 1000", list(OPEN)
    )
    return tuple(_read_batch(row) for row in rows)


async def find_part(pool: Queries, owner: str, key: str) -> int | None:
    """Return the batch of the queue that was accepted with an idempotency key."""
    part: int | None = await pool.fetchval(
        "select batch_id from idempotency_keys where owner = $1 and key = $2", owner, key
    )
    return part


async def list_task_names(pool: Queries, part: int) -> frozenset[str]:
    """Return the names of the tasks of a batch of the queue."""
    rows = await pool.fetch("select name from tasks where batch_id = $1", part)
    return frozenset(row["name"] for row in rows)


async def has_open_tasks(pool: Queries, parts: Sequence[int]) -> bool:
    """Whether a task of batches of the queue has not ended."""
    return bool(
        await pool.fetchval(
            "select exists (select from tasks where batch_id = any($1::bigint[]) and finished_at is null)", list(parts)
        )
    )


async def note_accepted(
    pool: Queries, id: str, *, parts: Sequence[int], total: int, refused: int, refused_lines: Sha256 | None
) -> None:
    """Note that a batch's requests are tasks now; one that was cancelled meanwhile stays so."""
    await pool.execute(
        """
        update client_batches set parts = $2, total = $3, refused = $4, refused_lines = $5, in_progress_at = now(),
          status = case when status = 'validating' then 'in_progress' else status end
        where id = $1 and status in ('validating', 'cancelling') and in_progress_at is null
        """,
        id,
        list(parts),
        total,
        refused,
        None if refused_lines is None else bytes.fromhex(refused_lines),
    )


async def note_failed(pool: Queries, id: str, problems: Sequence[Mapping[str, Json]]) -> None:
    """Note that a batch's file cannot be used."""
    await pool.execute(
        "update client_batches set status = 'failed', failed_at = now(), problems = $2"
        " where id = $1 and status in ('validating', 'cancelling') and in_progress_at is null",
        id,
        [dict(problem) for problem in problems],
    )


async def note_finalizing(pool: Queries, id: str) -> None:
    """Note that all tasks of a batch have ended; one that is being cancelled stays so until its files are written."""
    await pool.execute(
        """
        update client_batches set finalizing_at = coalesce(finalizing_at, now()),
          status = case when status = 'in_progress' then 'finalizing' else status end
        where id = $1 and status in ('in_progress', 'cancelling', 'finalizing')
        """,
        id,
    )


async def note_cancelling(pool: Queries, owner: str, id: str) -> bool:
    """Note that a batch was cancelled; False when it has ended, or all its tasks have."""
    changed = await pool.fetchval(
        """
        update client_batches set status = 'cancelling', cancelling_at = coalesce(cancelling_at, now())
        where id = $1 and owner = $2 and status in ('validating', 'in_progress', 'cancelling') returning true
        """,
        id,
        owner,
    )
    return bool(changed)


async def note_ended(
    pool: Pool, id: str, *, output: ClientFile | None, error: ClientFile | None, completed: int, failed: int
) -> None:
    """Record the files of a batch whose tasks have all ended, and its end; a second time changes nothing."""
    async with pool.acquire() as connection, connection.transaction():
        ended = await connection.fetchval(
            """
            update client_batches set output_file = $2, error_file = $3, completed = $4, failed = $5,
              status = case when status = 'cancelling' then 'cancelled' else 'completed' end,
              completed_at = case when status = 'cancelling' then null else now() end,
              cancelled_at = case when status = 'cancelling' then now() end
            where id = $1 and status in ('finalizing', 'cancelling') returning true
            """,
            id,
            None if output is None else output.id,
            None if error is None else error.id,
            completed,
            failed,
        )
        if ended:
            for file in filter(None, (output, error)):
                await add_file(connection, file)


def _read_file(row: Row) -> ClientFile:
    return ClientFile(
        id=row["id"],
        owner=row["owner"],
        name=row["name"],
        purpose=row["purpose"],
        sha256=Sha256(row["sha256"].hex()),
        size=row["size"],
        created_at=row["created_at"],
    )


_PLAIN = (
    *("id", "owner", "key", "models", "endpoint", "input_file", "completion_window", "by", "metadata", "status"),
    *("parts", "total", "refused", "problems", "output_file", "error_file", "created_at", "in_progress_at"),
    *("finalizing_at", "completed_at", "failed_at", "cancelling_at", "cancelled_at"),
)


def _read_batch(row: Row) -> ClientBatch:
    counted = dict(row)
    underway = row["status"] in OPEN
    lines = row["refused_lines"]
    return ClientBatch(
        **{name: counted[name] for name in _PLAIN},
        refused_lines=None if lines is None else Sha256(lines.hex()),
        completed=counted.get("now_completed", 0) if underway else row["completed"],
        failed=counted.get("now_failed", 0) + row["refused"] if underway else row["failed"],
    )
