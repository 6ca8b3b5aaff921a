"""Brings open sets to their end, for as long as this server leads: submits tasks, checks, judges, makes again.

Every task is submitted with an idempotency key that its take alone has, and what became of it is noted afterwards. So a
server that is killed between the two finds the task again instead of submitting another.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import asyncpg
import structlog

from corral.errors import CorralError, Kind
from corral.narrowing import as_object
from corral.studio.quality.deciding import decide, find_near, read_results
from corral.studio.sets import keeping
from corral.studio.sets.keeping import CheckedTake, Judged, MadeTake, OpenTake
from corral.studio.sets.places import fill_seed
from corral.studio.sets.planning import make_take
from corral.studio.sets.reading import read_set_value
from corral.studio.sets.values import SetFile
from corral.tasks.store.leading import LeadLostError
from corral.tasks.store.pool import CONNECTION_LOST, DatabaseUnavailableError, Pool
from corral.work import Json

log = structlog.get_logger()

POLL_S = 1.0
PICTURE = "picture"
"""The file of a check that is the picture."""
SET_LABEL, CHARACTER = "set", "character"
"""Labels of every task of a set: the set's name, and the character's."""
MAX_NAME = 200
"""Characters of a task's name."""
_LOST = (*CONNECTION_LOST, DatabaseUnavailableError, asyncpg.PostgresError)
_LATER = (Kind.NO_CAPACITY, Kind.UNAVAILABLE, Kind.CONFLICT)
"""Kinds of refusals that pass: a queue that is drained, an owner with as many tasks as allowed."""
TakeT = TypeVar("TakeT")


class Submit(Protocol):
    """Submits one task to the queue."""

    async def __call__(self, owner: str, token: str | None, body: Mapping[str, Json], key: str) -> int:
        """Return the task's id; `body` is as the API takes it, `key` its idempotency key. Raises: CorralError."""
        ...


class Keeper:
    """The keeper of one server's sets; used by one event loop."""

    def __init__(self, pool: Pool, submit: Submit, *, epoch: Callable[[], int | None], poll_s: float = POLL_S) -> None:
        """`epoch` is that of the lead, and None while another server leads."""
        self._pool = pool
        self._submit = submit
        self._epoch = epoch
        self._poll_s = poll_s
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look at once: a set is new."""
        self._woken.set()

    async def run(self) -> None:
        """Keep sets whenever this server leads, for ever."""
        while True:
            self._woken.clear()
            epoch = self._epoch()
            try:
                if epoch is not None:
                    await self.go_on(epoch)
            except LeadLostError:
                log.info("sets_are_another_servers")
            except _LOST as error:
                log.warning("sets_wait_for_the_database", error=str(error) or type(error).__name__)
            try:
                await asyncio.wait_for(self._woken.wait(), self._poll_s)
            except TimeoutError:
                continue

    async def go_on(self, epoch: int) -> None:
        """Bring every take as far as it can go now. Raises: LeadLostError."""
        async for checked in _walk(partial(keeping.list_checked, self._pool), lambda checked: checked.take):
            await self._judge(checked, epoch)
        async for made in _walk(partial(keeping.list_made, self._pool), lambda made: made.take):
            await self._check(made, epoch)
        async for planned in _walk(partial(keeping.list_planned, self._pool), lambda take: take):
            await self._make(planned, epoch)

    async def _make(self, takes: Sequence[OpenTake], epoch: int) -> None:
        """Submit the tasks of takes that are planned."""
        asked = {_make_key(take, "make"): _Asked(take, _write_making(take)) for take in takes}
        tasks, refused = await self._submit_all(asked)
        async with keeping.open_keeping(self._pool, epoch) as connection:
            await keeping.note_making(connection, [(asked[key].take, task) for key, task in tasks.items()])
            await keeping.note_failed(connection, [(asked[key].take, what) for key, what in refused.items()])

    async def _check(self, takes: Sequence[MadeTake], epoch: int) -> None:
        """Submit the checks of pictures that were made."""
        asked = {key: asked for made in takes for key, asked in _list_checks(made)}
        tasks, refused = await self._submit_all(asked)
        checks: list[tuple[MadeTake, Sequence[int]]] = []
        failures: list[tuple[OpenTake, str]] = []
        for made in takes:
            keys = [key for key, _ in _list_checks(made)]
            problem = made.problem or next((refused[key] for key in keys if key in refused), None)
            if problem is not None:
                failures.append((made.take, problem))
            elif all(key in tasks for key in keys):
                checks.append((made, [tasks[key] for key in keys]))
        async with keeping.open_keeping(self._pool, epoch) as connection:
            await keeping.note_checking(connection, checks)
            await keeping.note_failed(connection, failures)

    async def _judge(self, takes: Sequence[CheckedTake], epoch: int) -> None:
        """Decide which pictures are kept, and plan others instead of those that are not."""
        judged: list[Judged] = []
        hashes: dict[int, dict[str, str]] = {}
        files: dict[int, SetFile] = {}
        for checked in takes:
            set_id = checked.take.set_id
            if checked.problem is None and set_id not in files:
                files[set_id] = read_set_value(checked.take.file)
                hashes[set_id] = await keeping.read_hashes(self._pool, set_id)
            if checked.problem is None:
                judged.append(judge(checked, files[set_id], hashes[set_id]))
        failures = [(checked.take, checked.problem) for checked in takes if checked.problem is not None]
        async with keeping.open_keeping(self._pool, epoch) as connection:
            await keeping.note_judged(connection, judged)
            await keeping.note_failed(connection, failures)

    async def _submit_all(self, asked: Mapping[str, _Asked]) -> tuple[dict[str, int], dict[str, str]]:
        """Submit tasks by their idempotency keys; return the ids of those that are in the queue now, and why others are
        refused for good. What is refused for now is in neither."""
        tasks: dict[str, int] = {}
        for owner in {body.take.owner for body in asked.values()}:
            keys = [key for key, body in asked.items() if body.take.owner == owner]
            tasks |= await keeping.find_tasks(self._pool, owner, keys)
        new = [key for key in asked if key not in tasks]
        outcomes = await asyncio.gather(*(self._submit_task(asked[key], key) for key in new))
        refused: dict[str, str] = {}
        for key, outcome in zip(new, outcomes, strict=True):
            if isinstance(outcome, int):
                tasks[key] = outcome
            elif outcome.kind not in _LATER:
                refused[key] = outcome.what
            else:
                log.info("set_waits", key=key, code=outcome.code, what=outcome.what)
        return tasks, refused

    async def _submit_task(self, asked: _Asked, key: str) -> int | CorralError:
        try:
            return await self._submit(asked.take.owner, asked.take.token, asked.body, key)
        except CorralError as error:
            return error


@dataclass(frozen=True, slots=True)
class _Asked:
    """A task that a take needs."""

    take: OpenTake
    body: Mapping[str, Json]


def judge(checked: CheckedTake, file: SetFile, hashes: dict[str, str]) -> Judged:
    """Decide about one picture; the hash of an accepted one is added to `hashes`, which are those of its set."""
    take = checked.take
    key = take.picture.key
    measurements, phash = read_results(checked.results)
    others = {other: value for other, value in hashes.items() if other != key}
    verdict = decide(measurements, file.thresholds, find_near(phash, others, file.distance))
    again = None
    if verdict.accepted and phash is not None:
        hashes[key] = phash
    if not verdict.accepted and take.round < file.remakes:
        again = make_take(file.name, take.picture, number=take.number + 1, round=take.round + 1)
    return Judged(take=take, measurements=measurements, phash=phash, verdict=verdict, next=again)


def _write_making(take: OpenTake) -> dict[str, Json]:
    return _label(fill_seed(take.picture.task, take.seed), take, take.label)


def _list_checks(made: MadeTake) -> Iterator[tuple[str, _Asked]]:
    if made.problem is not None:
        return
    for place, check in enumerate(made.take.picture.checks, 1):
        body = fill_seed(check, made.take.seed)
        files = {**as_object(body.get("files")), PICTURE: {"task": made.task, "output": made.output}}
        labelled = _label({**body, "files": files}, made.take, f"{made.take.label}-check-{place}")
        yield _make_key(made.take, f"check/{place}"), _Asked(made.take, labelled)


def _label(body: Mapping[str, Json], take: OpenTake, name: str) -> dict[str, Json]:
    labels = {**as_object(body.get("labels")), SET_LABEL: take.set_name, CHARACTER: take.picture.settings[CHARACTER]}
    return {**body, "name": name[-MAX_NAME:], "labels": labels}


def _make_key(take: OpenTake, purpose: str) -> str:
    return f"set/{take.set_id}/{take.picture.key}/{take.number}/{purpose}"


async def _walk(
    read: Callable[[keeping.Place], Awaitable[Sequence[TakeT]]], find_take: Callable[[TakeT], OpenTake]
) -> AsyncIterator[Sequence[TakeT]]:
    """Yield all takes of a state, a step at a time; each step begins after the last one's."""
    after: keeping.Place = (0, "")
    while takes := await read(after):
        yield takes
        last = find_take(takes[-1])
        after = (last.set_id, last.picture.key)
