"""How long tasks have waited for a model that no server has, and which of them have waited long enough.

A task is given up after `PolicyBounds.model_wait` without its model: nothing that ends in the queue would start it.
Time runs on a monotonic clock from when the lack was first seen, so that neither a clock that jumps nor a lack that
begins when a task is old ends it early; a server that starts begins anew. While a server of the engine does not work,
it is unknown what that one has: the time begins anew when all work.

Tasks are not remembered one by one: a mark says when the newest task was queued that was there when it was made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple, Self

from corral.scheduling.backlog import Backlog
from corral.scheduling.policy import find_impossible
from corral.scheduling.room import Room
from corral.scheduling.values import QueuedTask, Rule

_MARKS = 24
"""Marks in the time of one wait: a task waits for up to a 24th longer."""


class _Need(NamedTuple):
    """The facts of a task on which it depends whether its model is anywhere."""

    queue: str
    engine: str
    model: str | None
    node: str | None

    @classmethod
    def of(cls, task: QueuedTask) -> Self:
        """Return those of a task."""
        return cls(task.queue, task.engine, task.model, task.node)


class _Mark(NamedTuple):
    at: float
    newest: datetime


class ModelWaits:
    """Marks of the models that are lacking now; `now` is in seconds of a monotonic clock."""

    def __init__(self) -> None:
        self._marks: dict[_Need, deque[_Mark]] = {}

    def find_given_up(self, backlog: Backlog, room: Room, *, wait_s: float, now: float) -> Iterator[QueuedTask]:
        """Find the tasks that have waited `wait_s` for their model, those of one kind in the order of their age.

        Time that passes between two calls counts: call it every few minutes at least.
        """
        lanes = [(_Need.of(head), head, newest) for head, newest in backlog.list_lanes()]
        heads = {need: head for need, head, _ in lanes}
        lacking = {need for need, head in heads.items() if _is_lacking(head, room)}
        newest_of = dict[_Need, datetime]()
        for need, _, newest in lanes:
            if need in lacking:
                newest_of[need] = max(newest, newest_of.get(need, newest))
        self._marks = {need: self._mark(need, newest, wait_s, now) for need, newest in newest_of.items()}
        for need, head, _ in lanes:
            if need in lacking and now - self._marks[need][0].at >= wait_s:
                yield from backlog.list_lane(head, queued_until=self._marks[need][0].newest)

    def _mark(self, need: _Need, newest: datetime, wait_s: float, now: float) -> deque[_Mark]:
        marks = self._marks.get(need, deque[_Mark]())
        if not marks or (newest > marks[-1].newest and now - marks[-1].at >= wait_s / _MARKS):
            marks.append(_Mark(now, newest))
        while len(marks) > 1 and now - marks[1].at >= wait_s:
            marks.popleft()
        return marks


def _is_lacking(task: QueuedTask, room: Room) -> bool:
    """Whether it is known that no server that the task can be sent to has its model."""
    if find_impossible(task, room) is not Rule.MODEL_MISSING:
        return False
    pool = room.queue(task.queue).pool
    return not any(
        task.engine in place.engine_problems
        and (pool is None or place.is_among(pool, task.engine))
        and task.node in (None, place.node)
        for place in room.table
    )
