"""Why one task waits, in full: the rule in a sentence (`sentences`), every slot, and when it may start (`forecast`)."""

from __future__ import annotations

from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.scheduling.forecast import may_start_at
from corral.scheduling.policy import Outcome, resolve
from corral.scheduling.sentences import sentence
from corral.scheduling.values import (
    Assignment,
    Explanation,
    Gate,
    QueuedTask,
    Rule,
    Slot,
    Snapshot,
)
from corral.units import format_bytes, format_duration

_NO_START = frozenset({Rule.NO_ENGINE, Rule.NO_FIT, Rule.QUEUE_PAUSED, Rule.SLOTS_CLOSED})
"""Rules that the end of other tasks does not lift; a person must."""


class NotQueuedError(CorralError):
    """The task to explain is not among the queued ones."""

    code: ClassVar[str] = "scheduling.not_queued"
    kind: ClassVar[Kind] = Kind.MISSING


def explain(snapshot: Snapshot, task_id: int) -> Explanation:
    """Say why a task of the snapshot waits; `Rule.STARTING` when it would start now.

    Raises: NotQueuedError when the snapshot does not hold the task.
    """
    task = next((each for each in snapshot.tasks if each.id == task_id), None)
    if task is None:
        raise NotQueuedError(
            f"task {task_id} is not among the {len(snapshot.tasks)} queued tasks that were looked at",
            hint=f"look at its state: corral tasks show {task_id}",
        )
    outcome = resolve(snapshot)
    mine = next((each for each in outcome.assignments if each.task == task_id), None)
    if mine is not None:
        return _starting(snapshot, task, mine)
    rule = outcome.rule_of(task)
    return Explanation(
        task=task_id,
        rule=rule,
        summary=sentence(rule, snapshot, task, outcome),
        slots={slot.id: _why_not(slot, task, outcome) for slot in outcome.room.slots},
        since=task.queued_at,
        may_start_at=None if rule in _NO_START else may_start_at(snapshot, task),
    )


def _starting(snapshot: Snapshot, task: QueuedTask, mine: Assignment) -> Explanation:
    where = ", ".join(mine.slots)
    return Explanation(
        task=task.id,
        rule=Rule.STARTING,
        summary=f"it starts now on {where} ({mine.because})",
        slots={
            slot.id: "given to it now" if slot.id in mine.slots else f"{where} was chosen" for slot in snapshot.slots
        },
        since=task.queued_at,
        may_start_at=snapshot.now,
    )


def _why_not(slot: Slot, task: QueuedTask, outcome: Outcome) -> str:
    """Why one slot is not given to the task now: what can never work first, then what passes."""
    room = outcome.room
    queue = room.queue(task.queue)
    if queue.slots is not None and slot.id not in queue.slots:
        return f"not in the pool of queue {task.queue}"
    if task.engine not in slot.engines:
        return slot.engine_problems.get(task.engine, f"engine {task.engine} is not on this slot")
    if not room.fits_ever(slot, task):
        return f"needs {format_bytes(task.memory or 0)}, the device has {format_bytes(int(room.capacity(slot)))}"
    if slot.id in room.avoided(task):
        return "the engine here failed this task before"
    if slot.gate is not Gate.OPEN:
        return f"{slot.gate}: {slot.gate_reason}" if slot.gate_reason else str(slot.gate)
    return _occupied(slot, task, outcome) or _held_back(slot, task, outcome)


def _occupied(slot: Slot, task: QueuedTask, outcome: Outcome) -> str | None:
    """Who has the slot or its memory."""
    room = outcome.room
    if slot.running is not None:
        ending = format_duration((room.ends_at(slot) - room.now).total_seconds())
        return f"runs task {slot.running.task} of {slot.running.owner}, expected to end in {ending}"
    given = next((each for each in outcome.assignments if slot.id in each.slots), None)
    if given is not None:
        return f"given to task {given.task} ({given.because})"
    if not room.fits(slot, task):
        free = format_bytes(max(0, int(room.left(slot))))
        return f"needs {format_bytes(task.memory or 0)}, busy slots of the device leave {free}"
    return None


def _held_back(slot: Slot, task: QueuedTask, outcome: Outcome) -> str:
    """Why a slot that is free and fits is not given."""
    room = outcome.room
    if room.queue(task.queue).paused:
        return f"free, but queue {task.queue} is paused"
    if room.is_limited(task):
        return f"free, but {task.owner} runs {room.running(task)} tasks of queue {task.queue}"
    if task.gpus > 1:
        return f"free, but the task needs {task.gpus} slots of one node"
    ready_at = outcome.reservations.ready_at(slot)
    if outcome.rule_of(task) is Rule.FASTER_SOON:
        return "free, but faster slots should have done all that waits before this one could finish the task"
    if ready_at is None:
        return "free, but a task that goes first is considered for it"
    left = format_duration((ready_at - room.now).total_seconds())
    return f"reserved in {left} for a task that needs several GPUs, and this one is expected to take longer"
