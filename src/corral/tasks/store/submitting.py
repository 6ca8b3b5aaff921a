"""Stores a submission: all of it in one transaction, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar

from corral.errors import CorralError, Kind, Problem
from corral.tasks.lifecycle import TaskState, first_state
from corral.tasks.store import story
from corral.tasks.store.pool import Connection, Pool
from corral.tasks.submission import SubmissionError, digest, in_order, needs_of
from corral.tasks.values import Accepted, FileRef, OutputRef, Submission, TaskSpec
from corral.work import Json


class IdempotencyConflictError(CorralError):
    """An idempotency key was used before, for something else."""

    code: ClassVar[str] = "submission.idempotency_conflict"
    kind: ClassVar[Kind] = Kind.CONFLICT


class QueueDrainingError(CorralError):
    """A queue that is drained takes no new tasks."""

    code: ClassVar[str] = "queue.draining"
    kind: ClassVar[Kind] = Kind.CONFLICT


class OwnerLimitError(CorralError):
    """An owner has as many tasks in a queue as the cluster file allows."""

    code: ClassVar[str] = "queue.owner_limit"
    kind: ClassVar[Kind] = Kind.NO_CAPACITY


@dataclass(frozen=True, slots=True)
class _Placed:
    """A task of the submission with its id and the ids of those it needs."""

    id: int
    spec: TaskSpec
    needs: tuple[int, ...]
    open_needs: int
    state: TaskState
    needed: bool


async def submit(pool: Pool, submission: Submission, *, queued_limits: Mapping[str, int | None]) -> Accepted:
    """Store a checked submission (`corral.tasks.submission.check`) and wake the dispatcher.

    `queued_limits` says how many open tasks an owner may have, by queue.
    Raises: IdempotencyConflictError, OwnerLimitError, QueueDrainingError, SubmissionError.
    """
    async with pool.acquire() as connection, connection.transaction():
        replayed = await _claim_key(connection, submission)
        if replayed is not None:
            return replayed
        await _check_queues(connection, submission, queued_limits)
        batch = await _insert_batch(connection, submission)
        placed = await _place(connection, submission)
        await _insert_tasks(connection, submission, batch, placed)
        await _insert_references(connection, placed)
        accepted = _accepted(submission, batch, placed)
        await _keep_key(connection, submission, accepted)
        await story.append(connection, [_entry(task, batch) for task in placed])
        return accepted


async def _claim_key(connection: Connection, submission: Submission) -> Accepted | None:
    if submission.idempotency_key is None:
        return None
    asked = digest(submission)
    mine = await connection.fetchval(
        "insert into idempotency_keys (owner, key, digest) values ($1, $2, $3) on conflict do nothing returning true",
        submission.owner,
        submission.idempotency_key,
        asked,
    )
    if mine:
        return None
    row = await connection.fetchrow(
        "select digest, batch_id, task_id from idempotency_keys where owner = $1 and key = $2",
        submission.owner,
        submission.idempotency_key,
    )
    if row is None or row["digest"] != asked:
        raise IdempotencyConflictError(
            f"the idempotency key {submission.idempotency_key!r} was used for another submission",
            hint="use a new key, or send exactly what was sent before",
        )
    if row["batch_id"] is None:
        return Accepted(batch=None, tasks=(row["task_id"],), replayed=True)
    rows = await connection.fetch("select name, id from tasks where batch_id = $1", row["batch_id"])
    by_name: dict[str, int] = {found["name"]: found["id"] for found in rows}
    return Accepted(batch=row["batch_id"], tasks=tuple(by_name[t.name] for t in submission.tasks), replayed=True)


async def _keep_key(connection: Connection, submission: Submission, accepted: Accepted) -> None:
    if submission.idempotency_key is None:
        return
    await connection.execute(
        "update idempotency_keys set batch_id = $3, task_id = $4 where owner = $1 and key = $2",
        submission.owner,
        submission.idempotency_key,
        accepted.batch,
        accepted.tasks[0] if accepted.batch is None else None,
    )


async def _check_queues(
    connection: Connection, submission: Submission, queued_limits: Mapping[str, int | None]
) -> None:
    wanted = {task.queue for task in submission.tasks}
    draining = await connection.fetchval(
        "select name from gates where kind = 'queue' and gate = 'draining' and name = any($1::text[])", list(wanted)
    )
    if draining is not None:
        raise QueueDrainingError(
            f"queue {draining!r} is drained and takes no new tasks", hint=f"run `corral queues resume {draining}`"
        )
    for queue in wanted:
        limit = queued_limits.get(queue)
        if limit is None:
            continue
        open_now: int = await connection.fetchval(
            "select count(*) from tasks where finished_at is null and queue = $1 and owner = $2",
            queue,
            submission.owner,
        )
        new = sum(task.queue == queue for task in submission.tasks)
        if open_now + new > limit:
            raise OwnerLimitError(
                f"{submission.owner!r} would have {open_now + new} open tasks in queue {queue!r}; {limit} are allowed",
                hint="wait until some have ended, or raise `limits.perOwner.queued` in the cluster file",
            )


async def _insert_batch(connection: Connection, submission: Submission) -> int | None:
    if submission.batch is None:
        return None
    return await connection.fetchval(
        "insert into batches (name, owner, task_count) values ($1, $2, $3) returning id",
        submission.batch,
        submission.owner,
        len(submission.tasks),
    )


async def _place(connection: Connection, submission: Submission) -> list[_Placed]:
    ordered = list(in_order(submission.tasks))
    rows = await connection.fetch(
        "select nextval('tasks_id_seq') as id, now() as now from generate_series(1, $1)", len(ordered)
    )
    now: datetime = rows[0]["now"]
    ids = {spec.name: row["id"] for spec, row in zip(ordered, rows, strict=True)}
    outside = await _outside_needs(connection, submission)
    inside = {need for spec in ordered for need in needs_of(spec) if isinstance(need, str)}
    placed: list[_Placed] = []
    for spec in ordered:
        needs = tuple(ids[need] if isinstance(need, str) else need for need in needs_of(spec))
        open_needs = sum(1 for need in needs if not outside.get(need, False))
        state = first_state(open_needs=open_needs, not_before=spec.not_before, now=now)
        placed.append(_Placed(ids[spec.name], spec, needs, open_needs, state, spec.name in inside))
    return placed


async def _outside_needs(connection: Connection, submission: Submission) -> dict[int, bool]:
    """Lock the tasks outside the submission that it needs; True stands for one that has succeeded."""
    wanted = {need for task in submission.tasks for need in needs_of(task) if isinstance(need, int)}
    if not wanted:
        return {}
    rows = await connection.fetch(
        "update tasks set has_dependents = true where id in"
        " (select id from tasks where id = any($1::bigint[]) order by id for update) returning id, state",
        [need for need in wanted if 0 < need < 2**63],
    )
    states = {row["id"]: TaskState(row["state"]) for row in rows}
    ended = (TaskState.FAILED, TaskState.CANCELLED)
    problems = [
        _unusable_need(index, task, need, states.get(need))
        for index, task in enumerate(submission.tasks)
        for need in needs_of(task)
        if isinstance(need, int) and states.get(need, TaskState.FAILED) in ended
    ]
    if problems:
        raise SubmissionError(problems)
    return {id: state is TaskState.SUCCEEDED for id, state in states.items()}


def _unusable_need(index: int, task: TaskSpec, need: int, state: TaskState | None) -> Problem:
    what = f"there is no task {need}" if state is None else f"task {need} has {state}"
    hint = "name a task that exists" if state is None else f"retry it first: `corral tasks retry {need}`"
    return Problem(code="submission.unknown_needs", what=what, where=f"tasks[{index}] ({task.name}).needs", hint=hint)


_COLUMNS = (
    *("id", "batch_id", "name", "owner", "queue", "engine", "model", "class", "priority", "gpus", "memory"),
    *("inputs", "files", "timeout_s", "retry_of", "state", "open_needs", "has_dependents", "not_before"),
    *("queued_at", "max_attempts"),
)


async def _insert_tasks(
    connection: Connection, submission: Submission, batch: int | None, placed: list[_Placed]
) -> None:
    now: datetime = await connection.fetchval("select now()")
    ids = {task.spec.name: task.id for task in placed}
    records = [
        (
            task.id, batch, task.spec.name, submission.owner, task.spec.queue, task.spec.engine, task.spec.model,
            task.spec.task_class.value, int(task.spec.priority), task.spec.gpus, task.spec.memory,
            dict(task.spec.inputs), {name: _file_json(ref, ids) for name, ref in task.spec.files.items()},
            task.spec.timeout_s, task.spec.retry_of, task.state.value, task.open_needs, task.needed,
            task.spec.not_before, now if task.state is TaskState.QUEUED else None, task.spec.max_attempts,
        )
        for task in placed
    ]  # fmt: skip
    await connection.copy_records_to_table("tasks", records=records, columns=_COLUMNS)


def _file_json(ref: FileRef, ids: Mapping[str, int]) -> dict[str, Json]:
    if isinstance(ref, OutputRef):
        return {"task": ids[ref.task] if isinstance(ref.task, str) else ref.task, "output": ref.output}
    return {"upload": ref.upload}


async def _insert_references(connection: Connection, placed: list[_Placed]) -> None:
    needs = [(task.id, need) for task in placed for need in task.needs]
    if needs:
        await connection.copy_records_to_table("needs", records=needs, columns=["task_id", "need_id"])
    uploads = {
        (task.id, ref.upload) for task in placed for ref in task.spec.files.values() if not isinstance(ref, OutputRef)
    }
    if uploads:
        await _check_uploads(connection, placed)
        await connection.copy_records_to_table(
            "task_uploads",
            records=[(task, bytes.fromhex(sha256)) for task, sha256 in sorted(uploads)],
            columns=["task_id", "sha256"],
        )


async def _check_uploads(connection: Connection, placed: list[_Placed]) -> None:
    """Refuse uploads that are not there; the rows are locked, so that none is collected before this commits."""
    refs = {ref.upload for task in placed for ref in task.spec.files.values() if not isinstance(ref, OutputRef)}
    rows = await connection.fetch(
        "select sha256 from uploads where sha256 = any($1::bytea[]) for share", [bytes.fromhex(ref) for ref in refs]
    )
    found = {row["sha256"].hex() for row in rows}
    problems = [
        Problem(
            code="submission.unknown_upload",
            what=f"there is no upload {ref.upload}",
            where=f"{task.spec.name}.files.{name}",
            hint="upload the file first, and use the SHA-256 that the answer names",
        )
        for task in placed
        for name, ref in task.spec.files.items()
        if not isinstance(ref, OutputRef) and ref.upload not in found
    ]
    if problems:
        raise SubmissionError(problems)


def _accepted(submission: Submission, batch: int | None, placed: list[_Placed]) -> Accepted:
    ids = {task.spec.name: task.id for task in placed}
    return Accepted(batch=batch, tasks=tuple(ids[task.name] for task in submission.tasks))


def _entry(task: _Placed, batch: int | None) -> story.Entry:
    data: dict[str, Json] = {"state": task.state.value}
    if task.needs:
        data["needs"] = list(task.needs)
    if task.spec.retry_of is not None:
        data["retry_of"] = task.spec.retry_of
    return story.Entry(kind="submitted", task=task.id, batch=batch, data=data)
