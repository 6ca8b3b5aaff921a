"""Batches: submit, list, look, cancel, retry, wait."""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import Request, Response

from corral.scheduling.explaining import NO_SLOT
from corral.server.api import answers
from corral.server.api.accepting import accept, make_batch_submission
from corral.server.api.auditing import describe_act
from corral.server.api.batch_files import forecast_file, submit_file
from corral.server.api.bodies import StrictRoute
from corral.server.api.changes import Subject
from corral.server.api.deadlines import find_deadlines
from corral.server.api.errors import declare_refusals, declare_replays
from corral.server.api.fields import Cursor, Id, Limit, find_next, id_of
from corral.server.api.requests import BatchAsked, BatchFileAsked, UploadedBatchAsked
from corral.server.api.routing import make_router
from corral.server.api.schemas import (
    BatchAccepted,
    BatchFileForecast,
    BatchOut,
    BatchPage,
    NamedTask,
    UploadedBatchAccepted,
)
from corral.server.api.state import ApiState, Here, IdempotencyKey, Submitter, Viewer
from corral.server.api.submitting_route import SubmittingRoute
from corral.server.api.uploaded_batches import accept_uploaded
from corral.server.api.waiting import Timeout, wait_until_ended
from corral.server.auth import Caller, require_own
from corral.tasks.lifecycle import TERMINAL, CancelRequested
from corral.tasks.store import reading
from corral.tasks.store.audit import Action
from corral.tasks.store.reading import list_open_tasks
from corral.tasks.store.retrying import prepare_batch_retry
from corral.tasks.store.transitions import TaskChange, apply
from corral.tasks.values import Accepted, Batch, Submission

router = make_router("batches", prefix="/corral/v1/batches", route_class=StrictRoute)


async def submit_batch(
    asked: BatchAsked,
    request: Request,
    response: Response,
    api: Here,
    caller: Submitter,
    idempotency_key: IdempotencyKey = None,
) -> BatchAccepted:
    """Take all tasks of a batch or none; every problem is listed. A replayed idempotency key answers 200."""
    submission = make_batch_submission(asked, caller.owner, idempotency_key)
    return await _accept(api, caller, submission, response, size=len(await request.body()))


router.add_api_route(
    "",
    submit_batch,
    methods=["POST"],
    status_code=201,
    summary="Submit a batch",
    responses={**declare_refusals(400, 409, 413, 429), **declare_replays(BatchAccepted)},
    route_class_override=SubmittingRoute,
)


@router.post(
    "/uploaded",
    status_code=201,
    summary="Submit a batch whose tasks are uploaded",
    responses={**declare_refusals(400, 404, 409, 413, 429), **declare_replays(UploadedBatchAccepted)},
)
async def submit_uploaded_batch(
    asked: UploadedBatchAsked, response: Response, api: Here, caller: Submitter, idempotency_key: IdempotencyKey = None
) -> UploadedBatchAccepted:
    """Take all tasks of a batch or none, where they are too large for one body.

    Upload them first: files with a task as JSON on each line, as in `tasks` of a batch. The answer comes when all are
    stored, which can take minutes; with an idempotency key, asking again is answered once it is.
    """
    accepted = await accept_uploaded(api, caller, asked, idempotency_key)
    if accepted.replayed:
        response.status_code = 200
    batch = await reading.get_batch(api.services.pool, accepted.batch or 0)
    return UploadedBatchAccepted(batch=await _describe(api, batch), replayed=accepted.replayed)


@router.post(
    "/file",
    status_code=201,
    summary="Submit a batch file",
    responses={**declare_refusals(400, 404, 409, 413, 429), **declare_replays(BatchAccepted)},
)
async def submit_batch_file(
    asked: BatchFileAsked, response: Response, api: Here, caller: Submitter, idempotency_key: IdempotencyKey = None
) -> BatchAccepted:
    """Take all tasks that a batch file stands for or none, as `corral submit` does; problems have places in the file.

    Prompts, matrices, counts, seeds and wildcards are worked out here. A workflow is in API format.
    """
    submission, accepted = await submit_file(api, caller, asked.file, idempotency_key)
    return await _describe_accepted(api, submission, accepted, response)


@router.post("/file/forecast", summary="Forecast a batch file", responses=declare_refusals(400, 404, 413, 429))
async def forecast_batch_file(asked: BatchFileAsked, api: Here, caller: Submitter) -> BatchFileForecast:
    """Check a batch file as its submission would, and say what it stands for and when it would be done."""
    return await forecast_file(api, caller, asked.file)


@router.get("", summary="List batches", responses=declare_refusals())
async def list_batches(api: Here, caller: Viewer, cursor: Cursor = None, limit: Limit = 50) -> BatchPage:
    """List batches, newest first."""
    batches = await reading.list_batches(api.services.pool, before=id_of(cursor), limit=limit)
    deadlines = await find_deadlines(api.services, batches)
    items = [
        answers.describe_batch(batch, api.services.find_delivery_problem, deadlines.get(batch.id)) for batch in batches
    ]
    return BatchPage(items=items, next=find_next(batches, limit))


@router.get("/{id}", summary="Show a batch", responses=declare_refusals(404))
async def get_batch(id: Id, api: Here, caller: Viewer) -> BatchOut:
    """Show a batch and how many of its tasks are in which state."""
    return await _describe(api, await reading.get_batch(api.services.pool, id))


@router.post("/{id}/cancel", summary="Cancel a batch", responses=declare_refusals(404))
async def cancel_batch(id: Id, api: Here, caller: Submitter) -> BatchOut:
    """Cancel every task of a batch that has not ended; running ones end soon after."""
    pool = api.services.pool
    batch = await reading.get_batch(pool, id)
    require_own(caller, batch.owner)
    note = {"by": caller.owner}
    changes = [TaskChange(task=task, event=CancelRequested(), note=note) for task in await list_open_tasks(pool, id)]
    act = describe_act(caller, Action.BATCH_CANCELLED, str(id), owner=batch.owner, tasks=len(changes))
    await apply(pool, changes, act=act)  # a task that has ended meanwhile refuses, and that is what was wanted
    return await _describe(api, await reading.get_batch(pool, id))


@router.post(
    "/{id}/retry",
    status_code=201,
    summary="Retry a batch",
    responses={**declare_refusals(404, 409, 429), **declare_replays(BatchAccepted)},
)
async def retry_batch(
    id: Id, response: Response, api: Here, caller: Submitter, idempotency_key: IdempotencyKey = None
) -> BatchAccepted:
    """Make a new batch of the failed and cancelled tasks of this one; what succeeded is used as it is."""
    submission = await prepare_batch_retry(api.services.pool, id, idempotency_key=idempotency_key)
    require_own(caller, submission.owner)
    return await _accept(api, caller, submission, response)


@router.get("/{id}/wait", summary="Wait for a batch", responses=declare_refusals(404))
async def wait_for_batch(id: Id, api: Here, caller: Viewer, timeout: Timeout = 30.0) -> BatchOut:
    """Answer when every task of the batch has ended, or with the batch as it is when the time has run out."""

    async def read() -> Batch:
        return await reading.get_batch(api.services.pool, id)

    batch = await wait_until_ended(api, read, still_open=_open_count, subject=Subject(batch=id), timeout_s=timeout)
    return await _describe(api, batch)


async def _describe(api: ApiState, batch: Batch) -> BatchOut:
    deadlines = await find_deadlines(api.services, [batch])
    return answers.describe_batch(batch, api.services.find_delivery_problem, deadlines.get(batch.id))


def _open_count(batch: Batch) -> int:
    return batch.task_count - sum(batch.states.get(state, 0) for state in TERMINAL)


async def _accept(
    api: ApiState, caller: Caller, submission: Submission, response: Response, *, size: int | None = None
) -> BatchAccepted:
    return await _describe_accepted(api, submission, await accept(api, caller, submission, size=size), response)


async def _describe_accepted(
    api: ApiState, submission: Submission, accepted: Accepted, response: Response
) -> BatchAccepted:
    if accepted.replayed:
        response.status_code = 200
    batch = await reading.get_batch(api.services.pool, accepted.batch or 0)
    caution = None if api.services.board.places else answers.describe_problem(NO_SLOT)
    return BatchAccepted(
        batch=await _describe(api, batch),
        tasks=_named(submission, accepted.tasks),
        replayed=accepted.replayed,
        caution=caution,
    )


def _named(submission: Submission, ids: Sequence[int]) -> list[NamedTask]:
    return [NamedTask(name=task.name, id=id) for task, id in zip(submission.tasks, ids, strict=True)]
