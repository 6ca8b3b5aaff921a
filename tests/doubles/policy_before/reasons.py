"""Which rule keeps a task waiting, from how a decision ended.

The rule is worked out when it is asked for: a decision may leave hundreds of tasks waiting of which nobody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property

from corral.scheduling.values import Gate, Place, QueuedTask, Rule
from doubles.policy_before.floor import Floor, has_node_with


class Waiting(Mapping[int, Rule]):
    """The rule of every task left waiting, by task id, found on demand."""

    def __init__(
        self, tasks: Iterable[QueuedTask], started: Collection[int], rule_of: Callable[[QueuedTask], Rule]
    ) -> None:
        self._tasks = tasks
        self._started = started
        self._rule_of = rule_of

    @cached_property
    def _left(self) -> dict[int, QueuedTask]:
        return {task.id: task for task in self._tasks if task.id not in self._started}

    def __getitem__(self, task: int) -> Rule:
        return self._rule_of(self._left[task])

    def __iter__(self) -> Iterator[int]:
        return iter(self._left)

    def __len__(self) -> int:
        return len(self._left)

    def __repr__(self) -> str:
        return repr(dict(self))


def rule_of(task: QueuedTask, floor: Floor, passed: frozenset[int]) -> Rule:
    """Name the rule that keeps a task waiting; `floor` is how the decision left the places."""
    impossible = _impossible(task, floor)
    if impossible is not None:
        return impossible
    if floor.is_limited(task):
        return Rule.OWNER_LIMIT
    usable = usable_places(task, floor)
    if not has_node_with((place for place in usable if place.gate is Gate.OPEN), task.gpus):
        return Rule.SLOTS_CLOSED
    if task.gpus > 1:
        return Rule.GATHERING
    return _competition(task, [place for place in usable if place.gate is Gate.OPEN], floor, passed)


def usable_places(task: QueuedTask, floor: Floor) -> list[Place]:
    """Places that could run the task if they were open and idle."""
    avoided = floor.avoided(task)
    return [
        place
        for place in floor.able(task.queue, task.engine)
        if place.id not in avoided and floor.fits_ever(place, task)
    ]


def _impossible(task: QueuedTask, floor: Floor) -> Rule | None:
    """What no passing of time mends."""
    if floor.queue(task.queue).paused:
        return Rule.QUEUE_PAUSED
    if not floor.able(task.queue, task.engine):
        return Rule.NO_ENGINE
    if not has_node_with(usable_places(task, floor), task.gpus):
        return Rule.NO_FIT
    return None


def _competition(task: QueuedTask, places: list[Place], floor: Floor, passed: frozenset[int]) -> Rule:
    """Who has the places that it could use."""
    if task.id in passed:
        return Rule.AFFINITY
    if any(place.id in floor.free and floor.fits(place, task) for place in places):
        return Rule.RESERVED
    if any(not place.running and place.id not in floor.free for place in places):
        return Rule.BEHIND_OTHERS
    return Rule.SLOTS_BUSY
