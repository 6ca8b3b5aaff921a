"""One sentence for the rule that keeps a task waiting, with the values seen: lower case, without a final period."""

from __future__ import annotations

from collections.abc import Iterable

from corral.scheduling.affinity import patience_of
from corral.scheduling.policy import Outcome
from corral.scheduling.reasons import usable_slots
from corral.scheduling.values import Gate, QueuedTask, Rule, Slot, Snapshot
from corral.units import format_bytes, format_duration


def sentence(rule: Rule, snapshot: Snapshot, task: QueuedTask, outcome: Outcome) -> str:
    """Say what the rule means for this task; `outcome` is the decision that left it waiting."""
    match rule:
        case Rule.NO_ENGINE:
            return _no_engine(snapshot, task)
        case Rule.NO_FIT:
            return _no_fit(task, outcome)
        case Rule.QUEUE_PAUSED:
            return f"queue {task.queue} is paused"
        case Rule.OWNER_LIMIT:
            return _owner_limit(task, outcome)
        case Rule.SLOTS_CLOSED:
            return _closed(usable_slots(task, outcome.room))
        case Rule.SLOTS_BUSY:
            return _busy(task, outcome)
        case Rule.BEHIND_OTHERS:
            return f"{len(outcome.assignments)} tasks that go first take the slots that are free now"
        case Rule.RESERVED:
            return _reserved(task, outcome)
        case Rule.GATHERING:
            return _gathering(task, outcome)
        case Rule.AFFINITY:
            return _affinity(snapshot, task, outcome)
        case Rule.FASTER_SOON:
            return "faster slots should have done all that waits before a slot that is free now could finish this task"
        case Rule.STARTING:
            return "it starts now"


def _no_engine(snapshot: Snapshot, task: QueuedTask) -> str:
    problems = [slot.engine_problems[task.engine] for slot in snapshot.slots if task.engine in slot.engine_problems]
    because = f" ({'; '.join(sorted(set(problems)))})" if problems else ""
    return f"engine {task.engine} runs on none of the slots of queue {task.queue}{because}"


def _no_fit(task: QueuedTask, outcome: Outcome) -> str:
    room = outcome.room
    able = room.able(task.queue, task.engine)
    largest = max(room.capacity(slot) for slot in able)
    slots = f"largest of its {len(able)} slots" if len(able) > 1 else "only slot for it"
    if task.memory is not None and task.memory > largest:
        need, most = format_bytes(task.memory), format_bytes(int(largest))
        return f"it needs {need} and the {slots} has {most}"
    memory = f" with {format_bytes(task.memory)} on each" if task.memory is not None else ""
    return f"it needs {task.gpus} slots of one node{memory} and no node has as many"


def _owner_limit(task: QueuedTask, outcome: Outcome) -> str:
    limit = outcome.room.queue(task.queue).max_running_per_owner
    running = outcome.room.running(task)
    return f"{task.owner} runs {running} of the {limit} tasks that queue {task.queue} allows per owner"


def _closed(slots: list[Slot]) -> str:
    shut = [slot for slot in slots if slot.gate is not Gate.OPEN]
    verb = "takes" if len(shut) == 1 else "take"
    return f"{_slots(len(shut))} that could run it {verb} no new tasks ({_some(_state(slot) for slot in shut)})"


def _state(slot: Slot) -> str:
    return f"{slot.id} {slot.gate}" + (f": {slot.gate_reason}" if slot.gate_reason else "")


def _busy(task: QueuedTask, outcome: Outcome) -> str:
    room = outcome.room
    slots = [slot for slot in usable_slots(task, room) if slot.gate is Gate.OPEN]
    left = format_duration(min((room.ends_at(slot) - room.now).total_seconds() for slot in slots))
    if any(slot.running is None for slot in slots):
        return f"busy slots of the same devices leave less than the {format_bytes(task.memory or 0)} it needs"
    if len(slots) == 1:
        return f"the one slot that could run it is busy and expected to be free in {left}"
    return f"the {len(slots)} slots that could run it are busy; the first is expected to be free in {left}"


def _reserved(task: QueuedTask, outcome: Outcome) -> str:
    holders = sorted(outcome.reservations.held)
    return f"the free slots that fit are kept for task {holders[0]}, and it is expected to take longer than they wait"


def _gathering(task: QueuedTask, outcome: Outcome) -> str:
    held = outcome.reservations.held.get(task.id)
    if held is None:
        return f"it needs {task.gpus} slots of one node at once, and fewer are free"
    left = format_duration((held.ready_at - outcome.room.now).total_seconds())
    return f"it needs {task.gpus} slots at once; {_some(held.slots)} are kept for it and expected to be free in {left}"


def _affinity(snapshot: Snapshot, task: QueuedTask, outcome: Outcome) -> str:
    since = outcome.passed_since.get(task.id, snapshot.now)
    until = since + patience_of(task, snapshot.now, snapshot.settings)
    left = format_duration(max(0.0, (until - snapshot.now).total_seconds()))
    return f"a task whose model is resident went first; this can last {left} more"


def _slots(number: int) -> str:
    return f"the {number} slots" if number != 1 else "the one slot"


def _some(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    every = list(names)
    shown = ", ".join(every[:3])
    return shown if len(every) <= 3 else f"{shown} and {len(every) - 3} more"
