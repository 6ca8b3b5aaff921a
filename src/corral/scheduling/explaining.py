"""Why one task waits, in full: the rule in a sentence (`sentences`), every slot, and when it can start (`forecast`)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import ClassVar

from corral.errors import CorralError, Kind
from corral.scheduling.affinity import find_patience
from corral.scheduling.durations import Expectations
from corral.scheduling.fairness import Account
from corral.scheduling.ordering import Line
from corral.scheduling.policy import Outcome, resolve, usable_slots
from corral.scheduling.reservation import group_by_node, take_side_by_side
from corral.scheduling.room import Room
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
from corral.work import SlotId

_NO_START = frozenset({Rule.NO_ENGINE, Rule.NO_FIT, Rule.QUEUE_PAUSED, Rule.SLOTS_CLOSED})
"""Rules that the end of other tasks does not lift; a person must."""


class NotQueuedError(CorralError):
    """The task to explain is not among the queued ones."""

    code: ClassVar[str] = "scheduling.not_queued"
    kind: ClassVar[Kind] = Kind.MISSING


def explain(snapshot: Snapshot, task_id: int) -> Explanation:
    """Explain why a task of the snapshot waits; `Rule.STARTING` when it would start now.

    Raises: NotQueuedError when the snapshot does not hold the task.
    """
    task = next((queued for queued in snapshot.tasks if queued.id == task_id), None)
    if task is None:
        raise NotQueuedError(
            f"task {task_id} is not among the {len(snapshot.tasks)} queued tasks that were looked at",
            hint=f"look at its state: corral tasks show {task_id}",
        )
    outcome = resolve(snapshot)
    start = next((queued for queued in outcome.assignments if queued.task == task_id), None)
    if start is not None:
        return _explain_start(snapshot, task, start)
    rule = outcome.find_rule(task)
    return Explanation(
        task=task_id,
        rule=rule,
        summary=describe_rule(rule, snapshot, task, outcome),
        slots={slot.name_for(task.engine): _explain_slot(slot, task, outcome) for slot in outcome.room.slots},
        since=task.queued_at,
        may_start_at=None if rule in _NO_START else estimate_start(snapshot, task),
    )


def _explain_start(snapshot: Snapshot, task: QueuedTask, mine: Assignment) -> Explanation:
    where = ", ".join(slot.name_for(task.engine) for slot in snapshot.slots if slot.id in mine.slots)
    return Explanation(
        task=task.id,
        rule=Rule.STARTING,
        summary=f"it starts now on {where} ({mine.because})",
        slots={
            slot.name_for(task.engine): "given to it now" if slot.id in mine.slots else f"{where} was chosen"
            for slot in snapshot.slots
        },
        since=task.queued_at,
        may_start_at=snapshot.now,
    )


def _explain_slot(slot: Slot, task: QueuedTask, outcome: Outcome) -> str:
    """Why one slot is not given to the task now: what can never work first, then what passes."""
    room = outcome.room
    queue = room.queue(task.queue)
    if queue.slots is not None and not slot.is_among(queue.slots, task.engine):
        return f"not in the pool of queue {task.queue}"
    if task.engine not in slot.engines:
        return slot.engine_problems.get(task.engine, f"engine {task.engine} is not on this slot")
    if not room.can_ever_hold(slot, task):
        return f"needs {format_bytes(task.memory or 0)}, the device has {format_bytes(int(room.capacity(slot)))}"
    if slot.id in room.find_avoided(task):
        return "the engine here failed this task before"
    gate = slot.gate_for(task.engine)
    if gate is not Gate.OPEN:
        return f"{gate}: {slot.gate_reason}" if slot.gate_reason else str(gate)
    return _explain_occupied(slot, task, outcome) or _explain_held_back(slot, task, outcome)


def _explain_occupied(slot: Slot, task: QueuedTask, outcome: Outcome) -> str | None:
    """Name the task that has the slot or its memory."""
    room = outcome.room
    if slot.running is not None:
        ending = format_duration((room.ends_at(slot) - room.now).total_seconds())
        return f"runs task {slot.running.task} of {slot.running.owner}, expected to end in {ending}"
    given = next((assignment for assignment in outcome.assignments if slot.id in assignment.slots), None)
    if given is not None:
        return f"given to task {given.task} ({given.because})"
    if not room.can_hold(slot, task):
        free = format_bytes(max(0, int(room.left(slot))))
        return f"needs {format_bytes(task.memory or 0)}, busy slots of the device leave {free}"
    return None


def _explain_held_back(slot: Slot, task: QueuedTask, outcome: Outcome) -> str:
    """Why a slot that is free and fits is not given."""
    room = outcome.room
    if room.queue(task.queue).paused:
        return f"free, but queue {task.queue} is paused"
    if room.is_limited(task):
        return f"free, but {task.owner} runs {room.count_running(task)} tasks of queue {task.queue}"
    if task.gpus > 1:
        return f"free, but the task needs {task.gpus} slots of one node"
    ready_at = outcome.reservations.ready_at(slot)
    if outcome.find_rule(task) is Rule.FASTER_SOON:
        return "free, but faster slots should have done all that waits before this one could finish the task"
    if ready_at is None:
        return "free, but a task that goes first is considered for it"
    left = format_duration((ready_at - room.now).total_seconds())
    return f"reserved in {left} for a task that needs several GPUs, and this one is expected to take longer"


def describe_rule(rule: Rule, snapshot: Snapshot, task: QueuedTask, outcome: Outcome) -> str:
    """Describe what the rule means for this task; `outcome` is the decision that left it waiting."""
    match rule:
        case Rule.NO_ENGINE:
            return _describe_no_engine(snapshot, task)
        case Rule.NO_FIT:
            return _describe_no_fit(task, outcome)
        case Rule.QUEUE_PAUSED:
            return f"queue {task.queue} is paused"
        case Rule.OWNER_LIMIT:
            return _describe_owner_limit(task, outcome)
        case Rule.SLOTS_CLOSED:
            return _describe_closed(task, usable_slots(task, outcome.room))
        case Rule.SLOTS_BUSY:
            return _describe_busy(task, outcome)
        case Rule.BEHIND_OTHERS:
            return f"{len(outcome.assignments)} tasks that go first take the slots that are free now"
        case Rule.RESERVED:
            return _describe_reserved(task, outcome)
        case Rule.GATHERING:
            return _describe_gathering(task, outcome)
        case Rule.AFFINITY:
            return _describe_affinity(snapshot, task, outcome)
        case Rule.FASTER_SOON:
            return "faster slots should have done all that waits before a slot that is free now could finish this task"
        case Rule.STARTING:
            return "it starts now"


def _describe_no_engine(snapshot: Snapshot, task: QueuedTask) -> str:
    problems = [slot.engine_problems[task.engine] for slot in snapshot.slots if task.engine in slot.engine_problems]
    because = f" ({'; '.join(sorted(set(problems)))})" if problems else ""
    return f"engine {task.engine} runs on none of the slots of queue {task.queue}{because}"


def _describe_no_fit(task: QueuedTask, outcome: Outcome) -> str:
    room = outcome.room
    able = room.able(task.queue, task.engine)
    largest = max(room.capacity(slot) for slot in able)
    slots = f"largest of its {len(able)} slots" if len(able) > 1 else "only slot for it"
    if task.memory is not None and task.memory > largest:
        need, most = format_bytes(task.memory), format_bytes(int(largest))
        return f"it needs {need} and the {slots} has {most}"
    memory = f" with {format_bytes(task.memory)} on each" if task.memory is not None else ""
    return f"it needs {task.gpus} slots of one node{memory} and no node has as many"


def _describe_owner_limit(task: QueuedTask, outcome: Outcome) -> str:
    limit = outcome.room.queue(task.queue).max_running_per_owner
    running = outcome.room.count_running(task)
    return f"{task.owner} runs {running} of the {limit} tasks that queue {task.queue} allows per owner"


def _describe_closed(task: QueuedTask, slots: list[Slot]) -> str:
    shut = [slot for slot in slots if slot.gate_for(task.engine) is not Gate.OPEN]
    verb = "takes" if len(shut) == 1 else "take"
    gates = _list_some(_describe_gate(slot, task.engine) for slot in shut)
    return f"{_count_slots(len(shut))} that could run it {verb} no new tasks ({gates})"


def _describe_gate(slot: Slot, engine: str) -> str:
    return f"{slot.name_for(engine)} {slot.gate_for(engine)}" + (f": {slot.gate_reason}" if slot.gate_reason else "")


def _describe_busy(task: QueuedTask, outcome: Outcome) -> str:
    room = outcome.room
    slots = [slot for slot in usable_slots(task, room) if slot.gate_for(task.engine) is Gate.OPEN]
    left = format_duration(min((room.ends_at(slot) - room.now).total_seconds() for slot in slots))
    if any(slot.running is None for slot in slots):
        return f"busy slots of the same devices leave less than the {format_bytes(task.memory or 0)} it needs"
    if len(slots) == 1:
        return f"the one slot that could run it is busy and expected to be free in {left}"
    return f"the {len(slots)} slots that could run it are busy; the first is expected to be free in {left}"


def _describe_reserved(task: QueuedTask, outcome: Outcome) -> str:
    holders = sorted(outcome.reservations.held)
    return f"the free slots that fit are kept for task {holders[0]}, and it is expected to take longer than they wait"


def _describe_gathering(task: QueuedTask, outcome: Outcome) -> str:
    held = outcome.reservations.held.get(task.id)
    if held is None:
        return f"it needs {task.gpus} slots of one node at once, and fewer are free"
    left = format_duration((held.ready_at - outcome.room.now).total_seconds())
    slots = _list_some(outcome.room.table[slot].name_for(task.engine) for slot in held.slots)
    return f"it needs {task.gpus} slots at once; {slots} are kept for it and expected to be free in {left}"


def _describe_affinity(snapshot: Snapshot, task: QueuedTask, outcome: Outcome) -> str:
    since = outcome.passed_since.get(task.id, snapshot.now)
    until = since + find_patience(task, snapshot.now, snapshot.settings)
    left = format_duration(max(0.0, (until - snapshot.now).total_seconds()))
    return f"a task whose model is resident went first; this can last {left} more"


def _count_slots(number: int) -> str:
    return f"the {number} slots" if number != 1 else "the one slot"


def _list_some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    every = list(names)
    shown = ", ".join(every[:3])
    return shown if len(every) <= 3 else f"{shown} and {len(every) - 3} more"


def estimate_start(snapshot: Snapshot, task: QueuedTask) -> datetime | None:
    """Estimate when the task starts, if nothing else arrives; None when nothing open could run it."""
    play = _Play(snapshot)
    line = Line(
        [queued for queued in snapshot.tasks if not play.room.queue(queued.queue).paused],
        account=Account(snapshot.fair),
        queues=snapshot.queues,
        settings=snapshot.settings,
        now=snapshot.now,
    )
    while (head := line.find_head()) is not None:
        slots = play.find_first_free(head)
        if head.id == task.id:
            return max(play.estimate_limit_end(head), *(play.ready[slot.id] for slot in slots)) if slots else None
        if slots:
            line.start(head, play.run(head, slots) * len(slots))
        else:
            line.remove(head)
    return None


class _Play:
    """The slots, and when each is free next."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.room = Room(snapshot)
        self._expectations = Expectations(snapshot.durations, snapshot.settings)
        self.ready: dict[SlotId, datetime] = {slot.id: self.room.ends_at(slot) for slot in self.room.slots}

    def find_first_free(self, task: QueuedTask) -> list[Slot]:
        """The slots of one node that the task could have first; empty when no node could give them."""
        open_slots = [slot for slot in usable_slots(task, self.room) if slot.gate_for(task.engine) is Gate.OPEN]
        in_time = sorted(open_slots, key=lambda slot: (self.ready[slot.id], slot.id))
        sets = [take_side_by_side(slots, task, self.room.capacity) for slots in group_by_node(in_time).values()]
        complete = [slots_of_node for slots_of_node in sets if slots_of_node]
        return min(complete, key=lambda slots_of_node: self.ready[slots_of_node[-1].id]) if complete else []

    def estimate_limit_end(self, task: QueuedTask) -> datetime:
        """When the owner's running tasks leave room for one more; now, unless a limit holds it."""
        room = self.room
        if not room.is_limited(task):
            return room.now
        ends = [
            room.ends_at(slot)
            for slot in room.slots
            if slot.running is not None and (slot.running.queue, slot.running.owner) == (task.queue, task.owner)
        ]
        return min(ends, default=room.now)

    def run(self, task: QueuedTask, slots: list[Slot]) -> float:
        """Let the task have the slots, and return its expected seconds."""
        seconds = max(self._expectations.of(task, slot.device_model) for slot in slots)
        end = max(self.ready[slot.id] for slot in slots) + timedelta(seconds=seconds)
        self.ready.update({slot.id: end for slot in slots})
        return seconds
