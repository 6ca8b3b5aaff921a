"""Lanes: several tasks of one engine and one model share a slot, and nobody waits for ever because of that."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from corral.scheduling.estimating import WaitingWork, estimate
from corral.scheduling.explaining import explain
from corral.scheduling.place_table import PlaceTable
from corral.scheduling.policy import decide
from corral.scheduling.simulator import simulate, summarise
from corral.scheduling.simulator.values import Load, Trace
from corral.scheduling.values import (
    DurationKey,
    PolicyBounds,
    Priority,
    ResidentModel,
    Rule,
    Share,
    TaskClass,
    Turn,
)
from doubles import traces
from doubles.scheduling_values import (
    NOW,
    PlayedQueue,
    a_place,
    a_queued,
    a_resident,
    a_running,
    a_snapshot,
    ago,
    gib,
    placed,
)

FOUR = {"llama": 4}
MEASURED = {DurationKey("llama", model, "RTX 4090"): 10.0 for model in ("a", "b", None)}


def after(seconds):
    return NOW + timedelta(seconds=seconds)


def a_lane(number, lane, ends_in=10, **changes):
    return a_running(number, lane=lane, expected_end=after(ends_in), **{"model": "a", "memory": gib(8), **changes})


def a_shared(taken, name="node/gpu0", ends_in=10, **changes):
    """A place with four lanes, so many of which work with model a."""
    running = tuple(a_lane(900 + lane, lane, ends_in) for lane in range(taken))
    return a_place(name, **{"lanes": FOUR, "running": running, "resident": (a_resident("a", 8),), **changes})


def queued(number, model="a", size=8, **changes):
    return a_queued(number, **{"model": model, "memory": gib(size), **changes})


def test_four_tasks_of_one_model_start_on_four_lanes_at_once_and_the_fifth_waits():
    decision = decide(a_snapshot([queued(number) for number in range(1, 6)], [a_place(lanes=FOUR)]))
    assert placed(decision) == dict.fromkeys(range(1, 5), ("node/gpu0",))
    assert dict(decision.waiting) == {5: Rule.BEHIND_OTHERS}


def test_a_slot_without_lanes_takes_one_task():
    assert placed(decide(a_snapshot([queued(1), queued(2)], [a_place()]))) == {1: ("node/gpu0",)}


def test_a_shared_slot_takes_no_other_model_before_all_its_lanes_are_free():
    snapshot = a_snapshot([queued(1, "b")], [a_shared(1)])
    decision = decide(snapshot)
    assert not decision.assignments
    assert dict(decision.waiting) == {1: Rule.SLOTS_BUSY}


def test_a_shared_slot_takes_no_other_engine():
    place = a_shared(1, engines=frozenset({"llama", "piper"}), lanes={"llama": 4, "piper": 4})
    assert not decide(a_snapshot([a_queued(1, engine="piper", model="a")], [place])).assignments


def test_a_lane_takes_no_memory_beyond_what_the_slots_model_holds():
    full = a_place("card/b", device="node/gpu0", running=a_running(1, model="x", memory=gib(16)))
    places = [a_shared(1), full]
    assert placed(decide(a_snapshot([queued(1)], places))) == {1: ("node/gpu0",)}
    assert placed(decide(a_snapshot([queued(1, size=9)], places))) == {}


def test_nothing_is_given_up_for_a_lane():
    idle = a_place("card/b", device="node/gpu0", resident=(a_resident("x", 16),))
    (assignment,) = decide(a_snapshot([queued(1)], [a_shared(1), idle])).assignments
    assert assignment.evict == ()


def test_tasks_of_unknown_memory_share_their_own_slot_and_nothing_else_of_the_device_computes():
    on_gpu = {"device": "gpu", "processor": "gpu", "lanes": FOUR}
    places = [a_place("node/a", **on_gpu), a_place("node/b", **on_gpu)]
    decision = decide(a_snapshot([a_queued(1, model="a"), a_queued(2, model="a"), queued(3, "b", size=1)], places))
    assert placed(decision) == {1: ("node/a",), 2: ("node/a",)}


def test_what_computes_alone_joins_no_lane_while_another_slot_of_the_device_computes():
    on_gpu = {"device": "gpu", "processor": "gpu"}
    busy = a_place("node/b", **on_gpu, running=a_running(7, model="b", memory=gib(1)))
    assert placed(decide(a_snapshot([queued(1)], [a_shared(1, **on_gpu), busy]))) == {1: ("node/gpu0",)}
    assert not decide(a_snapshot([queued(1, share=Share.ALONE)], [a_shared(1, **on_gpu), busy])).assignments


def test_a_task_that_wants_the_whole_device_or_several_shares_no_lane():
    places = [a_shared(1, "node/gpu0"), a_shared(1, "node/gpu1")]
    tasks = [queued(1, share=Share.WHOLE), queued(2, gpus=2)]
    assert not decide(a_snapshot(tasks, places)).assignments
    alone = [a_place(lanes=FOUR, running=a_lane(9, 0, share=Share.WHOLE)), a_place("n/b", lanes=FOUR)]
    whole = decide(a_snapshot([queued(3), queued(4, share=Share.WHOLE, queued_at=ago(20)), queued(5)], alone))
    assert placed(whole) == {4: ("n/b",)}


def test_of_two_slots_with_the_model_the_one_with_fewer_lanes_taken_is_chosen():
    places = [a_shared(2, "node/gpu0"), a_shared(1, "node/gpu1")]
    assert placed(decide(a_snapshot([queued(1)], places))) == {1: ("node/gpu1",)}
    idle = a_shared(0, "node/gpu2")
    assert placed(decide(a_snapshot([queued(1)], [*places, idle]))) == {1: ("node/gpu2",)}


def test_a_lane_next_to_the_same_model_is_better_than_a_slot_that_has_to_load_it():
    places = [a_place("node/gpu0", lanes=FOUR), a_shared(3, "node/gpu1")]
    assert placed(decide(a_snapshot([queued(1)], places))) == {1: ("node/gpu1",)}


def test_a_task_of_a_model_that_still_loads_there_joins_it():
    loading = a_shared(1, resident=())
    assert placed(decide(a_snapshot([queued(1)], [loading]))) == {1: ("node/gpu0",)}


def test_what_is_first_in_order_and_needs_another_model_keeps_the_lanes_from_being_filled_when_a_turn_is_over():
    tasks = [queued(1, "b", queued_at=ago(60)), queued(2, "a", queued_at=ago(5))]
    over = {"node/gpu0": Turn(engine="llama", model="a", since=ago(500))}
    decision = decide(a_snapshot(tasks, [a_shared(1)], turns=over, durations=MEASURED | LONG))
    assert not decision.assignments
    assert dict(decision.waiting) == {1: Rule.SLOTS_BUSY, 2: Rule.LANES_DRAIN}
    new = {"node/gpu0": Turn(engine="llama", model="a", since=ago(5))}
    decision = decide(a_snapshot(tasks, [a_shared(1)], turns=new, durations=MEASURED | LONG))
    assert placed(decision) == {2: ("node/gpu0",)}
    assert dict(decision.waiting) == {1: Rule.AFFINITY}
    assert decision.passed_since == {1: NOW}


LONG = {DurationKey("llama", "a", "RTX 4090"): 30.0}


def test_what_should_end_before_the_others_of_the_slot_delays_nobody_and_gets_a_lane():
    tasks = [queued(1, "b", queued_at=ago(60), task_class=TaskClass.INTERACTIVE), queued(2, "a")]
    decision = decide(a_snapshot(tasks, [a_shared(1, ends_in=40)], durations=LONG))
    assert placed(decision) == {2: ("node/gpu0",)}
    assert decision.passed_since == {}


def test_lanes_run_empty_for_a_person_whose_model_is_another():
    person = queued(1, "b", task_class=TaskClass.INTERACTIVE)
    new = {"node/gpu0": Turn(engine="llama", model="a", since=ago(1))}
    decision = decide(a_snapshot([person, queued(2, "a")], [a_shared(1)], turns=new, durations=LONG))
    assert not decision.assignments


def test_lanes_run_empty_for_a_task_that_computes_alone_next_to_them():
    on_gpu = {"device": "gpu", "processor": "gpu"}
    images = a_place("node/comfyui", **on_gpu, engines=frozenset({"comfyui"}), exclusive=frozenset({"comfyui"}))
    image = a_queued(1, engine="comfyui", memory=gib(8), task_class=TaskClass.INTERACTIVE)
    decision = decide(a_snapshot([image, queued(2, "a")], [a_shared(1, **on_gpu), images], durations=LONG))
    assert not decision.assignments


def test_lanes_run_empty_for_a_task_that_needs_their_memory():
    idle = a_place("node/b", device="node/gpu0", engines=frozenset({"piper"}))
    large = queued(1, "b", size=20, engine="piper", task_class=TaskClass.INTERACTIVE)
    decision = decide(a_snapshot([large, queued(2, "a")], [a_shared(1), idle], durations=LONG))
    assert not decision.assignments


def test_what_could_not_have_the_slot_in_any_case_does_not_let_its_lanes_run_empty():
    paused = {"node/gpu0": Turn(engine="llama", model="a", since=ago(500))}
    elsewhere = queued(1, "b", node="away", queued_at=ago(60))
    decision = decide(a_snapshot([elsewhere, queued(2)], [a_shared(1)], turns=paused, durations=LONG))
    assert placed(decision) == {2: ("node/gpu0",)}


def test_an_endless_flow_into_lanes_does_not_starve_another_model():
    """A task of model a comes every three seconds and takes ten: without a bound the slot would never be empty."""
    flow = [queued(10 + n, "a", queued_at=after(3 * n)) for n in range(400)]
    other = queued(1, "b", queued_at=after(20))
    queue = PlayedQueue({"node/gpu0": a_place(lanes=FOUR)}, MEASURED, [*flow, other])
    queue.play(after(1200))
    waited = (queue.started[1] - other.queued_at).total_seconds()
    assert waited <= PolicyBounds().affinity_delay.total_seconds() + 2 * 10


def test_a_lane_does_not_begin_a_new_turn():
    decision = decide(a_snapshot([queued(1), queued(2)], [a_place(lanes=FOUR)]))
    assert decision.turns == {"node/gpu0": Turn(engine="llama", model="a", since=NOW)}
    later = decide(replace(a_snapshot([queued(3)], [a_shared(2, resident=())], turns=decision.turns), now=after(5)))
    assert placed(later) == {3: ("node/gpu0",)}
    assert later.turns == decision.turns


def test_a_reservation_is_not_put_off_by_lanes():
    places = [a_shared(1, "node/gpu0", ends_in=20), a_shared(1, "node/gpu1", ends_in=20)]
    gang = queued(1, "b", gpus=2, priority=Priority.HIGH)
    long = decide(a_snapshot([gang, queued(2)], places, durations=LONG))
    assert not long.assignments
    assert dict(long.waiting) == {1: Rule.GATHERING, 2: Rule.RESERVED}
    assert placed(decide(a_snapshot([gang, queued(2)], places, durations=MEASURED))) == {2: ("node/gpu0",)}


def test_a_table_that_is_kept_counts_free_lanes():
    table = PlaceTable([a_place("node/gpu0", lanes=FOUR), a_place("node/gpu1")])
    assert table.free_lanes == 5
    table.put(a_shared(1))
    assert (table.free_lanes, list(table.shared)) == (4, ["node/gpu0"])
    table.put(a_shared(4))
    assert (table.free_lanes, list(table.shared), list(table.free)) == (1, [], ["node/gpu1"])
    table.put(a_shared(3))
    table.remove("node/gpu1")
    assert (table.free_lanes, list(table.free)) == (1, ["node/gpu0"])


def test_an_explanation_says_how_many_lanes_are_taken():
    explanation = explain(a_snapshot([queued(1, "b")], [a_shared(2)]), 1)
    assert explanation.slots == {"node/gpu0": "runs task 900 of bob, expected to end in 10.0s; 2 of 4 lanes taken"}
    assert explanation.may_start_at == after(10)


def test_an_explanation_says_that_lanes_run_empty():
    over = {"node/gpu0": Turn(engine="llama", model="a", since=ago(500))}
    tasks = [queued(1, "b", queued_at=ago(60)), queued(2, "a", queued_at=ago(5))]
    explanation = explain(a_snapshot(tasks, [a_shared(2)], turns=over, durations=LONG), 2)
    assert explanation.rule is Rule.LANES_DRAIN
    assert explanation.slots == {
        "node/gpu0": "a lane is free, but a task that goes first needs the slot without them; 2 of 4 lanes taken"
    }


def test_a_task_is_expected_to_start_when_the_first_lane_of_its_model_is_free():
    running = tuple(a_lane(900 + lane, lane, 10 + lane) for lane in range(4))
    place = a_shared(0, running=running)
    assert explain(a_snapshot([queued(1)], [place], durations=LONG), 1).may_start_at == after(10)
    tasks = [queued(1, queued_at=ago(30)), queued(2, queued_at=ago(20)), queued(3, "b")]
    assert explain(a_snapshot(tasks, [place], durations=LONG), 2).may_start_at == after(11)
    assert explain(a_snapshot(tasks, [place], durations=LONG), 3).may_start_at == after(41)


def test_an_estimate_does_as_many_tasks_at_a_time_as_there_are_lanes():
    work = [WaitingWork(queue="default", engine="llama", model="a", count=8)]
    assert estimate(work, [a_place()], {}, MEASURED, NOW).ends_at == after(80)
    assert estimate(work, [a_place(lanes=FOUR)], {}, MEASURED, NOW).ends_at == after(20)
    single = [replace(work[0], count=1)]
    assert estimate(single, [a_place(lanes=FOUR)], {}, MEASURED, NOW).ends_at == after(10)


def a_trace(lanes, count=8, **changes):
    arrivals = tuple(traces.an_arrival(number, model="m1", seconds={"*": 10}) for number in range(1, count + 1))
    place = traces.a_place(engines=frozenset({"llama"}), lanes={"llama": lanes})
    loads = (Load(engine="llama", model="m1", seconds=5),)
    return Trace(arrivals=arrivals, places=(place,), loads=loads, **changes)


def test_the_simulator_runs_lanes_at_once_and_loads_their_model_once():
    trace = a_trace(4)
    run = simulate(trace)
    assert [span.until_s for span in run.spans] == [15.0] * 4 + [25.0] * 4
    outcome = summarise(trace, run)
    assert (outcome.makespan_s, outcome.loads, outcome.occupancy) == (25.0, 1, {"a/gpu0": 1.0})
    assert summarise(a_trace(1), simulate(a_trace(1))).makespan_s == 85.0


def test_a_model_in_a_lane_is_not_given_up():
    idle = a_place("node/b", device="node/gpu0")
    held = ResidentModel(engine="llama", model="a", memory=gib(8))
    tasks = [queued(1), queued(2, "b", size=20)]
    decision = decide(a_snapshot(tasks, [a_place(lanes=FOUR, resident=(held,)), idle], durations=MEASURED))
    assert placed(decision) == {1: ("node/gpu0",)}
