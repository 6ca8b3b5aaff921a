"""Tasks: submit, list, look, cancel, retry, wait."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, ClassVar, Literal

from fastapi import Query, Request, Response

from corral.errors import CorralError, Kind
from corral.scheduling.explaining import NO_START
from corral.server.api import answers
from corral.server.api.accepting import accept, make_task_submission
from corral.server.api.answers import explain
from corral.server.api.auditing import describe_act
from corral.server.api.bodies import StrictRoute
from corral.server.api.changes import Subject
from corral.server.api.errors import declare_refusals, declare_replays
from corral.server.api.fields import Cursor, EventId, Id, Labels, Limit, Word, id_of, read_labels
from corral.server.api.requests import PriorityAsked, TaskAsked
from corral.server.api.routing import make_router
from corral.server.api.schemas import ExplanationOut, Story, TaskOut, TaskPage
from corral.server.api.state import ApiState, Here, IdempotencyKey, Submitter, Viewer
from corral.server.api.submitting_route import SubmittingRoute
from corral.server.api.waiting import Timeout, wait_until_ended
from corral.server.auth import require_own
from corral.tasks.lifecycle import TERMINAL, CancelRequested, TaskState
from corral.tasks.store import reading, story
from corral.tasks.store.audit import Action
from corral.tasks.store.controls import set_priority
from corral.tasks.store.deliveries import read_open
from corral.tasks.store.retrying import prepare_task_retry
from corral.tasks.store.transitions import TaskChange, apply
from corral.tasks.values import Task
from corral.work import SlotId

router = make_router("tasks", prefix="/corral/v1/tasks", route_class=StrictRoute)


class StartedError(CorralError):
    """The task does not wait any more."""

    code: ClassVar[str] = "task.started"
    kind: ClassVar[Kind] = Kind.CONFLICT


async def submit_task(
    asked: TaskAsked,
    request: Request,
    response: Response,
    api: Here,
    caller: Submitter,
    idempotency_key: IdempotencyKey = None,
) -> TaskOut:
    """Put one task into its queue. A replayed idempotency key answers 200 with the task of the first time."""
    submission = make_task_submission(asked, caller.owner, idempotency_key)
    accepted = await accept(api, caller, submission, size=len(await request.body()))
    if accepted.task is not None:
        return answers.describe_task(accepted.task, {})
    response.status_code = 200
    return await _show(api, accepted.tasks[0])


router.add_api_route(
    "",
    submit_task,
    methods=["POST"],
    status_code=201,
    summary="Submit a task",
    responses={**declare_refusals(400, 409, 413, 429), **declare_replays(TaskOut)},
    route_class_override=SubmittingRoute,
)


@router.get("", summary="List tasks", responses=declare_refusals())
async def list_tasks(
    api: Here,
    caller: Viewer,
    state: Annotated[list[TaskState] | None, Query(max_length=20, description="any of these")] = None,
    batch: Id | None = None,
    queue: Word | None = None,
    owner: Word | None = None,
    engine: Word | None = None,
    slot: Word | None = None,
    label: Labels = None,
    cursor: Cursor = None,
    limit: Limit = 50,
    order: Literal["newest", "oldest"] = "newest",
) -> TaskPage:
    """List tasks by id, newest first unless asked otherwise."""
    chosen = reading.Filter(
        states=state,
        batch=batch,
        queue=queue,
        owner=owner,
        engine=engine,
        slot=None if slot is None else SlotId(slot),
        labels=read_labels(label),
    )
    page = await reading.list_tasks(
        api.services.pool, chosen, before=id_of(cursor), limit=limit, oldest_first=order == "oldest"
    )
    progress = api.services.board.progress
    return TaskPage(
        items=[answers.describe_task(task, progress) for task in page.tasks],
        next=str(page.tasks[-1].id) if page.more else None,
    )


@router.get("/{id}", summary="Show a task", responses=declare_refusals(404))
async def get_task(id: Id, api: Here, caller: Viewer) -> TaskOut:
    """Show a task as it is now."""
    return await _show(api, id)


@router.get("/{id}/story", summary="Show a task's story", responses=declare_refusals(404))
async def get_story(id: Id, api: Here, caller: Viewer, after: EventId = 0) -> Story:
    """Return what happened to a task: at most 1000 lines after the given one, oldest first."""
    await reading.get_task(api.services.pool, id)
    lines = await story.read(api.services.pool, after=after, task=id)
    return Story(items=[answers.describe_event(line) for line in lines])


@router.get("/{id}/explain", summary="Explain a task", responses=declare_refusals(404))
async def explain_task(id: Id, api: Here, caller: Viewer) -> ExplanationOut:
    """Return why a task is where it is: which rule, which slots, since when, and when it can start."""
    task = await reading.get_task(api.services.pool, id)
    needs = await reading.get_tasks(api.services.pool, task.needs) if task.state is TaskState.WAITING else ()
    policy = api.services.explain(id) if task.state is TaskState.QUEUED else None
    if policy is not None and policy.rule in NO_START:
        start = api.services.explain_start(task.engine, task.model)
        policy = policy if start is None else replace(policy, summary=start)
    because = await story.read_choice(api.services.pool, id) if task.slots else None
    delivery = await read_open(api.services.pool, id) if task.state is TaskState.SUCCEEDED else None
    if delivery is not None:
        return answers.explain_delivery(task, delivery, api.services.find_delivery_problem(delivery.root))
    return explain(task, needs, policy, because, now=datetime.now(UTC))


@router.post("/{id}/cancel", summary="Cancel a task", responses=declare_refusals(404, 409))
async def cancel_task(id: Id, api: Here, caller: Submitter) -> TaskOut:
    """Cancel a task: at once while it waits, through its engine while it runs. Cancelling it again changes nothing."""
    task = await reading.get_task(api.services.pool, id)
    require_own(caller, task.owner)
    if not (task.state is TaskState.CANCELLED or task.cancel_requested):
        note = {"by": caller.owner}
        change = TaskChange(task=id, event=CancelRequested(), note=note)
        act = describe_act(caller, Action.TASK_CANCELLED, str(id), owner=task.owner)
        applied = await apply(api.services.pool, [change], act=act)
        for _, refusal in applied.refused:
            raise refusal
    return await _show(api, id)


@router.post("/{id}/priority", summary="Set a task's priority", responses=declare_refusals(400, 404, 409, 413))
async def set_task_priority(id: Id, asked: PriorityAsked, api: Here, caller: Submitter) -> TaskOut:
    """Give a task that waits another priority; it goes before those with a lower one in its class at once."""
    task = await reading.get_task(api.services.pool, id)
    require_own(caller, task.owner)
    word = asked.priority.name.lower()
    act = describe_act(caller, Action.TASK_PRIORITY_SET, str(id), owner=task.owner, priority=word)
    changed = await set_priority(api.services.pool, id, asked.priority, act=act)
    if not changed and task.priority is not asked.priority:
        raise StartedError(f"task {id} does not wait any more", hint="only a task that waits has a priority to change")
    return await _show(api, id)


@router.post(
    "/{id}/retry",
    status_code=201,
    summary="Retry a task",
    responses={**declare_refusals(404, 409, 429), **declare_replays(TaskOut)},
)
async def retry_task(
    id: Id, response: Response, api: Here, caller: Submitter, idempotency_key: IdempotencyKey = None
) -> TaskOut:
    """Make a new task of one that has ended, linked to it; a need that failed must have been retried before."""
    submission = await prepare_task_retry(api.services.pool, id, idempotency_key=idempotency_key)
    require_own(caller, submission.owner)
    accepted = await accept(api, caller, submission)
    if accepted.replayed:
        response.status_code = 200
    return await _show(api, accepted.tasks[0])


@router.get("/{id}/wait", summary="Wait for a task", responses=declare_refusals(404))
async def wait_for_task(id: Id, api: Here, caller: Viewer, timeout: Timeout = 30.0) -> TaskOut:
    """Answer when the task has ended, or with the task as it is when the time has run out."""

    async def read() -> Task:
        return await reading.get_task(api.services.pool, id)

    task = await wait_until_ended(
        api,
        read,
        still_open=lambda task: int(task.state not in TERMINAL),
        subject=Subject(task=id),
        timeout_s=timeout,
    )
    return answers.describe_task(task, api.services.board.progress)


async def _show(api: ApiState, id: int) -> TaskOut:
    return answers.describe_task(await reading.get_task(api.services.pool, id), api.services.board.progress)
