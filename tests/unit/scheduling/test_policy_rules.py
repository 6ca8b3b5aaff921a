"""The promises of the policy, one by one, on the smallest case that shows each."""

from __future__ import annotations

from datetime import timedelta

import pytest

from corral.cluster.values import QueueOrder
from corral.scheduling.policy import decide
from corral.scheduling.values import (
    DurationKey,
    FairShare,
    Gate,
    PolicyBounds,
    Priority,
    Queue,
    Rule,
    Share,
    TaskClass,
    Turn,
)
from doubles.scheduling_values import (
    NOW,
    a_place,
    a_queued,
    a_resident,
    a_running,
    a_snapshot,
    ago,
    gib,
    placed,
)


def first_of(*tasks, **changes):
    """The task that gets the only place."""
    (only,) = decide(a_snapshot(tasks, [a_place()], **changes)).assignments
    return only.task


def test_a_task_starts_on_a_free_slot():
    decision = decide(a_snapshot([a_queued(7)], [a_place()]))
    assert placed(decision) == {7: ("node/gpu0",)}
    assert dict(decision.waiting) == {}


def test_interactive_goes_before_batch_of_any_priority_and_age():
    old = a_queued(1, priority=Priority.CRITICAL, queued_at=ago(3000))
    new = a_queued(2, task_class=TaskClass.INTERACTIVE, priority=Priority.IDLE, queued_at=ago(1))
    assert first_of(old, new) == 2


def test_batch_that_waited_past_its_bound_goes_before_other_batch_tasks_of_higher_priority():
    overdue = a_queued(1, priority=Priority.IDLE, queued_at=ago(3601))
    urgent = a_queued(2, priority=Priority.CRITICAL, queued_at=ago(3599))
    assert first_of(urgent, overdue) == 1


def test_promoted_tasks_of_an_owner_go_oldest_first_whatever_their_priority():
    older = a_queued(2, priority=Priority.IDLE, queued_at=ago(7200))
    old = a_queued(1, priority=Priority.CRITICAL, queued_at=ago(3700))
    assert first_of(old, older) == 2


def test_between_owners_of_promoted_tasks_the_one_who_was_charged_less_goes_first():
    older = a_queued(2, queued_at=ago(7200), owner="zoe")
    assert first_of(a_queued(1, queued_at=ago(3700)), older, fair=FairShare(charged={"zoe": 500.0})) == 1


def test_a_night_of_promoted_tasks_does_not_keep_another_owner_out():
    night = [a_queued(n, owner="flood", queued_at=ago(9000 - n)) for n in range(1, 9)]
    new = a_queued(50, owner="small", priority=Priority.LOW, queued_at=ago(1))
    assert first_of(*night, new, fair=FairShare(charged={"flood": 30.0})) == 50
    assert first_of(*night, new, fair=FairShare(charged={"small": 30.0})) == 1


def test_an_owner_without_promoted_tasks_is_represented_by_the_highest_priority():
    night = a_queued(1, owner="flood", queued_at=ago(9000))
    low, high = (a_queued(n, owner="small", priority=Priority(n)) for n in (1, 3))
    assert first_of(night, low, high, fair=FairShare(charged={"flood": 30.0})) == 3


def test_a_promoted_task_goes_before_other_owners_of_higher_priority_when_its_turn_has_come():
    night = a_queued(1, owner="flood", priority=Priority.IDLE, queued_at=ago(9000))
    urgent = a_queued(2, owner="small", priority=Priority.CRITICAL)
    assert first_of(night, urgent, fair=FairShare(charged={"small": 30.0})) == 1


def test_promoted_and_interactive_tasks_take_turns():
    tasks = [a_queued(n, queued_at=ago(4000 - n)) for n in (1, 2)]
    tasks += [a_queued(n, task_class=TaskClass.INTERACTIVE) for n in (11, 12)]
    fair, order = FairShare(), []
    while tasks:
        decision = decide(a_snapshot(tasks, [a_place()], fair=fair))
        order.append(decision.assignments[0].task)
        tasks = [task for task in tasks if task.id != order[-1]]
        fair = decision.fair
    assert order == [11, 1, 12, 2]


def test_a_few_short_interactive_tasks_in_a_row_do_not_wait_for_promoted_ones():
    durations = {DurationKey("llama", None, "RTX 4090"): 12.0}
    tasks = [a_queued(n, queued_at=ago(4000)) for n in (1, 2)]
    tasks += [a_queued(n, task_class=TaskClass.INTERACTIVE) for n in (11, 12, 13, 14)]
    fair, order = FairShare(), []
    while tasks:
        decision = decide(a_snapshot(tasks, [a_place()], fair=fair, durations=durations))
        order.append(decision.assignments[0].task)
        tasks = [task for task in tasks if task.id != order[-1]]
        fair = decision.fair
    assert order == [11, 12, 13, 1, 14, 2]


def test_what_promoted_tasks_got_while_nobody_waited_is_no_debt_of_the_next_interactive_task():
    fair = FairShare(promoted_lead=-50.0)
    alone = decide(a_snapshot([a_queued(1, queued_at=ago(4000))], [a_place()], fair=fair)).fair
    assert alone.promoted_lead == 0.0
    tasks = a_queued(2, queued_at=ago(4000)), a_queued(3, task_class=TaskClass.INTERACTIVE)
    assert first_of(*tasks, fair=fair) == 2
    assert first_of(*tasks, fair=alone) == 3


def test_higher_priority_goes_first_inside_a_class():
    assert first_of(a_queued(1, queued_at=ago(99)), a_queued(2, priority=Priority.HIGH)) == 2


def test_a_fifo_queue_goes_by_age_alone():
    tasks = a_queued(1, queued_at=ago(99), owner="zoe"), a_queued(2, priority=Priority.HIGH)
    fifo = Queue(name="default", order=QueueOrder.FIFO)
    assert first_of(*tasks, queues=[fifo], fair=FairShare(charged={"zoe": 500.0})) == 1


def test_the_owner_who_was_charged_less_goes_first():
    tasks = a_queued(1, owner="ada", queued_at=ago(99)), a_queued(2, owner="bob")
    assert first_of(*tasks, fair=FairShare(charged={"ada": 60.0})) == 2


def test_age_decides_between_owners_with_equal_shares():
    assert first_of(a_queued(2, owner="bob", queued_at=ago(99)), a_queued(1, owner="ada")) == 2


def test_an_owner_who_was_away_brings_no_credit():
    fair = FairShare(virtual_time=1000.0, charged={"ada": 1001.0})
    order = []
    tasks = [a_queued(n, owner="ada") for n in (1, 2, 3)] + [
        a_queued(n, owner="new", queued_at=ago(1)) for n in (11, 12, 13)
    ]
    while tasks:
        decision = decide(a_snapshot(tasks, [a_place()], fair=fair))
        order.append(decision.assignments[0].task)
        tasks = [task for task in tasks if task.id != order[-1]]
        fair = decision.fair
    assert order == [11, 1, 12, 2, 13, 3]


def test_the_owner_is_charged_what_was_measured_for_each_slot():
    durations = {DurationKey("llama", None, "RTX 4090"): 12.0}
    places = [a_place("node/gpu0"), a_place("node/gpu1")]
    decision = decide(a_snapshot([a_queued(gpus=2)], places, durations=durations))
    assert decision.assignments[0].expected_s == 12.0
    assert decision.fair.charged == {"ada": 24.0}


def test_unmeasured_work_is_charged_the_default():
    decision = decide(a_snapshot([a_queued()], [a_place()], bounds=PolicyBounds(unknown_duration_s=45.0)))
    assert decision.assignments[0].expected_s == 45.0


def test_a_task_whose_model_is_resident_goes_first_inside_the_window():
    tasks = a_queued(1, model="b", queued_at=ago(99)), a_queued(2, model="a")
    place = a_place(resident=(a_resident("a"),))
    decision = decide(a_snapshot(tasks, [place]))
    assert placed(decision) == {2: ("node/gpu0",)}
    assert decision.waiting[1] is Rule.AFFINITY
    assert decision.passed_since == {1: NOW}


def test_a_task_beyond_the_window_does_not_pass():
    tasks = [a_queued(n, model="b", queued_at=ago(99)) for n in range(1, 5)] + [a_queued(9, model="a")]
    place = a_place(resident=(a_resident("a"),))
    assert placed(decide(a_snapshot(tasks, [place], bounds=PolicyBounds(affinity_window=3)))) == {1: ("node/gpu0",)}
    assert placed(decide(a_snapshot(tasks, [place], bounds=PolicyBounds(affinity_window=4)))) == {9: ("node/gpu0",)}


@pytest.mark.parametrize(("passed_for", "winner"), [(0, 2), (59, 2), (61, 1), (120, 1), (500, 1)])
def test_a_task_is_passed_over_only_while_the_other_ends_within_the_bound(passed_for, winner):
    tasks = a_queued(1, model="b", queued_at=ago(999)), a_queued(2, model="a")
    place = a_place(resident=(a_resident("a"),))
    decision = decide(a_snapshot(tasks, [place], passed_since={1: ago(passed_for)}))
    assert placed(decision) == {winner: ("node/gpu0",)}


def test_the_time_a_task_was_passed_over_is_counted_from_the_first_time():
    tasks = a_queued(1, model="b", queued_at=ago(99)), a_queued(2, model="a")
    decision = decide(a_snapshot(tasks, [a_place(resident=(a_resident("a"),))], passed_since={1: ago(30), 77: ago(5)}))
    assert decision.passed_since == {1: ago(30)}


@pytest.mark.parametrize(
    "change", [{"task_class": TaskClass.INTERACTIVE}, {"priority": Priority.HIGH}, {"queued_at": ago(4000)}]
)
def test_a_resident_model_does_not_pass_a_higher_class_or_priority_or_a_promoted_task(change):
    tasks = a_queued(1, **{"model": "b", "queued_at": ago(99), **change}), a_queued(2, model="a")
    assert placed(decide(a_snapshot(tasks, [a_place(resident=(a_resident("a"),))]))) == {1: ("node/gpu0",)}


def test_a_promoted_task_is_passed_by_promoted_ones_within_the_bound():
    tasks = a_queued(1, model="b", queued_at=ago(9000)), a_queued(2, model="a", queued_at=ago(8000))
    place = a_place(resident=(a_resident("a"),))
    assert placed(decide(a_snapshot(tasks, [place]))) == {2: ("node/gpu0",)}
    assert placed(decide(a_snapshot(tasks, [place], passed_since={1: ago(61)}))) == {1: ("node/gpu0",)}


def turn_of(model, seconds):
    """The place's turn began so many seconds ago."""
    return {"node/gpu0": Turn(engine="llama", model=model, since=ago(seconds))}


@pytest.mark.parametrize(("turn_began", "winner"), [(0, 2), (59, 2), (61, 1), (500, 1)])
def test_a_model_whose_turn_is_over_lets_the_next_in_line_have_the_slot_at_once(turn_began, winner):
    tasks = a_queued(1, model="b", queued_at=ago(99)), a_queued(2, model="a")
    decision = decide(a_snapshot(tasks, [a_place(resident=(a_resident("a"),))], turns=turn_of("a", turn_began)))
    assert placed(decision) == {winner: ("node/gpu0",)}


@pytest.mark.parametrize(("waited", "turn_began", "winner"), [(2000, 930, 2), (2000, 950, 1), (200, 61, 1)])
def test_turns_are_longer_where_everybody_waits_long(waited, turn_began, winner):
    tasks = a_queued(1, model="b", queued_at=ago(waited)), a_queued(2, model="a")
    decision = decide(a_snapshot(tasks, [a_place(resident=(a_resident("a"),))], turns=turn_of("a", turn_began)))
    assert placed(decision) == {winner: ("node/gpu0",)}


@pytest.mark.parametrize(("came_later", "ends_in", "winner"), [(60, 20, 2), (130, 20, 1), (60, 200, 1)])
def test_a_task_whose_model_is_on_a_slot_that_is_free_soon_waits_for_it(came_later, ends_in, winner):
    busy = a_running(model="b", expected_end=NOW + timedelta(seconds=ends_in))
    places = a_place(resident=(a_resident("a"),)), a_place("node/gpu1", running=busy)
    tasks = a_queued(1, model="b", queued_at=ago(200)), a_queued(2, model="a", queued_at=ago(200 - came_later))
    decision = decide(a_snapshot(tasks, places, turns=turn_of("a", 900)))
    assert placed(decision) == {winner: ("node/gpu0",)}


def test_a_turn_begins_when_a_model_is_loaded_and_goes_on_while_it_stays():
    place = a_place(resident=(a_resident("a"),))
    assert decide(a_snapshot([a_queued(model="b")], [place])).turns == turn_of("b", 0)
    assert decide(a_snapshot([a_queued(model="a")], [place], turns=turn_of("a", 70))).turns == turn_of("a", 70)


def test_a_task_that_needs_several_gpus_neither_passes_nor_is_passed():
    places = a_place("node/gpu0", resident=(a_resident("a"),)), a_place("node/gpu1", running=a_running())
    first, gang = a_queued(1, model="b", queued_at=ago(99)), a_queued(2, model="a", gpus=2, queued_at=ago(50))
    assert placed(decide(a_snapshot([first, gang, a_queued(3, model="a")], places))) == {1: ("node/gpu0",)}


def test_a_passed_task_takes_another_free_slot_at_once():
    tasks = a_queued(1, model="b", queued_at=ago(99)), a_queued(2, model="a")
    places = a_place("node/gpu0", resident=(a_resident("a"),)), a_place("node/gpu1", resident=(a_resident("c"),))
    decision = decide(a_snapshot(tasks, places))
    assert placed(decision) == {2: ("node/gpu0",), 1: ("node/gpu1",)}
    assert decision.passed_since == {}


def test_a_slot_with_no_model_is_taken_before_one_whose_model_would_be_lost():
    places = a_place("node/gpu0", resident=(a_resident("a", 8),)), a_place("node/gpu1")
    assert placed(decide(a_snapshot([a_queued(model="b", memory=gib(20))], places))) == {1: ("node/gpu1",)}


def test_a_task_goes_back_to_the_slot_of_its_lost_attempt():
    places = a_place("node/gpu0", resident=(a_resident("a"),)), a_place("node/gpu1")
    decision = decide(a_snapshot([a_queued(model="a", prefer_slot="node/gpu1")], places))
    assert placed(decision) == {1: ("node/gpu1",)}
    assert decision.assignments[0].because == "lost attempt ran here"


def test_a_task_goes_where_its_model_is_resident_before_where_it_is_fastest():
    places = (
        a_place("node/gpu0", device_model="fast"),
        a_place("node/gpu1", device_model="slow", resident=(a_resident("a"),)),
    )
    durations = {DurationKey("llama", "a", "fast"): 1.0, DurationKey("llama", "a", "slow"): 9.0}
    decision = decide(a_snapshot([a_queued(model="a")], places, durations=durations))
    assert (decision.assignments[0].places, decision.assignments[0].because) == (("node/gpu1",), "model resident")


def test_a_task_goes_where_it_was_measured_fastest():
    places = a_place("node/gpu0", device_model="slow"), a_place("node/gpu1", device_model="fast")
    durations = {DurationKey("llama", None, "fast"): 1.0, DurationKey("llama", None, "slow"): 9.0}
    decision = decide(a_snapshot([a_queued()], places, durations=durations))
    assert (decision.assignments[0].places, decision.assignments[0].because) == (("node/gpu1",), "fastest measured")


def test_a_task_goes_where_the_least_memory_is_left_over():
    places = a_place("node/gpu0", capacity=gib(24)), a_place("node/gpu1", capacity=gib(12))
    decision = decide(a_snapshot([a_queued(memory=gib(10))], places))
    assert (decision.assignments[0].places, decision.assignments[0].because) == (
        ("node/gpu1",),
        "least memory left over",
    )


def test_a_task_that_can_never_fit_says_so():
    assert decide(a_snapshot([a_queued(memory=gib(25))], [a_place()])).waiting == {1: Rule.NO_FIT}


def test_a_task_with_unknown_memory_fits_anywhere_and_so_does_any_on_an_unknown_device():
    assert placed(decide(a_snapshot([a_queued()], [a_place(capacity=gib(0))]))) == {1: ("node/gpu0",)}
    assert placed(decide(a_snapshot([a_queued(memory=gib(99))], [a_place(capacity=None)]))) == {1: ("node/gpu0",)}


def test_memory_of_busy_slots_on_the_same_device_counts():
    busy = a_place(
        "node/gpu0", device="card", running=a_running(model="a", memory=gib(10)), resident=(a_resident("a", 12),)
    )
    free = a_place("node/gpu0b", device="card")
    assert decide(a_snapshot([a_queued(memory=gib(13))], [busy, free])).waiting == {1: Rule.SLOTS_BUSY}
    assert placed(decide(a_snapshot([a_queued(memory=gib(12))], [busy, free]))) == {1: ("node/gpu0b",)}


def test_slots_of_one_device_given_in_one_decision_share_its_memory():
    places = a_place("node/gpu0", device="card"), a_place("node/gpu0b", device="card")
    decision = decide(a_snapshot([a_queued(1, memory=gib(13)), a_queued(2, memory=gib(13))], places))
    assert len(decision.assignments) == 1
    assert list(decision.waiting.values()) == [Rule.BEHIND_OTHERS]


def test_residents_are_given_up_only_as_far_as_needed():
    place = a_place(resident=(a_resident("big", 10), a_resident("small", 4), a_resident("b", 9)))
    decision = decide(a_snapshot([a_queued(model="b", memory=gib(11))], [place]))
    assert decision.assignments[0].evict == (("node/gpu0", a_resident("big", 10)),)


def test_residents_of_idle_neighbours_can_be_given_up_but_not_those_of_busy_ones():
    idle = a_place("node/gpu0", device="card", resident=(a_resident("a", 10),), engines=frozenset())
    free = a_place("node/gpu1", device="card")
    decision = decide(a_snapshot([a_queued(memory=gib(20))], [idle, free]))
    assert decision.assignments[0].evict == (("node/gpu0", a_resident("a", 10)),)


def test_slots_the_task_failed_on_are_avoided_while_another_is_open():
    other = a_place("node/gpu1", running=a_running())
    task = a_queued(avoid_slots=frozenset({"node/gpu0"}))
    assert decide(a_snapshot([task], [a_place("node/gpu0"), other])).waiting == {1: Rule.SLOTS_BUSY}


@pytest.mark.parametrize(
    "change",
    [{"engines": frozenset()}, {"capacity": gib(1)}, *({"gate": gate} for gate in Gate if gate is not Gate.OPEN)],
    ids=str,
)
def test_slots_the_task_failed_on_are_used_where_no_other_could_run_it(change):
    task = a_queued(avoid_slots=frozenset({"node/gpu0"}), memory=gib(8))
    places = a_place("node/gpu0"), a_place("node/gpu1", **change)
    assert placed(decide(a_snapshot([task], places))) == {1: ("node/gpu0",)}


@pytest.mark.parametrize("gate", list(Gate))
def test_slots_that_lack_what_the_task_needs_are_never_used(gate):
    task = a_queued(refused_slots=frozenset({"node/gpu0"}))
    decision = decide(a_snapshot([task], [a_place("node/gpu0"), a_place("node/gpu1", gate=gate)]))
    assert placed(decision) == ({1: ("node/gpu1",)} if gate is Gate.OPEN else {})


def test_a_paused_queue_starts_nothing():
    decision = decide(a_snapshot([a_queued()], [a_place()], [Queue(name="default", paused=True)]))
    assert decision.waiting == {1: Rule.QUEUE_PAUSED}


@pytest.mark.parametrize("gate", [Gate.PAUSED, Gate.DRAINING, Gate.UNHEALTHY])
def test_a_closed_slot_takes_nothing(gate):
    decision = decide(a_snapshot([a_queued()], [a_place(gate=gate)]))
    assert (decision.assignments, dict(decision.waiting)) == ((), {1: Rule.SLOTS_CLOSED})


def test_a_queue_uses_the_slots_of_its_pool_alone():
    queue = Queue(name="default", pool=frozenset({"node/gpu1"}))
    decision = decide(a_snapshot([a_queued(1), a_queued(2)], [a_place("node/gpu0"), a_place("node/gpu1")], [queue]))
    assert placed(decision) == {1: ("node/gpu1",)}
    assert decision.waiting[2] is Rule.BEHIND_OTHERS


def test_an_engine_that_runs_nowhere_is_named_as_the_reason():
    assert decide(a_snapshot([a_queued(engine="comfyui")], [a_place()])).waiting == {1: Rule.NO_ENGINE}


def test_an_owner_at_the_limit_waits_and_others_go():
    queue = Queue(name="default", max_running_per_owner=1)
    places = [a_place("node/gpu0", running=a_running(owner="ada")), a_place("node/gpu1"), a_place("node/gpu2")]
    tasks = a_queued(1, queued_at=ago(99)), a_queued(2, owner="bob"), a_queued(3, owner="bob")
    decision = decide(a_snapshot(tasks, places, [queue]))
    assert placed(decision) == {2: ("node/gpu1",)}
    assert dict(decision.waiting) == {1: Rule.OWNER_LIMIT, 3: Rule.OWNER_LIMIT}


def test_a_task_that_waits_for_another_engine_holds_nobody_up():
    comfyui = a_place("node/gpu1", engines=frozenset({"comfyui"}), running=a_running())
    tasks = [a_queued(n, engine="comfyui", queued_at=ago(99)) for n in range(1, 9)] + [a_queued(9)]
    decision = decide(a_snapshot(tasks, [a_place(), comfyui]))
    assert placed(decision) == {9: ("node/gpu0",)}
    assert decision.waiting[1] is Rule.SLOTS_BUSY


def test_when_no_slot_is_free_everything_waits_and_nothing_is_charged():
    snapshot = a_snapshot([a_queued(1), a_queued(2)], [a_place(running=a_running())], passed_since={1: ago(3)})
    decision = decide(snapshot)
    assert (decision.assignments, decision.fair, decision.passed_since) == ((), snapshot.fair, {1: ago(3)})
    assert dict(decision.waiting) == {1: Rule.SLOTS_BUSY, 2: Rule.SLOTS_BUSY}


def test_a_task_that_needs_several_gpus_gets_them_on_one_node():
    places = a_place("a/gpu0"), a_place("b/gpu0"), a_place("b/gpu1")
    assert placed(decide(a_snapshot([a_queued(gpus=2)], places))) == {1: ("b/gpu0", "b/gpu1")}


def test_a_task_that_needs_more_gpus_than_any_node_has_can_never_fit():
    places = a_place("a/gpu0"), a_place("b/gpu0")
    assert decide(a_snapshot([a_queued(gpus=2)], places)).waiting == {1: Rule.NO_FIT}


def reserving(*others, running=60.0):
    """A task that needs both GPUs of a node, one of which is busy; and others behind it."""
    ends = NOW + timedelta(seconds=running)
    places = a_place("node/gpu0"), a_place("node/gpu1", running=a_running(expected_end=ends))
    durations = {DurationKey("llama", "short", "RTX 4090"): 50.0, DurationKey("llama", "long", "RTX 4090"): 70.0}
    return decide(a_snapshot([a_queued(1, gpus=2, queued_at=ago(99)), *others], places, durations=durations))


def test_slots_are_reserved_for_a_task_that_needs_several_gpus():
    decision = reserving(a_queued(2, model="long"))
    assert decision.assignments == ()
    assert dict(decision.waiting) == {1: Rule.GATHERING, 2: Rule.RESERVED}


def test_a_short_task_backfills_around_a_reservation():
    assert placed(reserving(a_queued(2, model="long"), a_queued(3, model="short"))) == {3: ("node/gpu0",)}


def test_nothing_backfills_while_a_running_task_is_overdue():
    assert placed(reserving(a_queued(3, model="short"), running=-5.0)) == {}


def test_a_task_that_goes_first_takes_slots_before_they_are_reserved():
    assert placed(reserving(a_queued(2, model="long", priority=Priority.HIGH))) == {2: ("node/gpu0",)}


def test_a_slot_elsewhere_is_not_bound_by_a_reservation():
    soon = a_running(expected_end=NOW + timedelta(seconds=5))
    places = a_place("a/gpu0"), a_place("a/gpu1", running=soon), a_place("b/gpu0")
    tasks = a_queued(1, gpus=2, queued_at=ago(99)), a_queued(2)
    assert placed(decide(a_snapshot(tasks, places))) == {2: ("b/gpu0",)}


def test_the_last_of_three_slots_on_a_card_is_the_only_one_that_is_free_however_often_its_card_was_given_to():
    places = [a_place(f"node/gpu0/{name}", device="node/gpu0") for name in "abc"]
    tasks = [a_queued(1), a_queued(2, memory=gib(1)), a_queued(3)]
    reasons = [assignment.because for assignment in decide(a_snapshot(tasks, places)).assignments]
    assert reasons == ["first of alike slots", "first of alike slots", "only slot free"]


def test_a_whole_device_gives_up_a_model_that_was_measured_larger_than_what_is_left() -> None:
    place = a_place(capacity=gib(8), resident=(a_resident("large", 9), a_resident("small", 6)))

    (assignment,) = decide(a_snapshot([a_queued(model="large", memory=gib(6), share=Share.WHOLE)], [place])).assignments

    assert {resident.model for _, resident in assignment.evict} == {"large", "small"}
