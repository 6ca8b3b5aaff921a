"""Makes a new submission of what has ended: one task, or the failed and cancelled tasks of a batch.

A new task links to the old one (`retry_of`) and takes its place: a need that failed and was retried since is replaced
by its newest retry. The owner stays. What is returned is submitted like any other submission, in one transaction.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from corral.errors import CorralError, Kind, Problem, ProblemsError
from corral.requests import BatchFields, TaskFields, get_values, select
from corral.tasks.lifecycle import TERMINAL, TaskState
from corral.tasks.store.pool import Queries
from corral.tasks.store.reading import get_batch, get_task, get_tasks
from corral.tasks.values import FileRef, OutputRef, Sha256, Submission, Task, TaskSpec, UploadRef
from corral.work import Json

_LOST = frozenset({TaskState.FAILED, TaskState.CANCELLED})


class NotEndedError(CorralError):
    """Only what has ended can be done again."""

    code: ClassVar[str] = "task.not_ended"
    kind: ClassVar[Kind] = Kind.CONFLICT


class NothingToRetryError(CorralError):
    """No task of the batch has failed or was cancelled."""

    code: ClassVar[str] = "batch.nothing_to_retry"
    kind: ClassVar[Kind] = Kind.CONFLICT


class NeedsUnmetError(ProblemsError):
    """A task needs others that have failed, and that were not retried since."""

    code: ClassVar[str] = "task.needs_unmet"
    kind: ClassVar[Kind] = Kind.CONFLICT


@dataclass(frozen=True, slots=True)
class _Replacements:
    """What replaces the tasks that were needed before."""

    names: Mapping[int, str]
    """Tasks that are retried in the same submission, by id."""
    ids: Mapping[int, int]
    """Tasks outside it that are usable, each with itself or its newest usable retry."""

    def find(self, need: int) -> str | int:
        return self.names.get(need) or self.ids[need]


async def prepare_task_retry(pool: Queries, id: int, *, idempotency_key: str | None = None) -> Submission:
    """Return the submission that does an ended task again.

    Raises: TaskMissingError, NotEndedError, NeedsUnmetError.
    """
    task = await get_task(pool, id)
    if task.state not in TERMINAL:
        raise NotEndedError(
            f"task {id} is {task.state}", hint=f"wait until it has ended, or run `corral tasks cancel {id}`"
        )
    specs = await _make_specs(pool, [task])
    return Submission(owner=task.owner, tasks=specs, idempotency_key=idempotency_key)


async def prepare_batch_retry(pool: Queries, id: int, *, idempotency_key: str | None = None) -> Submission:
    """Return the submission that does the failed and cancelled tasks of a batch again, as a batch of the same name.

    Raises: BatchMissingError, NothingToRetryError, NeedsUnmetError.
    """
    batch = await get_batch(pool, id)
    rows = await pool.fetch(
        "select id from tasks where batch_id = $1 and state in ('failed', 'cancelled') order by id", id
    )
    tasks = await get_tasks(pool, [row["id"] for row in rows])
    if not tasks:
        raise NothingToRetryError(f"no task of batch {id} has failed or was cancelled")
    specs = await _make_specs(pool, tasks)
    return Submission(
        owner=batch.owner,
        batch=select(batch, BatchFields).model_copy(update={"by": None}),  # it was that of the first try
        tasks=specs,
        idempotency_key=idempotency_key,
    )


async def _make_specs(pool: Queries, tasks: Sequence[Task]) -> tuple[TaskSpec, ...]:
    names = {task.id: task.name for task in tasks}
    outside = {need for task in tasks for need in _list_needs(task)} - names.keys()
    usable, states = await _find_newest_usable(pool, outside)
    _refuse_unmet(tasks, states, names.keys() | usable.keys())
    replacements = _Replacements(names, usable)
    return tuple(_make_spec(task, replacements) for task in tasks)


def _list_needs(task: Task) -> set[int]:
    """Return the ids of all tasks that one needs; a need that was collected is in its files only."""
    return {*task.needs, *(file["task"] for file in task.files.values() if "task" in file)}


async def _find_newest_usable(pool: Queries, needs: Collection[int]) -> tuple[dict[int, int], dict[int, TaskState]]:
    """Return, for each need, the newest of it and its retries that can still succeed, and the states of the needs."""
    rows = await pool.fetch(
        """
        with recursive chain (root, id) as (
          select id, id from tasks where id = any($1::bigint[])
          union
          select chain.root, tasks.id from chain join tasks on tasks.retry_of = chain.id
        )
        select chain.root, chain.id, tasks.state from chain join tasks using (id) order by chain.id
        """,
        list(needs),
    )
    states = {row["id"]: TaskState(row["state"]) for row in rows if row["id"] == row["root"]}
    usable = {row["root"]: row["id"] for row in rows if TaskState(row["state"]) not in _LOST}
    kept = {need: need for need, state in states.items() if state not in _LOST}
    return {**usable, **kept}, states


def _refuse_unmet(tasks: Iterable[Task], states: Mapping[int, TaskState], met: Collection[int]) -> None:
    problems = [
        _describe_unmet(task, need, states.get(need))
        for task in tasks
        for need in sorted(_list_needs(task))
        if need not in met
    ]
    if problems:
        raise NeedsUnmetError(problems)


def _describe_unmet(task: Task, need: int, state: TaskState | None) -> Problem:
    what = f"task {need}, which it needs, " + ("is there no more" if state is None else f"has {state}")
    hint = "submit it anew" if state is None else f"run `corral tasks retry {need}` first"
    return Problem(code="task.need_unmet", what=what, where=f"task {task.id} ({task.name})", hint=hint)


def _make_spec(task: Task, replacements: _Replacements) -> TaskSpec:
    again = TaskSpec.model_construct(
        **get_values(task, TaskFields),
        name=task.name,
        engine=task.engine,
        files={name: _replace_file(file, replacements) for name, file in task.files.items()},
        needs=tuple(replacements.find(need) for need in task.needs),
        retry_of=task.id,
    )
    return again.model_copy(update={"not_before": None})


def _replace_file(file: Json, replacements: _Replacements) -> FileRef:
    if "upload" in file:
        return UploadRef(Sha256(file["upload"]))
    return OutputRef(replacements.find(file["task"]), file["output"])
