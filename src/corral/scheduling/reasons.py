"""Which rule keeps a task waiting, from how a decision ended.

The rule is worked out when it is asked for: a decision may leave hundreds of tasks waiting of which nobody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cached_property

from corral.scheduling.room import Room, has_node_with
from corral.scheduling.values import Gate, QueuedTask, Rule, Slot


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


def rule_of(task: QueuedTask, room: Room, passed: frozenset[int]) -> Rule:
    """Name the rule that keeps a task waiting; `room` is how the decision left the slots."""
    impossible = _impossible(task, room)
    if impossible is not None:
        return impossible
    if room.is_limited(task):
        return Rule.OWNER_LIMIT
    usable = usable_slots(task, room)
    if not has_node_with((slot for slot in usable if slot.gate is Gate.OPEN), task.gpus):
        return Rule.SLOTS_CLOSED
    if task.gpus > 1:
        return Rule.GATHERING
    return _competition(task, [slot for slot in usable if slot.gate is Gate.OPEN], room, passed)


def usable_slots(task: QueuedTask, room: Room) -> list[Slot]:
    """Slots that could run the task if they were open and idle."""
    avoided = room.avoided(task)
    return [
        slot for slot in room.able(task.queue, task.engine) if slot.id not in avoided and room.fits_ever(slot, task)
    ]


def _impossible(task: QueuedTask, room: Room) -> Rule | None:
    """What no passing of time mends."""
    if room.queue(task.queue).paused:
        return Rule.QUEUE_PAUSED
    if not room.able(task.queue, task.engine):
        return Rule.NO_ENGINE
    if not has_node_with(usable_slots(task, room), task.gpus):
        return Rule.NO_FIT
    return None


def _competition(task: QueuedTask, slots: list[Slot], room: Room, passed: frozenset[int]) -> Rule:
    """Who has the slots that it could use."""
    if task.id in passed:
        return Rule.AFFINITY
    if any(slot.id in room.free and room.fits(slot, task) for slot in slots):
        return Rule.RESERVED
    if any(slot.running is None and slot.id not in room.free for slot in slots):
        return Rule.BEHIND_OTHERS
    return Rule.SLOTS_BUSY
