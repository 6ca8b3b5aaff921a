"""Sets over the queue and the cluster file: checked as submissions are, shown with what is stale and their forecast."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial

from pydantic import ValidationError

from corral.engines.inputs import find_model_name
from corral.errors import Problem
from corral.operations.status import list_waiting
from corral.scheduling.estimating import WaitingWork
from corral.server.api.accepting import accept, check_submission, make_spec, make_task_submission, require_rights
from corral.server.api.errors import describe_invalid
from corral.server.api.requests import TaskAsked
from corral.server.api.state import ApiState
from corral.server.auth import Caller, Role
from corral.studio.characters.store import list_characters
from corral.studio.characters.values import list_fields
from corral.studio.sets.expanding import Character, SetError, expand
from corral.studio.sets.keeper import PICTURE
from corral.studio.sets.places import fill_seed
from corral.studio.sets.planning import SetPlan, plan_set
from corral.studio.sets.reading import read_set_value
from corral.studio.sets.showing import SetForecast, SetMade, SetOut, expect_takes
from corral.studio.sets.store import StoredSet, find_set, read_judged_takes, read_known, save_set
from corral.studio.sets.values import PictureState, SetFile, WantedPicture
from corral.tasks.store.overview import read_open_work
from corral.tasks.submission_checks import SubmissionError
from corral.tasks.values import Submission, TaskSpec
from corral.work import Json

_OF_TASK = re.compile(r"tasks\[(\d+)\](?: \(.*?\))?(?=\.|$)")


async def submit_task(api: ApiState, owner: str, token: str | None, body: Mapping[str, Json], key: str) -> int:
    """Submit a task of a set, as `corral.studio.sets.keeper.Submit`. Raises: CorralError."""
    submission = make_task_submission(_read_task(body, "task"), owner, key)
    accepted = await accept(api, Caller(owner=owner, role=Role.SUBMITTER, key=token), submission)
    return accepted.tasks[0]


async def make_set(
    api: ApiState, caller: Caller, value: Mapping[str, Json], *, dry_run: bool, remake_stale: bool
) -> SetMade:
    """Store a set and plan what it lacks; with `dry_run` only say what that would be.

    Raises: SetFileError, SetError and SubmissionError with every problem; RoleError, KeyModelError.
    """
    file = await asyncio.to_thread(read_set_value, value)
    wanted = await _expand(api, file, caller.owner)
    await _check(api, caller, file, wanted)
    make_plan = partial(plan_set, file.name, wanted, remakes=file.remakes, remake_stale=remake_stale)
    pool = api.services.pool
    if dry_run:
        stored = await find_set(pool, owner=caller.owner, name=file.name)
        plan = make_plan({} if stored is None else await read_known(pool, stored.id))
    else:
        plan = await save_set(
            pool, owner=caller.owner, token=caller.key, file=value, wanted=wanted, name=file.name, make_plan=make_plan
        )
        api.sets.wake()
    return SetMade(
        planned=len(plan.takes),
        kept=plan.kept,
        stale=plan.stale,
        dry_run=dry_run,
        ends_at=await _estimate_end(api, [take.picture for take in plan.takes]),
    )


async def show_sets(api: ApiState, sets: Sequence[StoredSet]) -> tuple[SetOut, ...]:
    """Return sets as they are shown."""
    return tuple([await show_set(api, stored) for stored in sets])


async def show_set(api: ApiState, stored: StoredSet) -> SetOut:
    """Return a set as it is shown."""
    pool = api.services.pool
    left = stored.states.get(PictureState.OPEN, 0)
    takes = expect_takes(left, await read_judged_takes(pool, stored.id)) if left else 0
    plan = await compare_set(api, stored)
    ends_at = None
    if left:
        ends_at = await _estimate_end(api, ())
    return SetOut(
        name=stored.name,
        owner=stored.owner,
        created_at=stored.created_at,
        changed_at=stored.changed_at,
        pictures=stored.pictures,
        states=stored.states,
        takes=stored.takes,
        remade=stored.remade,
        stale=len(plan.stale),
        forecast=SetForecast(pictures=left, expected_takes=takes, ends_at=ends_at),
    )


async def compare_set(api: ApiState, stored: StoredSet) -> SetPlan:
    """Return what making a set as it is stored would do now; nothing where its characters are not there any more."""
    file = read_set_value(stored.file)
    try:
        wanted = await _expand(api, file, stored.owner)
    except SetError:
        return SetPlan(takes=(), kept=0, stale=(), unwanted=())
    return plan_set(file.name, wanted, await read_known(api.services.pool, stored.id), remakes=file.remakes)


async def _expand(api: ApiState, file: SetFile, owner: str) -> tuple[WantedPicture, ...]:
    return await asyncio.to_thread(expand, file, await _read_characters(api, owner))


async def _read_characters(api: ApiState, owner: str) -> tuple[Character, ...]:
    return tuple(map(list_fields, await list_characters(api.services.pool, owner=owner)))


# --- checks ---------------------------------------------------------------------------------------------------------


async def _check(api: ApiState, caller: Caller, file: SetFile, wanted: Sequence[WantedPicture]) -> None:
    """Check tasks as their submission will: of each character, shot and variant those of one picture."""
    places, specs, problems = list[str](), list[TaskSpec](), list[Problem]()
    for picture in _choose_samples(wanted):
        for place, body in _list_bodies(picture):
            try:
                specs.append(make_spec(_read_task(body, place), place))
                places.append(place)
            except SubmissionError as error:
                problems += error.problems
    submission = Submission(owner=caller.owner, key=caller.key, tasks=tuple(specs))
    require_rights(replace(caller, role=Role.SUBMITTER), submission)
    try:
        await check_submission(api, submission)
    except SubmissionError as error:
        problems += (_place(problem, places) for problem in error.problems)
    if problems:
        raise SubmissionError(list(dict.fromkeys(problems)))


def _choose_samples(wanted: Sequence[WantedPicture]) -> list[WantedPicture]:
    seen: set[tuple[str, str]] = set()
    samples: list[WantedPicture] = []
    for picture in wanted:
        parts = {item for item in picture.settings.items() if item[0] in ("character", "shot", "variant")}
        if not parts <= seen:
            samples.append(picture)
            seen |= parts
    return samples


def _list_bodies(picture: WantedPicture) -> Iterator[tuple[str, Mapping[str, Json]]]:
    """Yield the tasks of a picture with their places in the file; a check needs the task that makes it."""
    yield "task", {**fill_seed(picture.task, picture.first_seed), "name": picture.key}
    for index, check in enumerate(picture.checks):
        body = fill_seed(check, picture.first_seed)
        files = {**body.get("files", {}), PICTURE: {"task": picture.key, "output": PICTURE}}
        yield f"checks[{index}]", {**body, "name": f"{picture.key} {index}", "files": files}


def _read_task(body: Mapping[str, Json], place: str) -> TaskAsked:
    """Read a task of a set, as the API takes it. Raises: SubmissionError."""
    try:
        return TaskAsked.model_validate(dict(body))
    except ValidationError as error:
        details = ({**part, "loc": ("body", *part["loc"])} for part in error.errors(include_url=False))
        described = (describe_invalid(part, body) for part in details)
        raise SubmissionError(
            [replace(problem, where=f"{place}.{problem.where or ''}") for problem in described]
        ) from error


def _place(problem: Problem, places: Sequence[str]) -> Problem:
    """Give a problem of a task its place in the set file."""
    where = _OF_TASK.sub(lambda match: places[int(match[1])], problem.where or "")
    return replace(problem, where=where or None)


# --- forecasts ------------------------------------------------------------------------------------------------------


async def _estimate_end(api: ApiState, pictures: Sequence[WantedPicture]) -> datetime | None:
    """Estimate when these would be done after everything that waits."""
    waiting = [*list_waiting(await read_open_work(api.services.pool)), *_count_work(pictures)]
    return api.services.estimate(waiting).ends_at


def _count_work(pictures: Sequence[WantedPicture]) -> Iterator[WaitingWork]:
    counts: dict[tuple[str, str, str | None, str | None], int] = {}
    for picture in pictures:
        for body in (picture.task, *picture.checks):
            model = find_model_name(str(body["engine"]), body.get("model"), body.get("inputs", {}))
            kind = (str(body.get("queue", "default")), str(body["engine"]), model, body.get("node"))
            counts[kind] = counts.get(kind, 0) + 1
    for (queue, engine, model, node), count in counts.items():
        yield WaitingWork(queue=queue, engine=engine, model=model, node=node, count=count)
