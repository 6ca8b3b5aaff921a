"""Holds: GPUs for programs that Corral does not run. Take, look, renew, give back."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, ClassVar

from fastapi import Query, Response

from corral.engine_kinds import HOLD
from corral.errors import CorralError, Kind
from corral.server.api.accepting import accept, make_task_submission
from corral.server.api.answers import explain
from corral.server.api.auditing import describe_act, record
from corral.server.api.bodies import StrictRoute
from corral.server.api.errors import declare_refusals, declare_replays
from corral.server.api.fields import Id
from corral.server.api.lent import check_hold, describe_hold
from corral.server.api.requests import HoldAsked, TaskAsked
from corral.server.api.routing import make_router
from corral.server.api.schemas import DeviceHold, DeviceHolds
from corral.server.api.state import ApiState, Here, IdempotencyKey, Submitter, Viewer
from corral.server.auth import Caller, require_own
from corral.tasks.lifecycle import TaskState
from corral.tasks.store import holds, reading
from corral.tasks.store.audit import Action
from corral.tasks.values import Task
from corral.work import HoldTerms

_NO_END_S = 1e9
"""The timeout of a task whose end its holder knows: 31 years, the longest that a task can have."""
MOST_GRACE_S = 300
_NAME_LENGTH = 200
"""Of a task, in characters."""

router = make_router("holds", prefix="/corral/v1/holds", route_class=StrictRoute)


class HoldMissingError(CorralError):
    """There is no such hold."""

    code: ClassVar[str] = "hold.missing"
    kind: ClassVar[Kind] = Kind.MISSING


class HoldOverError(CorralError):
    """The hold has ended; its devices can be another's."""

    code: ClassVar[str] = "hold.over"
    kind: ClassVar[Kind] = Kind.CONFLICT


@router.post(
    "",
    status_code=201,
    summary="Take GPUs for a program",
    responses={**declare_refusals(400, 409, 413, 429), **declare_replays(DeviceHold)},
)
async def take_hold(
    asked: HoldAsked, response: Response, api: Here, caller: Submitter, idempotency_key: IdempotencyKey = None
) -> DeviceHold:
    """Wait in the queue for GPUs of this machine. Renew the hold while it waits and while the program runs."""
    node = check_hold(asked, api.services.board.places)
    submission = make_task_submission(_make_task(asked, node), caller.owner, idempotency_key)
    accepted = await accept(api, caller, submission)
    id, terms = accepted.tasks[0], _get_terms(asked)
    await holds.add(api.services.pool, id, terms)  # of a replay, too: the server can have been killed before it
    if accepted.replayed:
        response.status_code = 200
    else:
        await record(api, caller, Action.HOLD_TAKEN, str(id), program=asked.program)
        api.services.wake_holds()
    return await _show(api, await _find(api, id))


@router.get("", summary="List holds", responses=declare_refusals())
async def list_holds(api: Here, caller: Viewer) -> DeviceHolds:
    """List the holds that have not ended, the oldest first."""
    tasks = await reading.get_tasks(api.services.pool, await holds.list_open(api.services.pool))
    return DeviceHolds(items=await _describe(api, tasks))


@router.get("/{id}", summary="Show a hold", responses=declare_refusals(404))
async def get_hold(id: Id, api: Here, caller: Viewer) -> DeviceHold:
    """Show a hold: why it waits, or its GPUs and the variables by which its program sees them."""
    return await _show(api, await _find(api, id))


@router.post("/{id}/renew", summary="Renew a hold", responses=declare_refusals(404, 409))
async def renew_hold(id: Id, api: Here, caller: Submitter) -> DeviceHold:
    """Let a hold count for its whole time again; one that has ended is refused."""
    task = await _find_own(api, caller, id)
    if not await holds.renew(api.services.pool, id):
        ended = await _show(api, task)
        because = f" ({ended.because})" if ended.because else ""
        raise HoldOverError(
            f"hold {id} has ended{because}",
            hint="end its program: the GPUs can be given to others; then take a new one",
        )
    return await _show(api, task)


@router.delete("/{id}", summary="Give GPUs back", responses=declare_refusals(404))
async def release_hold(
    id: Id,
    api: Here,
    caller: Submitter,
    grace: Annotated[
        float,
        Query(ge=0, le=MOST_GRACE_S, description="seconds that the holder has to stop its program; 0 if it has ended"),
    ] = 0.0,
) -> DeviceHold:
    """End a hold, or take it out of the queue. One that has ended stays as it is."""
    task = await _find_own(api, caller, id)
    if task.finished_at is None:
        act = describe_act(caller, Action.HOLD_RELEASED, str(id), owner=task.owner)
        await holds.ask_back(api.services.pool, id, timedelta(seconds=grace), act=act)
        api.services.wake_holds()
    return await _show(api, await _find(api, id))


def _make_task(asked: HoldAsked, node: str) -> TaskAsked:
    terms = _get_terms(asked)
    return TaskAsked.model_construct(
        _fields_set=None,
        name=asked.program[:_NAME_LENGTH] if asked.program and asked.program.isprintable() else None,
        engine=HOLD.name,
        inputs={
            "ttl_s": terms.ttl_s,
            **({} if terms.for_s is None else {"for_s": terms.for_s}),
            **({} if asked.program is None else {"program": asked.program}),
        },
        queue=asked.queue,
        task_class=asked.task_class,
        priority=asked.priority,
        gpus=asked.gpus,
        memory=asked.memory,
        node=node,
        timeout_s=_NO_END_S,
        max_attempts=1,
    )


def _get_terms(asked: HoldAsked) -> HoldTerms:
    return HoldTerms(ttl_s=asked.ttl_s, for_s=asked.for_s)


async def _find(api: ApiState, id: int) -> Task:
    tasks = await reading.get_tasks(api.services.pool, [id])
    if not tasks or tasks[0].engine != HOLD.name:
        raise HoldMissingError(f"there is no hold {id}", hint="`corral holds list` shows those that there are")
    return tasks[0]


async def _find_own(api: ApiState, caller: Caller, id: int) -> Task:
    task = await _find(api, id)
    require_own(caller, task.owner)
    return task


async def _show(api: ApiState, task: Task) -> DeviceHold:
    return (await _describe(api, [task]))[0]


async def _describe(api: ApiState, tasks: Sequence[Task]) -> list[DeviceHold]:
    services = api.services
    stored = await holds.read(services.pool, [task.id for task in tasks])
    now = datetime.now(UTC)
    return [
        describe_hold(
            task,
            stored.get(task.id),
            services.board.places,
            services.board.progress,
            explain(task, (), services.explain(task.id) if task.state is TaskState.QUEUED else None, None, now=now),
        )
        for task in tasks
    ]
