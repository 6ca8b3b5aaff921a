"""Stores submissions: all of one or nothing, and several in one transaction, where one refusal leaves the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar

from corral.errors import CorralError, Kind, Problem
from corral.requests import BatchFields, TaskFields, get_values
from corral.tasks.lifecycle import TaskState, first_state
from corral.tasks.store import deliveries, prompts, story
from corral.tasks.store.columns import get_column_values, list_columns
from corral.tasks.store.pool import Connection, Pool
from corral.tasks.store.submission_facts import Facts, Limits, list_uploads, read_facts
from corral.tasks.submission_checks import SubmissionError, compute_digest, needs_of, order_tasks
from corral.tasks.values import Accepted, FileRef, OutputRef, Submission, Task, TaskSpec
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


Outcome = Accepted | CorralError


async def submit(pool: Pool, submission: Submission, *, queued_limits: Limits) -> Accepted:
    """Store one checked submission (`corral.tasks.submission_checks.check`) and wake the dispatcher.

    The lines of its story wake it: `story.open_writing` ends and announces their kinds (`Pool.announce`), the leader
    hears them (`corral.tasks.leadership`), and its reconciler notes what to read anew (`Reconciler.note_lines`).

    Raises: IdempotencyConflictError, OwnerLimitError, QueueDrainingError, SubmissionError.
    """
    (outcome,) = await store_group(pool, [submission], queued_limits)
    return _require(outcome)


ReadSteps = Callable[[], AsyncIterator[Sequence[TaskSpec]]]
"""Reads the tasks of a submission anew, in the order of the submission, a step at a time."""


async def submit_in_steps(pool: Pool, outline: Submission, read_steps: ReadSteps, *, queued_limits: Limits) -> Accepted:
    """Store one checked submission in one transaction, with the tasks of one step in memory.

    The tasks of the outline have all but what is large: inputs and labels. Raises: as `submit`.
    """
    while True:
        try:
            async with story.open_writing(pool) as writing:
                return await _store_steps(writing, outline, read_steps, queued_limits)
        except _KeyTakenError:
            continue  # it is found at the next look


@dataclass(frozen=True, slots=True)
class _Placed:
    """A task with its id and the ids of those it needs."""

    id: int
    owner: str
    key: str | None
    batch: int | None
    spec: TaskSpec
    needs: tuple[int, ...]
    open_needs: int
    state: TaskState
    needed: bool
    files: Mapping[str, Json]


@dataclass(slots=True)
class _Group:
    """The rows that one transaction writes."""

    placed: list[_Placed] = field(default_factory=list[_Placed])
    batches: list[tuple[object, ...]] = field(default_factory=list[tuple[object, ...]])
    keys: list[tuple[str, str, bytes, int | None, int | None]] = field(
        default_factory=list[tuple[str, str, bytes, int | None, int | None]]
    )


class _KeyTakenError(Exception):
    """Another transaction has committed one of the group's idempotency keys since they were looked up."""


async def store_group(pool: Pool, submissions: Sequence[Submission], limits: Limits) -> list[Outcome]:
    """Store what can be stored, in one transaction, and return what became of each submission."""
    while True:
        try:
            async with story.open_writing(pool) as writing:
                return await _store_in(writing, submissions, limits)
        except _KeyTakenError:
            continue  # it is found at the next look


async def _store_in(writing: story.Writing, submissions: Sequence[Submission], limits: Limits) -> list[Outcome]:
    connection = writing.connection
    known = await _find_known_keys(connection, submissions)
    new = [submission for submission in submissions if key_of(submission) not in known]
    if not new:
        return [known[key_of(submission)] for submission in submissions]
    facts = await read_facts(connection, new, limits)
    group = _Group()
    outcomes: list[Outcome] = []
    for submission in submissions:
        seen = known.get(key_of(submission))
        outcomes.append(seen if seen is not None else _take(submission, facts, limits, group))
    await _write(connection, group, facts.now)
    await story.append(writing, [_make_entry(task) for task in group.placed])
    return outcomes


async def _store_steps(writing: story.Writing, outline: Submission, read_steps: ReadSteps, limits: Limits) -> Accepted:
    connection = writing.connection
    known = await _find_known_keys(connection, [outline])
    if known:
        return _require(known[key_of(outline)])
    facts, group = await read_facts(connection, [outline], limits), _Group()
    accepted = _require(_take(outline, facts, limits, group))
    await connection.copy_records_to_table("batches", records=group.batches, columns=_BATCH_COLUMNS)
    placed = {task.spec.name: task for task in group.placed}
    async for specs in read_steps():
        records = [_record(replace(placed.pop(spec.name), spec=spec), facts.now) for spec in specs]
        await connection.copy_records_to_table("tasks", records=records, columns=_TASK_COLUMNS)
    assert not placed, "the same tasks are read again"
    await _write_relations(connection, group)
    await story.append(writing, [_make_entry(task) for task in group.placed])
    return accepted


def _require(outcome: Outcome) -> Accepted:
    if isinstance(outcome, CorralError):
        raise outcome
    return outcome


# --- what is there --------------------------------------------------------------------------------------------------


def key_of(submission: Submission) -> tuple[str, str] | None:
    """Return what an idempotency key is unique by: its owner and itself."""
    return None if submission.idempotency_key is None else (submission.owner, submission.idempotency_key)


async def is_key_known(pool: Pool, submission: Submission) -> bool:
    """Whether a submission's idempotency key was used before: then it is answered, and nothing is stored."""
    async with pool.acquire() as connection:
        known = await connection.fetchval(
            "select true from idempotency_keys where owner = $1 and key = $2",
            submission.owner,
            submission.idempotency_key,
        )
    return known is not None


async def _find_known_keys(
    connection: Connection, submissions: Sequence[Submission]
) -> dict[tuple[str, str] | None, Outcome]:
    """Return the outcomes of idempotency keys that were used before."""
    keyed = {key: submission for submission in submissions if (key := key_of(submission)) is not None}
    if not keyed:
        return {}
    rows = await connection.fetch(
        "select k.owner, k.key, k.digest, k.batch_id, k.task_id from idempotency_keys k"
        " join unnest($1::text[], $2::text[]) as asked(owner, key) using (owner, key)",
        [owner for owner, _ in keyed],
        [key for _, key in keyed],
    )
    known: dict[tuple[str, str] | None, Outcome] = {}
    for row in rows:
        submission = keyed[row["owner"], row["key"]]
        if row["digest"] != _get_digest(submission):
            known[row["owner"], row["key"]] = IdempotencyConflictError(
                f"the idempotency key {submission.idempotency_key!r} was used for another submission",
                hint="use a new key, or send exactly what was sent before",
            )
            continue
        known[row["owner"], row["key"]] = await _replay(connection, submission, row["batch_id"], row["task_id"])
    return known


def _get_digest(submission: Submission) -> bytes:
    return submission.digest or compute_digest(submission)


async def _replay(connection: Connection, submission: Submission, batch: int | None, task: int) -> Accepted:
    if batch is None:
        return Accepted(batch=None, tasks=(task,), replayed=True)
    rows = await connection.fetch("select name, id from tasks where batch_id = $1", batch)
    by_name: dict[str, int] = {row["name"]: row["id"] for row in rows}
    return Accepted(batch=batch, tasks=tuple(by_name[task.name] for task in submission.tasks), replayed=True)


# --- what becomes of it ---------------------------------------------------------------------------------------------


def _take(submission: Submission, facts: Facts, limits: Limits, group: _Group) -> Outcome:
    """Add a submission to the group, or return why not."""
    refusal = _find_refusal(submission, facts, limits)
    if refusal is not None:
        return refusal
    for queue, count in Counter(task.queue for task in submission.tasks).items():
        if (queue, submission.owner) in facts.open_tasks:
            facts.open_tasks[queue, submission.owner] += count
    batch: int | None = None
    if submission.batch is not None:
        batch = next(facts.batch_ids)
        fields = get_column_values(submission.batch, BatchFields)
        group.batches.append((batch, submission.owner, len(submission.tasks), *fields))
    placed = _place(submission, batch, facts)
    group.placed += placed
    ids = {task.spec.name: task.id for task in placed}
    stored = _as_stored(placed[0], facts.now) if batch is None else None
    accepted = Accepted(batch=batch, tasks=tuple(ids[task.name] for task in submission.tasks), task=stored)
    if submission.idempotency_key is not None:
        task = None if batch is not None else accepted.tasks[0]
        group.keys.append((submission.owner, submission.idempotency_key, _get_digest(submission), batch, task))
    return accepted


def _find_refusal(submission: Submission, facts: Facts, limits: Limits) -> CorralError | None:
    counts = Counter(task.queue for task in submission.tasks)
    for queue in counts:
        if queue in facts.draining:
            return QueueDrainingError(
                f"queue {queue!r} is drained and takes no new tasks", hint=f"run `corral queues resume {queue}`"
            )
    for queue, count in counts.items():
        limit = limits.get(queue)
        if limit is not None and (total := facts.open_tasks[queue, submission.owner] + count) > limit:
            return OwnerLimitError(
                f"{submission.owner!r} would have {total} open tasks in queue {queue!r}; {limit} are allowed",
                hint="wait until some have ended, or raise `limits.perOwner.queued` in the cluster file",
            )
    problems = [*_check_needs(submission, facts.needs), *_check_uploads(submission, facts.uploads)]
    return SubmissionError(problems) if problems else None


def _check_needs(submission: Submission, states: Mapping[int, TaskState]) -> Iterator[Problem]:
    for index, task in enumerate(submission.tasks):
        for need in needs_of(task):
            if not isinstance(need, int):
                continue
            state = states.get(need)
            if state is None or state in (TaskState.FAILED, TaskState.CANCELLED):
                what = f"there is no task {need}" if state is None else f"task {need} has {state}"
                hint = "name a task that exists" if state is None else f"retry it first: `corral tasks retry {need}`"
                where = f"tasks[{index}] ({task.name}).needs"
                yield Problem(code="submission.unknown_needs", what=what, where=where, hint=hint)


def _check_uploads(submission: Submission, uploads: Collection[str]) -> Iterator[Problem]:
    for task in submission.tasks:
        for name, upload in list_uploads(task):
            if upload not in uploads:
                yield Problem(
                    code="submission.unknown_upload",
                    what=f"there is no upload {upload}",
                    where=f"{task.name}.files.{name}",
                    hint="upload the file first, and use the SHA-256 that the answer names",
                )


def _place(submission: Submission, batch: int | None, facts: Facts) -> list[_Placed]:
    ordered = list(order_tasks(submission.tasks))
    ids = {spec.name: next(facts.task_ids) for spec in ordered}
    inside = {need for spec in ordered for need in needs_of(spec) if isinstance(need, str)}
    placed: list[_Placed] = []
    for spec in ordered:
        needs = tuple(ids[need] if isinstance(need, str) else need for need in needs_of(spec))
        open_needs = sum(facts.needs.get(need) is not TaskState.SUCCEEDED for need in needs)
        state = first_state(open_needs=open_needs, not_before=spec.not_before, now=facts.now)
        files = {name: _format_file(ref, ids) for name, ref in spec.files.items()}
        placed.append(
            _Placed(
                id=ids[spec.name],
                owner=submission.owner,
                key=submission.key,
                batch=batch,
                spec=spec,
                needs=needs,
                open_needs=open_needs,
                state=state,
                needed=spec.name in inside,
                files=files,
            )
        )
    return placed


def _as_stored(task: _Placed, now: datetime) -> Task:
    return Task.model_construct(
        **get_values(task.spec, TaskFields),
        id=task.id,
        batch=task.batch,
        name=task.spec.name,
        owner=task.owner,
        engine=task.spec.engine,
        files=task.files,
        needs=tuple(sorted(task.needs)),
        retry_of=task.spec.retry_of,
        state=task.state,
        created_at=now,
        queued_at=now if task.state is TaskState.QUEUED else None,
        ready_at=None,
        started_at=None,
        finished_at=None,
        attempts=0,
        losses=0,
        joules=None,
        slots=(),
        cancel_requested=False,
        error=None,
        result=None,
        outputs=(),
    )


def _format_file(ref: FileRef, ids: Mapping[str, int]) -> dict[str, Json]:
    if isinstance(ref, OutputRef):
        return {"task": ids[ref.task] if isinstance(ref.task, str) else ref.task, "output": ref.output}
    return {"upload": ref.upload}


# --- writing --------------------------------------------------------------------------------------------------------


_TASK_COLUMNS = (
    *("id", "batch_id", "name", "owner", "key", "engine", "files", "retry_of", "state", "open_needs", "has_dependents"),
    *("queued_at", "created_at", *list_columns(TaskFields)),
)
_BATCH_COLUMNS = ("id", "owner", "task_count", *list_columns(BatchFields))


def _record(task: _Placed, now: datetime) -> tuple[object, ...]:
    queued_at = now if task.state is TaskState.QUEUED else None
    spec = task.spec
    return (
        *(task.id, task.batch, spec.name, task.owner, task.key, spec.engine, task.files, spec.retry_of),
        task.state.value,
        *(task.open_needs, task.needed, queued_at, now, *get_column_values(spec, TaskFields)),
    )


async def _write(connection: Connection, group: _Group, now: datetime) -> None:
    if group.batches:
        await connection.copy_records_to_table("batches", records=group.batches, columns=_BATCH_COLUMNS)
    records = [_record(task, now) for task in group.placed]
    if records:
        await connection.copy_records_to_table("tasks", records=records, columns=_TASK_COLUMNS)
    await _write_relations(connection, group)


async def _write_relations(connection: Connection, group: _Group) -> None:
    needs = [(task.id, need) for task in group.placed for need in task.needs]
    if needs:
        await connection.copy_records_to_table("needs", records=needs, columns=["task_id", "need_id"])
    uploads = sorted(
        {(task.id, bytes.fromhex(upload)) for task in group.placed for _, upload in list_uploads(task.spec)}
    )
    if uploads:
        await connection.copy_records_to_table("task_uploads", records=uploads, columns=["task_id", "sha256"])
    await deliveries.add_in(connection, list(_list_deliveries(group)), list(_list_retries(group)))
    await prompts.add_in(connection, list(_list_prompts(group)))
    await _keep_keys(connection, group)


def _list_prompts(group: _Group) -> Iterator[prompts.NewPrompt]:
    for task in group.placed:
        if (prompt := task.spec.prompt) is not None:
            yield task.id, task.owner, prompt.id, dict(prompt.facts)


def _list_deliveries(group: _Group) -> Iterator[deliveries.NewDelivery]:
    for task in group.placed:
        if (destination := task.spec.destination) is not None:
            batch = f"task-{task.id}" if task.batch is None else str(task.batch)
            yield task.id, task.batch, destination.root, destination.fill_in(batch=batch, task=task.spec.name)


def _list_retries(group: _Group) -> Iterator[tuple[int, int]]:
    """The tasks that are tried again alone, each with its earlier one: their outputs belong where those would be."""
    for task in group.placed:
        if task.batch is None and task.spec.retry_of is not None:
            yield task.id, task.spec.retry_of


async def _keep_keys(connection: Connection, group: _Group) -> None:
    """Write the keys, in order: two transactions that have some in common wait for each other, never in a circle."""
    if not group.keys:
        return
    rows = await connection.fetch(
        "insert into idempotency_keys (owner, key, digest, batch_id, task_id)"
        " select * from unnest($1::text[], $2::text[], $3::bytea[], $4::bigint[], $5::bigint[])"
        " on conflict do nothing returning true",
        *(list(column) for column in zip(*sorted(group.keys, key=lambda row: row[:2]), strict=True)),
    )
    if len(rows) < len(group.keys):
        raise _KeyTakenError


def _make_entry(task: _Placed) -> story.Entry:
    data: dict[str, Json] = {"state": task.state.value}
    if task.needs:
        data["needs"] = list(task.needs)
    if task.spec.retry_of is not None:
        data["retry_of"] = task.spec.retry_of
    return story.Entry(kind="submitted", task=task.id, batch=task.batch, data=data)
