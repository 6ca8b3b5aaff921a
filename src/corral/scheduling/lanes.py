"""The lanes of places in one decision: who shares a place, and when its lanes are free again.

An engine that does several things at once has as many lanes on its place (`Place.lanes`). While a task has one of them,
the others go only to tasks of the same engine and model, which use what is in memory already: they take no more of it,
and they compute together by design. A task that needs several GPUs, or its device as a whole, shares with none.

So a place that is given away can still be had, by fewer tasks than before and by none that could not have had it: the
room shrinks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from math import inf
from typing import NamedTuple

from corral.scheduling.place_table import PlaceTable, Work
from corral.scheduling.values import Place, QueuedTask, RunningTask, Share
from corral.work import SlotId


class Given(NamedTuple):
    """A lane given away in this decision."""

    place: Place
    task: QueuedTask
    ends_at: datetime


class Lanes:
    """The lanes of one decision."""

    def __init__(self, table: PlaceTable) -> None:
        self.shared: dict[SlotId, Place] = dict(table.shared)
        """Free places of which tasks have a lane; the others are for tasks of their engine and model."""
        self._table = table
        self._given: dict[SlotId, list[Given]] = {}
        self._for_work: defaultdict[Work, list[Given]] = defaultdict(list)

    def is_given(self, place: SlotId) -> bool:
        """Whether a lane of the place was given away in this decision."""
        return place in self._given

    def given_for(self, work: Work) -> Sequence[Given]:
        """Lanes given away in this decision to work with a model, in order; it grows while the decision goes on."""
        return self._for_work[work]

    def find_work(self, place: Place) -> Work | None:
        """The engine and the model that a place works with; None where no lane is taken."""
        working = self._find_tasks(place)
        return (working[0].engine, working[0].model) if working else None

    def count_taken(self, place: Place) -> int:
        """How many lanes of the place are taken."""
        return len(place.running) + len(self._given.get(place.id, ()))

    def find_part_taken(self, place: Place) -> float:
        """The part of its lanes that a free place has given away, 0 to 1."""
        if place.id not in self.shared:
            return 0.0
        return self.count_taken(place) / place.lanes_for(self._find_tasks(place)[0].engine)

    def can_join(self, place: Place, task: QueuedTask, capacity: float) -> bool:
        """Whether a lane of a shared place suits the task, which takes no memory there that is not in use already."""
        return suits(place, task, self._find_tasks(place), capacity)

    def is_alike(self, place: Place, task: QueuedTask) -> bool:
        """Whether the task could share the place with those that have it now."""
        return are_alike(place, task, self._find_tasks(place))

    def list_ends(self, place: Place) -> list[datetime]:
        """When each of the lanes that are taken should be free."""
        ends = [self._table.ends_at(running) for running in place.running]
        ends += [given.ends_at for given in self._given.get(place.id, ())]
        return ends

    def find_end(self, place: Place, task: QueuedTask | None = None) -> datetime | None:
        """When the place should be free for the task, or wholly; None where it is so now."""
        ends = self.list_ends(place)
        if task is not None and ends and self.is_alike(place, task):
            return None if place.id in self.shared else min(ends)
        return max(ends, default=None)

    def take(self, given: Given) -> bool:
        """Give a lane away, and return whether others of the place can still be had."""
        place, task, _ = given
        self._given.setdefault(place.id, []).append(given)
        self._for_work[task.engine, task.model].append(given)
        is_left = self.is_alike(place, task) and self.count_taken(place) < place.lanes_for(task.engine)
        if is_left:
            self.shared[place.id] = place
        else:
            self.shared.pop(place.id, None)
        return is_left

    def find_free_by(self, work: Work, until: datetime) -> Iterator[Place]:
        """Places with a lane that works with a model and should be free by then; those of this decision last."""
        for by_end in self._table.busy.get(work, {}).values():
            for end, name, _ in by_end:
                if end > until:
                    break
                yield self._table[name]
        yield from (given.place for given in self._for_work.get(work, ()) if given.ends_at <= until)

    def close(self, is_open: Callable[[SlotId], bool]) -> None:
        """Leave out places that are outside of their hours."""
        for name in [name for name in self.shared if not is_open(name)]:
            del self.shared[name]

    def _find_tasks(self, place: Place) -> list[QueuedTask | RunningTask]:
        return [*place.running, *(given.task for given in self._given.get(place.id, ()))]


def suits(place: Place, task: QueuedTask, working: Sequence[QueuedTask | RunningTask], capacity: float) -> bool:
    """Whether a free lane next to these tasks suits another, which takes no memory that is not in use already."""
    if not are_alike(place, task, working):
        return False
    if capacity == inf or task.memory is None:
        return True
    resident = sum(
        held.memory or 0 for held in place.resident if (held.engine, held.model) == (task.engine, task.model)
    )
    return task.memory <= max(resident, *(other.memory or 0 for other in working))


def are_alike(place: Place, task: QueuedTask, working: Sequence[QueuedTask | RunningTask]) -> bool:
    """Whether a task could share the place with these, which have it now."""
    return bool(working) and all(may_share(place, task, other) for other in working)


def may_share(place: Place, task: QueuedTask, other: QueuedTask | RunningTask) -> bool:
    """Whether two tasks can have lanes of a place at the same time, as far as its memory is left aside."""
    return (
        (task.engine, task.model) == (other.engine, other.model)
        and place.lanes_for(task.engine) > 1
        and task.gpus == other.gpus == 1
        and Share.WHOLE not in (task.share, other.share)
    )
