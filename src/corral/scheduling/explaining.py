"""Why one task waits, in full: the rule in a sentence, every slot, and when it can start (`starting`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import ClassVar

from corral.engine_kinds import ENGINES
from corral.errors import CorralError, Kind, Problem
from corral.scheduling.affinity import find_patience
from corral.scheduling.policy import Outcome, list_usable_places, resolve
from corral.scheduling.room import Room
from corral.scheduling.starting import Turn, estimate_turns, list_open_gates
from corral.scheduling.values import (
    Assignment,
    Explanation,
    Gate,
    Place,
    QueuedTask,
    Rule,
    Share,
    Snapshot,
    name_work,
)
from corral.units import format_bytes, format_duration, list_some

NO_START = frozenset(
    {Rule.NO_ENGINE, Rule.MODEL_MISSING, Rule.NODE_MISSING, Rule.NO_FIT, Rule.QUEUE_PAUSED, Rule.SLOTS_CLOSED}
)
"""Rules that the end of other tasks does not lift; a person must."""


NO_SLOT = Problem(
    code="slots.none",
    what="this server has no slot, so nothing starts",
    hint="add this machine to `nodes` of the cluster file with an engine that is enabled, or an engine's instance by"
    " `url`, then run `corral reload`",
)
"""A server on which nothing can run."""


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
    explanation = _explain_wait(snapshot, task, outcome)
    slots = {place.name_for(task.engine): _explain_place(place, task, outcome) for place in outcome.room.places}
    return replace(explanation, slots=slots)


def explain_waits(snapshot: Snapshot, ids: Collection[int]) -> dict[int, Explanation]:
    """Explain why each of these tasks of the snapshot waits, without its slots: together for little more than one.

    Those that would start now are left out.
    """
    outcome = resolve(snapshot)
    starting = {assignment.task for assignment in outcome.assignments}
    waiting = [task for task in snapshot.tasks if task.id in ids and task.id not in starting]
    turns = estimate_turns(snapshot, waiting)
    return {task.id: _explain_wait(snapshot, task, outcome, turns) for task in waiting}


def _explain_wait(
    snapshot: Snapshot, task: QueuedTask, outcome: Outcome, turns: Mapping[int, Turn] | None = None
) -> Explanation:
    """Explain a wait; `turns` are those that are estimated already."""
    rule = outcome.find_rule(task)
    ahead, at = (None, None) if rule in NO_START else (turns or estimate_turns(snapshot, [task]))[task.id]
    return Explanation(
        task=task.id,
        rule=rule,
        summary=describe_rule(rule, snapshot, task, outcome),
        slots={},
        since=task.queued_at,
        may_start_at=at,
        ahead=ahead,
    )


def _explain_start(snapshot: Snapshot, task: QueuedTask, assignment: Assignment) -> Explanation:
    where = ", ".join(place.name_for(task.engine) for place in snapshot.places if place.id in assignment.places)
    return Explanation(
        task=task.id,
        rule=Rule.STARTING,
        summary=f"it starts now on {where} ({assignment.because})",
        slots={
            place.name_for(task.engine): "given to it now" if place.id in assignment.places else f"{where} was chosen"
            for place in snapshot.places
        },
        since=task.queued_at,
        may_start_at=snapshot.now,
    )


def _explain_place(place: Place, task: QueuedTask, outcome: Outcome) -> str:
    """Why one place is not given to the task now: what can never work first, then what passes."""
    room = outcome.room
    queue = room.queue(task.queue)
    if queue.pool is not None and not place.is_among(queue.pool, task.engine):
        return f"not in the pool of queue {task.queue}"
    if not place.is_on(task.node):
        return f"not on node {task.node}, where the task must run"
    if task.engine not in place.engines:
        return place.engine_problems.get(task.engine, f"engine {task.engine} is not on this slot")
    if not place.has_model(task.engine, task.model):
        return f"does not have {task.model}"
    if not room.can_ever_hold(place, task):
        has = f"{format_bytes(int(room.capacity(place)))}{_name_others(place)}"
        return f"needs {format_bytes(task.memory or 0)}, the device has {has}"
    if place.is_among(task.refused_slots, task.engine):
        return "lacks what this task needs"
    if place.id in room.find_avoided(task):
        return "the engine here failed this task before"
    gate = place.gate_for(task.engine)
    if gate is not Gate.OPEN:
        return f"{gate}: {place.gate_reason}" if place.gate_reason else str(gate)
    if not outcome.openings.list_open([place], task):
        return f"outside of its hours: {outcome.openings.describe_opening([place], task)}"
    return _explain_occupied(place, task, outcome) or _explain_held_back(place, task, outcome)


def _explain_occupied(place: Place, task: QueuedTask, outcome: Outcome) -> str | None:
    """Name the task that has the place, its processor or its memory."""
    room = outcome.room
    if place.id in room.lanes.shared and room.fits(place, task):
        return None
    if place.running:
        return f"runs {_describe_running(place, room)}{_describe_lack(place, task, room)}"
    given = next((assignment for assignment in outcome.assignments if place.id in assignment.places), None)
    if given is not None:
        return f"given to {name_work(given.task)} ({given.because}){_describe_lanes(place, room)}"
    return _explain_neighbour(place, task, outcome)


def _describe_running(place: Place, room: Room) -> str:
    running = place.running[0]
    whose = str(running)
    if running.expected_end is None:
        return f"{whose}, whose end is unknown{_describe_lanes(place, room)}"
    ending = format_duration(max(0.0, (running.expected_end - room.now).total_seconds()))
    return f"{whose}, expected to end in {ending}{_describe_lanes(place, room)}"


def _describe_lanes(place: Place, room: Room) -> str:
    """Say how many of its lanes a place has given away; nothing where it has one."""
    work = room.lanes.find_work(place)
    lanes = 1 if work is None else place.lanes_for(work[0])
    return f"; {room.lanes.count_taken(place)} of {lanes} lanes taken" if lanes > 1 else ""


def _describe_lack(place: Place, task: QueuedTask, room: Room) -> str:
    """Say that a free lane has too little memory for a task of the same model."""
    if place.id not in room.lanes.shared or not room.lanes.is_alike(place, task) or not room.can_compute(place, task):
        return ""
    return f", none for a task that needs {format_bytes(task.memory or 0)}"


def _explain_neighbour(place: Place, task: QueuedTask, outcome: Outcome) -> str | None:
    """Name what keeps an idle place's processor or memory from the task."""
    room = outcome.room
    alone = room.find_alone(place)
    if alone is not None:
        return f"{alone.name_for(alone.running[0].engine)} computes alone: {_describe_running(alone, room)}"
    by_place = {name: assignment.task for assignment in outcome.assignments for name in assignment.places}
    others = [other for other in room.list_side_by_side(place) if other.id != place.id]
    starting = next((name_work(by_place[other.id]) for other in others if other.id in by_place), None)
    if place.id in room.table.free and place.id not in room.free:
        return f"{starting} computes alone on its device now"
    if not room.can_compute(place, task):
        busy = next((other for other in others if other.running), None)
        if busy is not None:
            return f"free, but {_describe_solitude(task, place)}: {busy.name_for(busy.running[0].engine)} runs " + (
                _describe_running(busy, room)
            )
        return f"free, but {_describe_solitude(task, place)}: " + (
            "another slot of the device is held" if starting is None else f"{starting} starts there now"
        )
    if room.fits(place, task) and not room.can_hold(place, task):
        model, until = room.find_stay(place, task)
        left = format_duration((until - room.now).total_seconds())
        return f"free, but {model} stays for a person who used it just now, for {left} at most"
    if not room.can_hold(place, task):
        free = format_bytes(max(0, int(room.left(place))))
        return f"needs {format_bytes(task.memory or 0)}, busy slots of the device leave {free}"
    return None


def _describe_solitude(task: QueuedTask, place: Place) -> str:
    """Describe why the task computes alone."""
    if task.share is Share.MEMORY and task.engine not in place.exclusive:
        unknown = "memory it needs" if task.memory is None else "device's memory"
        return f"it computes alone as long as the {unknown} is unknown"
    return "it computes alone"


def _explain_held_back(place: Place, task: QueuedTask, outcome: Outcome) -> str:
    """Why a place that is free and fits, or has a lane that does, is not given."""
    room = outcome.room
    free = "a lane is free" if place.id in room.lanes.shared else "free"
    if room.queue(task.queue).paused:
        return f"{free}, but queue {task.queue} is paused"
    if room.is_limited(task):
        return f"{free}, but {task.owner} runs {room.count_running(task)} tasks of queue {task.queue}"
    if outcome.openings.waits_for_cheap(task):
        return f"{free}, but {outcome.openings.describe_cheap()}"
    if closing := outcome.openings.describe_closing(place, task):
        return f"{free}, but {closing}, and the task is expected to take longer"
    if task.gpus > 1:
        return f"{free}, but the task needs {task.gpus} slots of one node"
    rule = outcome.find_rule(task)
    if rule is Rule.PREFERRED_NODE:
        return f"{free}, but node {task.prefer_node}, which the task prefers, should have a slot soon enough"
    if rule is Rule.LANES_DRAIN and place.id in room.lanes.shared:
        return f"a lane is free, but a task that goes first needs the slot without them{_describe_lanes(place, room)}"
    ready_at = outcome.reservations.ready_at(place)
    if rule is Rule.FASTER_SOON:
        return f"{free}, but faster slots should have done all that waits before this one could finish the task"
    if ready_at is None:
        return f"{free}, but a task that goes first is considered for it"
    left = format_duration((ready_at - room.now).total_seconds())
    return f"reserved in {left} for a task that needs several GPUs, and this one is expected to take longer"


def describe_rule(rule: Rule, snapshot: Snapshot, task: QueuedTask, outcome: Outcome) -> str:
    """Describe what the rule means for this task; `outcome` is the decision that left it waiting."""
    match rule:
        case Rule.NO_ENGINE:
            return _describe_no_engine(snapshot, task)
        case Rule.MODEL_MISSING:
            return _describe_missing_model(snapshot, task, outcome)
        case Rule.NODE_MISSING:
            return _describe_missing_node(snapshot, task)
        case Rule.NO_FIT:
            return _describe_no_fit(task, outcome)
        case Rule.QUEUE_PAUSED:
            return f"queue {task.queue} is paused"
        case Rule.OWNER_LIMIT:
            return _describe_owner_limit(task, outcome)
        case Rule.CHEAP_HOURS:
            return outcome.openings.describe_cheap()
        case Rule.SLOTS_CLOSED:
            return _describe_closed(task, list_usable_places(task, outcome.room))
        case Rule.OUTSIDE_HOURS:
            return outcome.openings.describe_opening(list_open_gates(task, outcome.room), task)
        case Rule.CLOSES_SOON:
            return _describe_closing(task, outcome)
        case Rule.SLOTS_BUSY:
            return _describe_busy(task, outcome)
        case Rule.NODE_BUSY:
            return f"it must run on node {task.node}: {_describe_busy(task, outcome)}"
        case Rule.BEHIND_OTHERS:
            return f"{len(outcome.assignments)} tasks that go first take the slots that are free now"
        case Rule.RESERVED:
            return _describe_reserved(task, outcome)
        case Rule.GATHERING:
            return _describe_gathering(task, outcome)
        case Rule.AFFINITY:
            return _describe_affinity(snapshot, task, outcome)
        case Rule.LANES_DRAIN:
            return "lanes are free next to tasks of its model, but a task that goes first needs the slot without them"
        case Rule.FASTER_SOON:
            return "faster slots should have done all that waits before a slot that is free now could finish this task"
        case Rule.PREFERRED_NODE:
            return _describe_wish(task, outcome)
        case Rule.MODEL_STAYS:
            return _describe_stay(task, outcome)
        case Rule.STARTING:
            return "it starts now"


def _describe_missing_node(snapshot: Snapshot, task: QueuedTask) -> str:
    """Name the nodes that there are, or what the task's node lacks."""
    nodes = sorted({place.node for place in snapshot.places})
    if not nodes:
        return f"it must run on node {task.node}, and {_describe_no_slot()}"
    if task.node not in nodes:
        return f"it must run on node {task.node}, and no slot is on it (nodes with slots: {list_some(nodes)})"
    on_node = replace(snapshot, places=[place for place in snapshot.places if place.is_on(task.node)])
    return f"it must run on node {task.node}, where {_describe_no_engine(on_node, task)}"


def _describe_wish(task: QueuedTask, outcome: Outcome) -> str:
    left = format_duration((outcome.wishing[task.id] - outcome.room.now).total_seconds())
    return f"a slot elsewhere is free; node {task.prefer_node}, which it prefers, should have one for it in {left}"


def _describe_stay(task: QueuedTask, outcome: Outcome) -> str:
    room = outcome.room
    free = [place for place in list_usable_places(task, room) if not room.is_taken(place) and room.fits(place, task)]
    model, until = min((room.find_stay(place, task) for place in free), key=lambda stay: stay[1])
    left = format_duration((until - room.now).total_seconds())
    return f"{model} would have to be given up for it, and stays for a person who used it just now, for {left} at most"


def _describe_no_slot() -> str:
    return f"{NO_SLOT.what}: {NO_SLOT.hint}"


def _describe_no_engine(snapshot: Snapshot, task: QueuedTask) -> str:
    if not snapshot.places:
        return _describe_no_slot()
    problems = [place.engine_problems[task.engine] for place in snapshot.places if task.engine in place.engine_problems]
    because = f" ({list_some(sorted(set(problems)), separator='; ')})" if problems else ""
    return f"engine {task.engine} runs on none of the slots of queue {task.queue}{because}"


def _describe_missing_model(snapshot: Snapshot, task: QueuedTask, outcome: Outcome) -> str:
    """Name the slots that lack the model, and what would change that."""
    lacking = [place.name_for(task.engine) for place in outcome.room.list_without_model(task)]
    broken = sorted(
        f"{place.name_for(task.engine)} has it: {place.engine_problems[task.engine]}"
        for place in snapshot.places
        if task.engine in place.engine_problems and task.model in place.models.get(task.engine, ())
    )
    if broken:
        return f"{list_some(lacking)} lacks {task.model}, and {list_some(broken)}"
    kind = ENGINES.get(task.engine)
    bring = "install it on its server, or name one that `corral models list --on all` shows"
    if kind is not None and kind.hosts_models:
        bring = f"bring it there with `corral models pull {task.model} --on {lacking[0]}`"
    where = "the one slot" if len(lacking) == 1 else f"any of the {len(lacking)} slots"
    until = f"this task fails after {format_duration(snapshot.bounds.model_wait.total_seconds())} without it"
    return f"{task.model} is not on {where} where {task.engine} runs; {bring}; {until}"


def _describe_no_fit(task: QueuedTask, outcome: Outcome) -> str:
    room = outcome.room
    able = room.able(task)
    if all(place.is_among(task.refused_slots, task.engine) for place in able):
        verb = "lacks" if len(able) == 1 else "lack"
        return f"{_count_slots(len(able))} with engine {task.engine} that can work now {verb} what it needs"
    best = max(able, key=room.capacity)
    largest = room.capacity(best)
    slots = f"largest of its {len(able)} slots" if len(able) > 1 else "only slot for it"
    if task.memory is not None and task.memory > largest:
        need, most = format_bytes(task.memory), format_bytes(int(largest))
        return f"it needs {need} and the {slots} has {most}{_name_others(best)}"
    memory = f" with {format_bytes(task.memory)} on each" if task.memory is not None else ""
    return f"it needs {task.gpus} slots of one node{memory} and no node has as many"


def _name_others(place: Place) -> str:
    return f" next to {place.others}" if place.others else ""


def _describe_owner_limit(task: QueuedTask, outcome: Outcome) -> str:
    limit = outcome.room.queue(task.queue).max_running_per_owner
    running = outcome.room.count_running(task)
    return f"{task.owner} runs {running} of the {limit} tasks that queue {task.queue} allows per owner"


def _describe_closed(task: QueuedTask, places: list[Place]) -> str:
    shut = [place for place in places if place.gate_for(task.engine) is not Gate.OPEN]
    verb = "takes" if len(shut) == 1 else "take"
    gates = list_some(_describe_gate(place, task.engine) for place in shut)
    return f"{_count_slots(len(shut))} that could run it {verb} no new tasks ({gates})"


def _describe_gate(place: Place, engine: str) -> str:
    return f"{place.name_for(engine)} {place.gate_for(engine)}" + (
        f": {place.gate_reason}" if place.gate_reason else ""
    )


def _describe_closing(task: QueuedTask, outcome: Outcome) -> str:
    """Name what closes too soon, and what to do where no opening is long enough."""
    openings, places = outcome.openings, list_open_gates(task, outcome.room)
    within_hours = openings.list_open(places, task)
    lengths = [length for place in within_hours if (length := openings.find_length(place, task)) is not None]
    takes = (
        f"it is expected to take {format_duration(min(lengths).total_seconds())}"
        if lengths
        else ("nothing like it was measured yet")
    )
    if all(openings.find_start(place, task, outcome.room.now) is None for place in places):
        return f"{takes}, and no slot that could run it is open for as long: lengthen `hours`, or set `interrupt: true`"
    return f"{takes}, and {list_some(sorted({openings.describe_closing(place, task) for place in within_hours}))}"


def _describe_busy(task: QueuedTask, outcome: Outcome) -> str:
    room = outcome.room
    places = outcome.openings.list_open(list_open_gates(task, room), task)
    left = format_duration(min((room.ready_at(place, task) - room.now).total_seconds() for place in places))
    alone = next((place for place in places if place.id in room.free and not room.can_compute(place, task)), None)
    if alone is not None:
        return f"{_describe_solitude(task, alone)}, and what computes next to it is expected to end in {left}"
    if not all(map(room.is_taken, places)):
        return f"busy slots of the same devices leave less than the {format_bytes(task.memory or 0)} it needs"
    if len(places) == 1:
        return f"the one slot that could run it is busy and expected to be free in {left}"
    return f"the {len(places)} slots that could run it are busy; the first is expected to be free in {left}"


def _describe_reserved(task: QueuedTask, outcome: Outcome) -> str:
    holders = sorted(outcome.reservations.held)
    return f"the free slots that fit are kept for task {holders[0]}, and it is expected to take longer than they wait"


def _describe_gathering(task: QueuedTask, outcome: Outcome) -> str:
    held = outcome.reservations.held.get(task.id)
    if held is None:
        return f"it needs {task.gpus} slots of one node at once, and fewer are free"
    left = format_duration((held.ready_at - outcome.room.now).total_seconds())
    slots = list_some(outcome.room.table[place].name_for(task.engine) for place in held.places)
    return f"it needs {task.gpus} slots at once; {slots} are kept for it and expected to be free in {left}"


def _describe_affinity(snapshot: Snapshot, task: QueuedTask, outcome: Outcome) -> str:
    since = outcome.passed_since.get(task.id, snapshot.now)
    until = since + find_patience(task, snapshot.now, snapshot.bounds)
    left = format_duration(max(0.0, (until - snapshot.now).total_seconds()))
    return f"a task whose model is resident went first; this can last {left} more"


def _count_slots(number: int) -> str:
    return f"the {number} slots" if number != 1 else "the one slot"
