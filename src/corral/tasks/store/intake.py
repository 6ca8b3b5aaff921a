"""Takes submissions of many callers, and stores those that wait at the same time in one transaction.

A durable commit costs a flush of the disk, and each statement a round trip; a group shares both. So a server has one
`Intake`, and what many clients submit one by one is written nearly as fast as a batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

import asyncpg

from corral.tasks.store.pool import CONNECTION_LOST, Pool
from corral.tasks.store.submitting import Limits, Outcome, ReadSteps, key_of, store_group, submit, submit_in_steps
from corral.tasks.submission_checks import MAX_TASKS
from corral.tasks.values import Accepted, Submission

GROUPED_TASKS = 100
"""A submission with more tasks goes in a transaction of its own: small ones do not wait for it."""


class Intake:
    """Takes submissions from many callers at once; what came while a group was written is the next group."""

    def __init__(self, pool: Pool, *, limits: Callable[[], Limits]) -> None:
        """`limits` is called for each group: what it returns can change while the server runs."""
        self._pool = pool
        self._limits = limits
        self._waiting: list[tuple[Submission, asyncio.Future[Accepted]]] = []
        self._storing: asyncio.Task[None] | None = None

    async def submit(self, submission: Submission) -> Accepted:
        """Store a checked submission, as `submit` does."""
        if len(submission.tasks) > GROUPED_TASKS:
            return await submit(self._pool, submission, queued_limits=self._limits())
        answer: asyncio.Future[Accepted] = asyncio.get_running_loop().create_future()
        self._waiting.append((submission, answer))
        if self._storing is None or self._storing.done():
            self._storing = asyncio.create_task(self._store_groups(), name="intake")
        return await answer

    async def submit_in_steps(self, outline: Submission, read_steps: ReadSteps) -> Accepted:
        """Store a checked submission whose tasks are read as they are written, as `submit_in_steps` does."""
        return await submit_in_steps(self._pool, outline, read_steps, queued_limits=self._limits())

    async def _store_groups(self) -> None:
        while self._waiting:
            group = self._take_group()
            try:
                outcomes = await self._store_group([submission for submission, _ in group])
            except BaseException as error:
                _settle(group, [error] * len(group))
                if not isinstance(error, Exception):
                    raise
            else:
                _settle(group, outcomes)

    def _take_group(self) -> list[tuple[Submission, asyncio.Future[Accepted]]]:
        """Take what waits, as far as it fits; the second of two with the same key has to see what the first became."""
        group: list[tuple[Submission, asyncio.Future[Accepted]]] = []
        left: list[tuple[Submission, asyncio.Future[Accepted]]] = []
        keys: set[tuple[str, str]] = set()
        room = MAX_TASKS
        for submission, answer in self._waiting:
            key = key_of(submission)
            room -= len(submission.tasks)
            if room < 0 or key in keys:
                left.append((submission, answer))
                continue
            group.append((submission, answer))
            if key is not None:
                keys.add(key)
        self._waiting = left
        return group

    async def _store_group(self, submissions: Sequence[Submission]) -> Sequence[Outcome | BaseException]:
        try:
            return await store_group(self._pool, submissions, self._limits())
        except asyncpg.PostgresError as error:
            if len(submissions) == 1 or isinstance(error, CONNECTION_LOST):
                raise
        # One of them is something that PostgreSQL refuses, or two transactions were in each other's way: one by one.
        return [await self._store_alone(submission) for submission in submissions]

    async def _store_alone(self, submission: Submission) -> Outcome | BaseException:
        try:
            return (await store_group(self._pool, [submission], self._limits()))[0]
        except Exception as error:  # noqa: BLE001 - it is raised where the submission came from
            return error


def _settle(
    group: Iterable[tuple[Submission, asyncio.Future[Accepted]]], outcomes: Sequence[Outcome | BaseException]
) -> None:
    for (_, answer), outcome in zip(group, outcomes, strict=True):
        if answer.done():  # who asked has gone away
            continue
        if isinstance(outcome, BaseException):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
