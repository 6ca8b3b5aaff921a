"""Batch files that clients send as they are: what they stand for is worked out here, as `corral submit` does it there.

One file's semantics for all: prompts, matrices, counts, seeds and wildcards are those of `corral.batchfile`. A problem
that the checks of the queue find is reported at its place in the file.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from corral.batchfile.bounds import Bounds
from corral.batchfile.drawing import draw, make_key
from corral.batchfile.reading import Read, read_batch_value
from corral.operations.status import list_waiting
from corral.scheduling.estimating import WaitingWork
from corral.scheduling.explaining import NO_SLOT
from corral.server.api import answers
from corral.server.api.accepting import accept, check_submission, make_batch_submission, require_rights
from corral.server.api.deadlines import describe_open
from corral.server.api.errors import describe_invalid
from corral.server.api.requests import BatchAsked
from corral.server.api.schemas import BatchFileForecast, DeadlineOut, DrawnTask
from corral.server.api.state import ApiState
from corral.server.auth import Caller
from corral.tasks.store.deadlines import OpenDeadline
from corral.tasks.store.overview import read_open_work
from corral.tasks.submission_checks import MAX_BYTES, MAX_TOTAL_NEEDS, SubmissionError
from corral.tasks.values import Accepted, Submission, TaskSpec
from corral.work import Json

_SHOWN_TASKS = 20
_BOUNDS = Bounds(input_bytes=MAX_BYTES, needs=MAX_TOTAL_NEEDS)
"""Those of every submission, asked before the tasks are made: a file of 2 MB can mean 20 GB of them."""
_NOT_MEASURED = "nothing like some of its tasks was measured here yet, or no open slot runs them"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnBatch:
    """The tasks of a batch file, with every seed and wildcard drawn."""

    read: Read
    request: BatchAsked
    submission: Submission


async def submit_file(
    api: ApiState, caller: Caller, file: Mapping[str, Json], key: str | None
) -> tuple[Submission, Accepted]:
    """Submit the batch that a file stands for; what is drawn follows from the idempotency key.

    Raises: BatchFileError with every problem; what `corral.server.api.accepting.accept` raises.
    """
    drawn = await _draw_in_turn(api, file, caller.owner, key)
    try:
        return drawn.submission, await accept(api, caller, drawn.submission)
    except SubmissionError as error:
        raise drawn.read.make_error(error.problems) from error


async def forecast_file(api: ApiState, caller: Caller, file: Mapping[str, Json]) -> BatchFileForecast:
    """Check a batch file as its submission would, and estimate when it would be done; nothing is stored.

    Raises: as `submit_file`.
    """
    drawn = await _draw_in_turn(api, file, caller.owner, None)
    require_rights(caller, drawn.submission)
    try:
        submission = await check_submission(api, drawn.submission)
    except SubmissionError as error:
        raise drawn.read.make_error(error.problems) from error
    services = api.services
    waiting = count_work(submission.tasks)
    ready_at = services.estimate(waiting).ends_at
    after_all = services.estimate([*list_waiting(await read_open_work(services.pool)), *waiting]).ends_at
    return BatchFileForecast(
        name=drawn.read.batch.name,
        task_count=len(submission.tasks),
        tasks=[
            DrawnTask(name=spec.name, engine=spec.engine, model=spec.model, inputs=asked.inputs)
            for spec, asked in zip(submission.tasks[:_SHOWN_TASKS], drawn.request.tasks, strict=False)
        ],
        ready_at=ready_at,
        ready_after_all=after_all,
        unknown=_NOT_MEASURED if ready_at is None else None,
        deadline=_judge_deadline(api, submission, waiting, after_all),
        caution=None if services.board.places else answers.describe_problem(NO_SLOT),
    )


def count_work(tasks: Sequence[TaskSpec]) -> list[WaitingWork]:
    """Count tasks by kind, as estimates take them; one on two GPUs counts twice."""
    counts: Counter[tuple[str, str, str | None, str | None]] = Counter()
    for task in tasks:
        counts[task.queue, task.engine, task.model, task.node] += task.gpus
    return [
        WaitingWork(queue=queue, engine=engine, model=model, node=node, count=count)
        for (queue, engine, model, node), count in counts.items()
    ]


async def _draw_in_turn(api: ApiState, file: Mapping[str, Json], owner: str, key: str | None) -> DrawnBatch:
    """Work out a file in a thread, one at a time: a small file can mean thousands of tasks."""
    async with api.large_bodies:
        return await asyncio.to_thread(_draw, file, owner, key)


def _draw(file: Mapping[str, Json], owner: str, key: str | None) -> DrawnBatch:
    read = read_batch_value(file, bounds=_BOUNDS)
    drawn = draw(read.batch.request({}), read.batch.wildcards, key or make_key())
    try:
        request = BatchAsked.model_validate(drawn)
    except ValidationError as error:  # the file's shape is as strict but for names of uploads and the like
        listed = ({**details, "loc": ("body", *details["loc"])} for details in error.errors(include_url=False))
        raise read.make_error(tuple(describe_invalid(details, drawn) for details in listed)) from error
    return DrawnBatch(read=read, request=request, submission=make_batch_submission(request, owner, key))


def _judge_deadline(
    api: ApiState, submission: Submission, waiting: list[WaitingWork], after_all: datetime | None
) -> DeadlineOut | None:
    batch, tasks = submission.batch, len(submission.tasks)
    if batch is None or not isinstance(batch.by, datetime):
        return None
    left = OpenDeadline(
        batch=0,  # it has no number yet
        name=batch.name,
        owner=submission.owner,
        by=batch.by.astimezone(UTC),
        waits_for_cheap=batch.when is not None,
        is_noted=False,
        waiting=waiting,
        tasks=tasks,
        waiting_tasks=tasks,
    )
    return describe_open(api.services, left, after_all, tasks)
