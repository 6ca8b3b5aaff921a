"""The part of the database that submissions are checked against, read in the transaction that stores them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from corral.tasks.lifecycle import TaskState
from corral.tasks.store.pool import Connection
from corral.tasks.submission_checks import needs_of
from corral.tasks.values import OutputRef, Submission, TaskSpec

_OWNER_LIMIT = 0x6C696D74  # "limt": the first half of an advisory lock; the other is a hash of queue and owner
Limits = Mapping[str, int | None]
"""How many open tasks an owner can have, by queue."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What submissions are checked against, and the ids that their tasks get."""

    now: datetime
    task_ids: Iterator[int]
    batch_ids: Iterator[int]
    draining: Collection[str]
    open_tasks: dict[tuple[str, str], int]
    """By queue and owner, where there is a limit; grows with what is taken."""
    needs: Mapping[int, TaskState]
    """The tasks outside of submissions that these need."""
    uploads: Collection[str]


async def read_facts(connection: Connection, submissions: Sequence[Submission], limits: Limits) -> Facts:
    """Read what is needed for these submissions, and lock what must not change before they are stored."""
    row = await connection.fetchrow(
        """
        select now() as now, array(select name from gates where kind = 'queue' and gate = 'draining') as draining,
          array(select nextval('tasks_id_seq') from generate_series(1, $1)) as tasks,
          array(select nextval('batches_id_seq') from generate_series(1, $2)) as batches
        """,
        sum(len(submission.tasks) for submission in submissions),
        sum(submission.batch is not None for submission in submissions),
    )
    assert row is not None, "a select without a table has one row"
    return Facts(
        now=row["now"],
        task_ids=iter(row["tasks"]),
        batch_ids=iter(row["batches"]),
        draining=row["draining"],
        open_tasks=await _count_open_tasks(connection, submissions, limits),
        needs=await _mark_outside_needs(connection, submissions),
        uploads=await _lock_uploads(connection, submissions),
    )


async def _count_open_tasks(
    connection: Connection, submissions: Sequence[Submission], limits: Limits
) -> dict[tuple[str, str], int]:
    limited = {
        (task.queue, submission.owner)
        for submission in submissions
        for task in submission.tasks
        if limits.get(task.queue) is not None
    }
    if not limited:
        return {}
    queues, owners = [queue for queue, _ in limited], [owner for _, owner in limited]
    # Until this commits, no other transaction counts them: two that each fit could exceed the limit together.
    await connection.execute(
        "select pg_advisory_xact_lock($1, hash) from (select distinct hashtext(queue || '/' || owner) as hash"
        " from unnest($2::text[], $3::text[]) as limited(queue, owner) order by 1) locks",
        _OWNER_LIMIT,
        queues,
        owners,
    )
    rows = await connection.fetch(
        "select queue, owner, count(*) as count from tasks where finished_at is null"
        " and (queue, owner) in (select * from unnest($1::text[], $2::text[])) group by queue, owner",
        queues,
        owners,
    )
    return dict.fromkeys(limited, 0) | {(row["queue"], row["owner"]): row["count"] for row in rows}


async def _mark_outside_needs(connection: Connection, submissions: Sequence[Submission]) -> dict[int, TaskState]:
    """Lock and mark the tasks outside of submissions that these need; the mark of a refused one's need is harmless."""
    wanted = {
        need
        for submission in submissions
        for task in submission.tasks
        for need in needs_of(task)
        if isinstance(need, int) and 0 < need < 2**63
    }
    if not wanted:
        return {}
    rows = await connection.fetch(
        "update tasks set has_dependents = true where id in"
        " (select id from tasks where id = any($1::bigint[]) order by id for update) returning id, state",
        list(wanted),
    )
    return {row["id"]: TaskState(row["state"]) for row in rows}


async def _lock_uploads(connection: Connection, submissions: Sequence[Submission]) -> frozenset[str]:
    """Return the uploads that are there; their rows are locked, so that none is collected before this commits."""
    wanted = {upload for submission in submissions for task in submission.tasks for _, upload in list_uploads(task)}
    if not wanted:
        return frozenset()
    rows = await connection.fetch(
        "select sha256 from uploads where sha256 = any($1::bytea[]) order by sha256, owner for share",
        [bytes.fromhex(upload) for upload in wanted],
    )
    return frozenset(row["sha256"].hex() for row in rows)


def list_uploads(task: TaskSpec) -> Iterator[tuple[str, str]]:
    """Yield the uploads that a task takes, by the names of its files."""
    for name, ref in task.files.items():
        if not isinstance(ref, OutputRef):
            yield name, ref.upload
