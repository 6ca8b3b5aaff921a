"""All queued tasks, kept so that a fair, bounded part of them can be shown to the policy at once.

Tasks that differ in nothing but age (`_Lane`) are in one lane, oldest first. For the policy the tasks of a lane are
interchangeable: if the oldest cannot start, none can. So the oldest few of each lane represent all of them, and
nothing hides behind a task that waits for another engine or for more memory: with `limit` of at least lanes x (free
places + affinity window) a decision on the candidates is the decision on everything.

Where there are more lanes than `limit`, a third of the candidates comes from lanes whose oldest task is past its bound,
a third from those that are first by class, priority and precedence, a third from each owner's first lanes in turn, and
the rest from the oldest; so neither promotion nor rank nor fair share is lost, though a lane in the middle can be seen
later.

Adding and removing cost O(log n); showing costs O(limit + owners), whatever the number of tasks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import fields
from datetime import datetime
from itertools import chain, islice, takewhile, zip_longest
from operator import attrgetter, itemgetter
from typing import TypeVar

from corral.scheduling.sorted_list import Sorted
from corral.scheduling.values import Owner, PolicyBounds, QueuedTask, TaskClass

_Age = tuple[datetime, int]
_Lane = tuple[object, ...]
_Rank = tuple[bool, bool, int, int, datetime, int]
_Item = TypeVar("_Item", bound=tuple[object, ...])

_number: Callable[[_Age | _Rank], int] = itemgetter(-1)
_lane_of: Callable[[QueuedTask], _Lane] = attrgetter(
    *(member.name for member in fields(QueuedTask) if member.name not in ("id", "queued_at"))
)
"""Everything that the policy looks at, except age."""


class Backlog:
    """Queued tasks by id, in lanes. It reads no clock; one owner changes it."""

    def __init__(self, tasks: Iterable[QueuedTask] = ()) -> None:
        self._tasks: dict[int, QueuedTask] = {}
        self._lanes: dict[_Lane, Sorted[_Age]] = {}
        self._by_age: Sorted[_Age] = Sorted()
        self._by_rank: Sorted[_Rank] = Sorted()
        self._by_owner: defaultdict[Owner, Sorted[_Rank]] = defaultdict(Sorted)
        self._gathering = 0
        """Tasks that need several places at once."""
        for task in tasks:
            self.add(task)

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, task: object) -> bool:
        return task in self._tasks

    def __iter__(self) -> Iterator[QueuedTask]:
        return iter(self._tasks.values())

    def get(self, task: int) -> QueuedTask | None:
        """The task as it was added; None when it is not queued."""
        return self._tasks.get(task)

    def add(self, task: QueuedTask) -> None:
        """Put a task in, in place of one with the same id."""
        self.remove(task.id)
        self._tasks[task.id] = task
        self._gathering += task.gpus > 1
        lane = self._lanes.setdefault(_lane_of(task), Sorted())
        before = lane.first()
        lane.add((task.queued_at, task.id))
        self._move_head(before, lane.first())

    def remove(self, task: int) -> QueuedTask | None:
        """Take a task out and return it; None when it is not queued."""
        queued = self._tasks.get(task)
        if queued is None:
            return None
        name = _lane_of(queued)
        lane = self._lanes[name]
        before = lane.first()
        lane.remove((queued.queued_at, task))
        self._move_head(before, lane.first())
        del self._tasks[task]
        self._gathering -= queued.gpus > 1
        if not lane:
            del self._lanes[name]
        return queued

    def can_precede_guest(self, now: datetime, bounds: PolicyBounds) -> bool:
        """Whether something waits that could go before an interactive task that comes now, wherever that is.

        Another interactive task, one with a deadline, one that is promoted by its age, one that gathers places.
        """
        first, oldest = self._by_rank.first(), self._by_age.first()
        if first is None or oldest is None:
            return False
        is_batch, is_without_deadline, *_ = first
        is_promoted = oldest[0] < now - bounds.promote_after
        return not (is_batch and is_without_deadline) or is_promoted or self._gathering > 0

    def select_candidates(
        self,
        now: datetime,
        bounds: PolicyBounds,
        limit: int,
        *,
        free: int | None = None,
        keep: Collection[int] = (),
    ) -> tuple[QueuedTask, ...]:
        """Choose at most `limit` tasks for a decision, the lanes' oldest in turn.

        `free` is how many places the decision can fill: no lane then shows more than that and the affinity window,
        which is all that can matter. `keep` names tasks to show in any case, such as those in `Decision.passed_since`,
        whose time would otherwise start anew; ids that are not queued are ignored.
        """
        shown = dict.fromkeys([task for task in keep if task in self._tasks][:limit])
        if len(self._lanes) <= limit:
            depth = limit if free is None else free + bounds.affinity_window + 1
            chosen = map(_number, _take_in_turn(self._lanes.values(), depth))
        else:
            chosen = self._select_heads(limit, now - bounds.promote_after)
        for task in chosen:
            if len(shown) >= limit:
                break
            shown[task] = None
        return tuple([self._tasks[task] for task in shown])

    def list_lanes(self) -> Iterator[tuple[QueuedTask, datetime]]:
        """List the lanes: the oldest task of each, and when its newest was queued."""
        for lane in self._lanes.values():
            first, last = lane.first(), lane.last()
            if first is not None and last is not None:
                yield self._tasks[first[1]], last[0]

    def list_lane(self, task: QueuedTask, *, queued_until: datetime) -> Iterator[QueuedTask]:
        """List the tasks of a task's lane that were queued until then, oldest first."""
        for queued_at, number in self._lanes.get(_lane_of(task), ()):
            if queued_at > queued_until:
                return
            yield self._tasks[number]

    def _select_heads(self, limit: int, promoted_before: datetime) -> Iterator[int]:
        """Heads of lanes where not all can be shown: promoted ones, by rank, by owner; the oldest fill the rest."""
        share = limit // 3
        oldest: Iterator[_Age] = islice(self._by_age, share)
        yield from (task for _, task in takewhile(lambda head: head[0] < promoted_before, oldest))
        yield from map(_number, islice(self._by_rank, share))
        yield from map(_number, islice(_take_in_turn(islice(self._by_owner.values(), share), share), share))
        yield from map(_number, self._by_age)

    def _move_head(self, before: _Age | None, after: _Age | None) -> None:
        """Keep the orders of the lanes' heads; both tasks are still known."""
        if before == after:
            return
        if before is not None:
            task, standing = self._rank_head(before)
            self._by_age.remove(before)
            self._by_rank.remove(standing)
            self._by_owner[task.owner].remove(standing)
            if not self._by_owner[task.owner]:
                del self._by_owner[task.owner]
        if after is not None:
            task, standing = self._rank_head(after)
            self._by_age.add(after)
            self._by_rank.add(standing)
            self._by_owner[task.owner].add(standing)

    def _rank_head(self, head: _Age) -> tuple[QueuedTask, _Rank]:
        task = self._tasks[head[1]]
        return task, (
            task.task_class is TaskClass.BATCH,
            task.deadline is None,
            -task.priority,
            -task.precedence,
            *head,
        )


def _take_in_turn(lines: Iterable[Iterable[_Item]], depth: int) -> Iterator[_Item]:
    """The first of each line, then the second of each, down to a depth."""
    return filter(None, chain.from_iterable(zip_longest(*[islice(line, depth) for line in lines])))
