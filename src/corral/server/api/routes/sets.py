"""Sets of pictures: make, list, show, stale pictures, measures, pictures made again, cancel. An owner has its own."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import Field
from starlette.responses import Response

from corral.cluster.fields import Name
from corral.server.api.auditing import describe_act
from corral.server.api.bodies import StrictRoute
from corral.server.api.errors import declare_refusals
from corral.server.api.fields import Limit, LongWord, Word
from corral.server.api.requests import Asked
from corral.server.api.routing import make_router
from corral.server.api.sets import compare_set, make_set, show_set, show_sets
from corral.server.api.state import ApiState, Here, Submitter, Viewer
from corral.server.api.wired import answer, compute, defer, describe_answers
from corral.server.auth import Caller, Role
from corral.studio.quality.keepers import Setting, SettingGroup, group_by_setting
from corral.studio.sets.planning import StalePicture
from corral.studio.sets.showing import (
    RemadePictures,
    SetForecast,
    SetList,
    SetMade,
    SetOut,
    SetPicturePage,
    SettingGroups,
    StalePictures,
)
from corral.studio.sets.store import (
    SetPicture,
    SetTake,
    StoredSet,
    cancel_set,
    get_set,
    list_pictures,
    list_sets,
    read_judged_takes,
    reject_pictures,
)
from corral.studio.sets.values import PictureState
from corral.tasks.lifecycle import CancelRequested
from corral.tasks.store.audit import Action
from corral.tasks.store.transitions import TaskChange, apply
from corral.work import Json

MOST_REJECTED = 1000


class SetAsked(Asked):
    """A set file, as JSON."""

    file: dict[str, Json] = Field(description="the whole file; the workflow in its place, no paths")
    dry_run: bool = Field(default=False, description="only say what would be made")
    remake_stale: bool = Field(default=False, description="make stale pictures anew, too")


class RejectionAsked(Asked):
    """Pictures for another take."""

    keys: list[LongWord] = Field(min_length=1, max_length=MOST_REJECTED, description="their keys: `elena/portrait/1`")


Owner = Annotated[Word | None, Query(description="whose set it is; the caller's own when left out")]

router = make_router("sets", prefix="/corral/v1/sets", route_class=StrictRoute)

describe_answers(SetOut, SetForecast, SetMade, SetList, SetPicturePage, SetPicture, SetTake)
describe_answers(StalePicture, StalePictures, SettingGroup, SettingGroups, RemadePictures)


@router.post(
    "",
    summary="Make a set",
    response_model=defer(SetMade),
    responses=declare_refusals(400, 413, 429),
    name="make_set",
)
async def make(asked: SetAsked, api: Here, caller: Submitter) -> Response:
    """Store a set, or replace the caller's set of its name, and make what it lacks; every problem is listed.

    What was accepted stays. Pictures whose inputs were changed are stale, and made anew only with `remake_stale`.
    """
    made = await make_set(api, caller, asked.file, dry_run=asked.dry_run, remake_stale=asked.remake_stale)
    return answer(made)


@router.get("", summary="List sets", response_model=defer(SetList), responses=declare_refusals(), name="list_sets")
async def list_all(api: Here, caller: Viewer) -> Response:
    """List the caller's sets, an administrator those of all, the last changed first."""
    owner = None if caller.role is Role.ADMIN else caller.owner
    return answer(SetList(items=await show_sets(api, await list_sets(api.services.pool, owner=owner))))


@router.get(
    "/{name}", summary="Show a set", response_model=defer(SetOut), responses=declare_refusals(404), name="get_set"
)
async def get(name: Name, api: Here, caller: Viewer, owner: Owner = None) -> Response:
    """Show a set: how many pictures are in which state, what is stale, and when it would be done."""
    return answer(await show_set(api, await _find(api, caller, name, owner)))


@router.get(
    "/{name}/pictures",
    summary="List the pictures of a set",
    response_model=defer(SetPicturePage),
    responses=declare_refusals(404),
    name="list_set_pictures",
)
async def pictures(
    name: Name,
    api: Here,
    caller: Viewer,
    owner: Owner = None,
    state: PictureState | None = None,
    cursor: Annotated[LongWord | None, Query(description="`next` of the page before")] = None,
    limit: Limit = 100,
) -> Response:
    """List the pictures of a set with their takes and measurements, in the order of their keys."""
    stored = await _find(api, caller, name, owner)
    items = await list_pictures(api.services.pool, stored.id, state=state, after=cursor, limit=limit)
    return answer(SetPicturePage(items=items, next=items[-1].key if len(items) == limit else None))


@router.get(
    "/{name}/stale",
    summary="List the stale pictures of a set",
    response_model=defer(StalePictures),
    responses=declare_refusals(404),
    name="list_stale_pictures",
)
async def stale(name: Name, api: Here, caller: Viewer, owner: Owner = None) -> Response:
    """List the pictures that would be made otherwise now, each with the inputs that were changed."""
    plan = await compare_set(api, await _find(api, caller, name, owner))
    return answer(StalePictures(items=plan.stale))


@router.get(
    "/{name}/measures",
    summary="Show which settings give pictures that are kept",
    response_model=defer(SettingGroups),
    responses=declare_refusals(404),
    name="group_set_takes",
)
async def measures(name: Name, api: Here, caller: Viewer, by: Setting = "model", owner: Owner = None) -> Response:
    """Group the takes of a set by a setting, with the share of each group that was accepted and its mean measures."""
    takes = await read_judged_takes(api.services.pool, (await _find(api, caller, name, owner)).id)
    return await compute(lambda: SettingGroups(by=by, items=group_by_setting(takes, by)))


@router.post(
    "/{name}/reject",
    summary="Reject pictures of a set",
    response_model=defer(RemadePictures),
    responses=declare_refusals(400, 404, 413),
    name="reject_set_pictures",
)
async def reject(name: Name, asked: RejectionAsked, api: Here, caller: Submitter, owner: Owner = None) -> Response:
    """Reject pictures by the caller's word and make them again with another seed, beyond the set's bound, too.

    Those that are under way, or not of the set, are left out of the answer.
    """
    stored = await _find(api, caller, name, owner)
    keys = await reject_pictures(api.services.pool, stored, asked.keys)
    api.sets.wake()
    return answer(RemadePictures(keys=keys))


@router.post(
    "/{name}/cancel",
    summary="Cancel a set",
    response_model=defer(SetOut),
    responses=declare_refusals(404),
    name="cancel_set",
)
async def cancel(name: Name, api: Here, caller: Submitter, owner: Owner = None) -> Response:
    """Cancel the pictures of a set that are under way, with their tasks; those that are accepted stay."""
    stored = await _find(api, caller, name, owner)
    tasks = await cancel_set(api.services.pool, stored.id)
    act = describe_act(caller, Action.SET_CANCELLED, stored.name, owner=stored.owner, tasks=len(tasks))
    changes = [TaskChange(task=task, event=CancelRequested(), note={"by": caller.owner}) for task in tasks]
    await apply(api.services.pool, changes, act=act)  # a task that has ended refuses, and that is what was wanted
    return answer(await show_set(api, await _find(api, caller, name, owner)))


async def _find(api: ApiState, caller: Caller, name: str, owner: str | None) -> StoredSet:
    """Return the set, which is the caller's own, or for an administrator that of any owner. Raises: SetMissingError."""
    whose = owner if owner is not None and caller.role is Role.ADMIN else caller.owner
    return await get_set(api.services.pool, owner=whose, name=name)
