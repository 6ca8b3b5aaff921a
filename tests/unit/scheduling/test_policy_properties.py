"""What holds for every decision, whatever is queued and however the places are.

The checks here count memory and limits on their own, from the snapshot and the assignments in their order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from corral.cluster.values import QueueOrder
from corral.scheduling.place_table import PlaceTable
from corral.scheduling.policy import decide
from corral.scheduling.values import (
    Assignment,
    DurationKey,
    Gate,
    Place,
    Queue,
    QueuedTask,
    Rule,
    RunningTask,
    Share,
    Snapshot,
    TaskClass,
    find_share,
)
from doubles.chances import MANY
from doubles.scheduling_strategies import (
    ONE_GPU,
    snapshots,
    snapshots_on_processors,
    snapshots_with_lanes,
    snapshots_with_nodes,
)

ALL = st.one_of(snapshots(), snapshots_with_nodes(), snapshots_on_processors(), snapshots_with_lanes())
SHARED = st.one_of(snapshots_on_processors(), snapshots_with_lanes())


def queue_of(snapshot: Snapshot, task: QueuedTask) -> Queue:
    return snapshot.queues.get(task.queue, Queue(name=task.queue))


def tasks_of(snapshot: Snapshot) -> dict[int, QueuedTask]:
    return {task.id: task for task in snapshot.tasks}


def places_of(snapshot: Snapshot) -> dict[str, Place]:
    return {place.id: place for place in snapshot.places}


def held_on(place: Place, running: list[tuple[str, str | None, int | None]], evicted: set[tuple[str, str, str]]) -> int:
    """Bytes on one place: what stays resident, and what runs beyond the model that it runs on."""
    models: Counter[tuple[str, str | None]] = Counter()
    for engine, model, memory in running:
        models[engine, model] = max(models[engine, model], memory or 0)
    for resident in place.resident:
        if (place.id, resident.engine, resident.model) not in evicted:
            key = (resident.engine, resident.model)
            models[key] = max(models.get(key, 0), resident.memory or 0)
    return sum(models.values())


def held_on_device(snapshot: Snapshot, device: str, assignments: tuple[Assignment, ...]) -> int:
    """Bytes on a device when the assignments run."""
    tasks = tasks_of(snapshot)
    evicted = {
        (place, resident.engine, resident.model) for assignment in assignments for place, resident in assignment.evict
    }
    total = 0
    for place in snapshot.places:
        if place.device == device:
            on_place = [tasks[assignment.task] for assignment in assignments if place.id in assignment.places]
            running = [(task.engine, task.model, task.memory) for task in on_place]
            running += [(running.engine, running.model, running.memory) for running in place.running]
            total += held_on(place, running, evicted)
    return total


def count_running(snapshot: Snapshot, task: QueuedTask, assignments: tuple[Assignment, ...]) -> int:
    """Tasks of the same queue that the owner runs."""
    tasks = tasks_of(snapshot)
    running = {running.task: (running.queue, running.owner) for place in snapshot.places for running in place.running}
    running |= {
        assignment.task: (tasks[assignment.task].queue, tasks[assignment.task].owner) for assignment in assignments
    }
    return Counter(running.values())[task.queue, task.owner]


def is_limited(snapshot: Snapshot, task: QueuedTask, assignments: tuple[Assignment, ...]) -> bool:
    limit = queue_of(snapshot, task).max_running_per_owner
    return limit is not None and count_running(snapshot, task, assignments) >= limit


def may_use(snapshot: Snapshot, place: Place, task: QueuedTask) -> bool:
    """Whether the place is open, idle or with a lane, in the pool, on the task's node, and runs the engine."""
    pool = queue_of(snapshot, task).pool
    in_pool = pool is None or place.id in pool
    on_node = task.node in (None, place.node)
    has_room = not place.running or may_share(place, [*place.running, task])
    return place.gate is Gate.OPEN and has_room and in_pool and on_node and task.engine in place.engines


def may_share(place: Place, work: Sequence[QueuedTask | RunningTask]) -> bool:
    """Whether all of it can have lanes of one place at a time."""
    return (
        len(work) <= place.lanes.get(work[0].engine, 1)
        and len({(task.engine, task.model) for task in work}) == 1
        and all(task.gpus == 1 and task.share is not Share.WHOLE for task in work)
    )


@MANY
@given(ALL)
def test_no_slot_gets_more_tasks_than_lanes_or_two_models_and_no_task_starts_twice(snapshot):
    assignments, tasks = decide(snapshot).assignments, tasks_of(snapshot)
    for place in snapshot.places:
        started = [tasks[assignment.task] for assignment in assignments if place.id in assignment.places]
        if started:
            assert len(work := [*place.running, *started]) == 1 or may_share(place, work)
    assert len({assignment.task for assignment in assignments}) == len(assignments)


@MANY
@given(ALL)
def test_memory_is_never_overcommitted_on_a_device(snapshot):
    assignments = decide(snapshot).assignments
    places, tasks = places_of(snapshot), tasks_of(snapshot)
    for assignment in assignments:
        if tasks[assignment.task].memory is None:
            continue
        for place in map(places.__getitem__, assignment.places):
            if place.capacity is None:
                continue
            number = assignments.index(assignment)
            held = held_on_device(snapshot, place.device, assignments[: number + 1])
            if place.running or any(place.id in earlier.places for earlier in assignments[:number]):  # it has a lane
                assert held == held_on_device(snapshot, place.device, assignments[:number])
            else:
                assert held <= place.capacity


@MANY
@given(ALL)
def test_a_task_gets_only_slots_it_may_use_and_as_many_as_it_needs_on_one_node(snapshot):
    places, tasks = places_of(snapshot), tasks_of(snapshot)
    for assignment in decide(snapshot).assignments:
        task = tasks[assignment.task]
        assert not queue_of(snapshot, task).paused
        assert len(assignment.places) == task.gpus
        assert len({places[place].node for place in assignment.places}) == 1
        assert all(may_use(snapshot, places[place], task) for place in assignment.places)


@MANY
@given(ALL)
def test_only_residents_of_idle_slots_are_given_up_and_none_twice(snapshot):
    places = places_of(snapshot)
    decision = decide(snapshot)
    evicted = [
        (place, resident.engine, resident.model)
        for assignment in decision.assignments
        for place, resident in assignment.evict
    ]
    assert len(evicted) == len(set(evicted))
    for assignment in decision.assignments:
        for place, resident in assignment.evict:
            assert resident in places[place].resident
            assert not places[place].running
            assert places[place].device in {places[other].device for other in assignment.places}


@MANY
@given(ALL)
def test_an_owner_never_runs_more_than_the_queue_allows(snapshot):
    assignments, tasks = decide(snapshot).assignments, tasks_of(snapshot)
    for position, assignment in enumerate(assignments):
        assert not is_limited(snapshot, tasks[assignment.task], assignments[:position])


@MANY
@given(ALL)
def test_every_candidate_starts_or_has_a_rule(snapshot):
    decision = decide(snapshot)
    started = {assignment.task for assignment in decision.assignments}
    assert started | set(decision.waiting) == {task.id for task in snapshot.tasks}
    assert not started & set(decision.waiting)
    assert all(decision.waiting.values())


@MANY
@given(ALL, st.randoms(use_true_random=False))
def test_the_same_question_in_any_order_has_the_same_answer(snapshot, chance):
    tasks, places = list(snapshot.tasks), list(snapshot.places)
    chance.shuffle(tasks)
    chance.shuffle(places)
    assert decide(replace(snapshot, tasks=tuple(tasks), places=tuple(places))) == decide(snapshot)


@MANY
@given(SHARED)
def test_nothing_computes_next_to_a_task_that_computes_alone_but_in_lanes_of_its_slot(snapshot):
    computing: defaultdict[str | None, list[tuple[str, Share]]] = defaultdict(list)
    for place in snapshot.places:
        for running in place.running:
            computing[place.processor].append((place.id, find_share(running, place)))
    places, tasks = places_of(snapshot), tasks_of(snapshot)
    for assignment in decide(snapshot).assignments:
        for place in map(places.__getitem__, assignment.places):
            if place.processor is None:
                continue
            share = find_share(tasks[assignment.task], place)
            others = {other for id, other in computing[place.processor] if id != place.id}
            assert not others or {share, *others} == {Share.MEMORY}
            computing[place.processor].append((place.id, share))


@MANY
@given(SHARED)
def test_a_task_on_several_gpus_gets_processors_of_its_own_each(snapshot):
    places = places_of(snapshot)
    for assignment in decide(snapshot).assignments:
        processors = [places[place].processor for place in assignment.places if places[place].processor is not None]
        assert len(set(processors)) == len(processors)


@MANY
@given(SHARED)
def test_a_task_that_wants_the_whole_device_leaves_no_other_model_there(snapshot):
    places, tasks = places_of(snapshot), tasks_of(snapshot)
    decision = decide(snapshot)
    lost = {(place, resident) for assignment in decision.assignments for place, resident in assignment.evict}
    for assignment in decision.assignments:
        task = tasks[assignment.task]
        if task.share is Share.WHOLE:
            devices = {places[place].device for place in assignment.places}
            for place in snapshot.places:
                if place.device in devices and place.gate is not Gate.UNHEALTHY:
                    kept = [resident for resident in place.resident if (place.id, resident) not in lost]
                    assert all((held.engine, held.model) == (task.engine, task.model) for held in kept)


@MANY
@given(SHARED)
def test_nothing_waits_for_a_busy_slot_while_one_could_have_it(snapshot):
    """Whatever shares a processor: a task that is told that all is busy finds no free place that holds it."""
    decision, places = decide(snapshot), list(snapshot.places)
    for number, rule in decision.waiting.items():
        if rule is Rule.SLOTS_BUSY:
            task = tasks_of(snapshot)[number]
            assert not any(could_have(snapshot, task, place, decision.assignments) for place in places)


@MANY
@given(SHARED, SHARED)
def test_a_table_that_was_kept_and_changed_knows_what_computes_as_one_made_anew(before, after):
    table = PlaceTable(before.places, unknown_s=after.bounds.unknown_duration_s)
    decide(replace(before, places=table, bounds=after.bounds))
    table.replace(after.places)
    assert decide(replace(after, places=table)) == decide(after)


@MANY
@given(snapshots(gpus=ONE_GPU))
def test_no_task_past_its_bound_waits_while_a_slot_it_fits_is_given_to_a_lower_one(snapshot):
    assert_nobody_is_overtaken(snapshot, [task for task in snapshot.tasks if is_promoted(snapshot, task)])


@MANY
@given(snapshots(gpus=ONE_GPU))
def test_no_interactive_task_waits_while_a_slot_it_fits_is_given_to_a_batch_task(snapshot):
    assert_nobody_is_overtaken(snapshot, [task for task in snapshot.tasks if task.task_class is TaskClass.INTERACTIVE])


def is_promoted(snapshot: Snapshot, task: QueuedTask) -> bool:
    bound = snapshot.now - snapshot.bounds.promote_after
    return task.task_class is TaskClass.BATCH and task.queued_at < bound


def line_of(snapshot: Snapshot, task: QueuedTask) -> tuple[bool, str]:
    """Whose share a task takes: its owner's, or that of its queue where the order is fifo."""
    by_age = queue_of(snapshot, task).order is QueueOrder.FIFO
    return by_age, task.queue if by_age else task.owner


def is_lower(snapshot: Snapshot, other: QueuedTask, task: QueuedTask) -> bool:
    """Whether the other must not go first: batch within its bound; for a promoted task, what stands in its own line.

    Between owners fair share decides, and what is promoted too and came later may go first for its model's sake.
    """
    if other.task_class is TaskClass.INTERACTIVE:
        return False
    if task.task_class is TaskClass.INTERACTIVE:
        return not is_promoted(snapshot, other)
    if line_of(snapshot, other) != line_of(snapshot, task):
        return False
    return not is_promoted(snapshot, other) or (other.queued_at, other.id) > (task.queued_at, task.id)


def assert_nobody_is_overtaken(snapshot: Snapshot, entitled: list[QueuedTask]) -> None:
    decision, tasks, places = decide(snapshot), tasks_of(snapshot), places_of(snapshot)
    for position, assignment in enumerate(decision.assignments):
        place, before = places[assignment.places[0]], decision.assignments[:position]
        for task in entitled:
            if is_promoted(snapshot, tasks[assignment.task]) and has_its_model(place, tasks[assignment.task]):
                continue
            if is_slow_for(snapshot, place, task):
                continue
            if task.id in decision.waiting and is_lower(snapshot, tasks[assignment.task], task):
                assert not could_have(snapshot, task, place, before)


def is_slow_for(snapshot: Snapshot, place: Place, task: QueuedTask) -> bool:
    """Whether the task may wait for a place that was measured to be faster."""
    measured = {
        device_model: snapshot.durations.get(DurationKey(task.engine, task.model, device_model))
        for device_model in ("fast", "slow")
    }
    here = measured.pop(place.device_model)
    (there,) = measured.values()
    return here is not None and there is not None and there < here


def has_its_model(place: Place, task: QueuedTask) -> bool:
    """Whether the task may go first for its model's sake."""
    return any((resident.engine, resident.model) == (task.engine, task.model) for resident in place.resident)


def may_compute(snapshot: Snapshot, task: QueuedTask, place: Place, before: tuple[Assignment, ...]) -> bool:
    """Whether what computes on the place's processor after these assignments leaves it to the task."""
    if place.processor is None:
        return True
    shares: list[Share] = []
    for other in snapshot.places:
        if other.processor == place.processor and other.id != place.id:
            started = [tasks_of(snapshot)[a.task] for a in before if other.id in a.places]
            work = [*started, *other.running]
            shares += [find_share(running, other) for running in work]
            if other.gate is Gate.UNHEALTHY:
                shares.append(Share.MEMORY)
    return not shares or {find_share(task, place), *shares} == {Share.MEMORY}


def could_have(snapshot: Snapshot, task: QueuedTask, place: Place, before: tuple[Assignment, ...]) -> bool:
    """Whether the place could have been given to the task after these assignments, avoided places left aside."""
    if queue_of(snapshot, task).paused or not may_use(snapshot, place, task) or place.id in task.avoid_slots:
        return False
    given_here = [tasks_of(snapshot)[assignment.task] for assignment in before if place.id in assignment.places]
    working = [*place.running, *given_here]
    if working and not may_share(place, [*working, task]):
        return False
    if is_limited(snapshot, task, before) or not may_compute(snapshot, task, place, before):
        return False
    if task.memory is None or place.capacity is None:
        return True
    if working:
        own = [held.memory or 0 for held in place.resident if (held.engine, held.model) == (task.engine, task.model)]
        return task.memory <= max([sum(own), *(work.memory or 0 for work in working)])
    taken = {name for assignment in before for name in assignment.places}
    yields = [s for s in snapshot.places if not s.running and s.gate is not Gate.UNHEALTHY and s.id not in taken]
    bare = replace(snapshot, places=tuple(replace(s, resident=()) if s in yields else s for s in snapshot.places))
    return held_on_device(bare, place.device, before) + task.memory <= place.capacity
