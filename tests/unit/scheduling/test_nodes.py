"""A task runs on its node or nowhere; on the node that it prefers where that costs no more than is bounded."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given

from corral.scheduling.explaining import explain
from corral.scheduling.policy import decide
from corral.scheduling.simulator import simulate
from corral.scheduling.simulator.values import Arrival, Trace
from corral.scheduling.values import DurationKey, Gate, Queue, Rule
from doubles.chances import MANY
from doubles.scheduling_strategies import snapshots, snapshots_with_nodes
from doubles.scheduling_values import NOW, a_place, a_queued, a_resident, a_running, a_snapshot, ago, gib, placed

MEASURED = {DurationKey("llama", "m", "fast"): 12.0, DurationKey("llama", "m", "slow"): 75.0}


def after(seconds: float):
    return NOW + timedelta(seconds=seconds)


def busy(name: str, ends_in: float, **changes):
    return a_place(name, running=a_running(90, expected_end=after(ends_in)), **changes)


def wishing(number: int = 1, **changes):
    """A task that would rather run on `near`."""
    return a_queued(number, **{"model": "m", "prefer_node": "near", **changes})


def rule_of(snapshot, task: int = 1) -> Rule:
    return decide(snapshot).waiting[task]


# --- the node where a task must run ---------------------------------------------------------------------------------


@MANY
@given(snapshots_with_nodes())
def test_no_task_runs_off_its_node(snapshot):
    tasks, places = ({value.id: value for value in values} for values in (snapshot.tasks, snapshot.places))
    for start in decide(snapshot).assignments:
        node = tasks[start.task].node
        assert node is None or {places[name].node for name in start.places} == {node}


@MANY
@given(snapshots())
def test_a_node_is_what_a_queue_with_the_slots_of_that_node_is(snapshot):
    free = {name: replace(queue, pool=None, max_running_per_owner=None) for name, queue in snapshot.queues.items()}
    on_node = {name: replace(queue, pool=frozenset(_names_on("a", snapshot))) for name, queue in free.items()}
    queues = {
        name: on_node.get(name, Queue(name=name, pool=frozenset(_names_on("a", snapshot))))
        for name in ("default", "night")
    }
    bound = replace(snapshot, queues=free, tasks=tuple(replace(task, node="a") for task in snapshot.tasks))
    assert decide(bound).assignments == decide(replace(snapshot, queues=queues)).assignments


def _names_on(node: str, snapshot):
    return (place.id for place in snapshot.places if place.node == node)


def test_a_task_waits_for_its_node_while_slots_elsewhere_are_free_and_says_so():
    snapshot = a_snapshot([a_queued(node="here")], [busy("here/gpu0", 40), a_place("there/gpu0")])
    assert rule_of(snapshot) is Rule.NODE_BUSY
    explanation = explain(snapshot, 1)
    assert explanation.summary == (
        "it must run on node here: the one slot that could run it is busy and expected to be free in 40.0s"
    )
    assert explanation.slots["there/gpu0"] == "not on node here, where the task must run"
    assert explanation.may_start_at == after(40)


def test_a_task_whose_node_has_no_slot_any_more_names_the_nodes_that_have():
    snapshot = a_snapshot([a_queued(node="gone")], [a_place("one/gpu0"), a_place("two/gpu0")])
    assert rule_of(snapshot) is Rule.NODE_MISSING
    explanation = explain(snapshot, 1)
    assert explanation.summary == "it must run on node gone, and no slot is on it (nodes with slots: one, two)"
    assert explanation.may_start_at is None


def test_a_task_whose_engine_does_not_work_on_its_node_says_why():
    broken = a_place("here/gpu0", engines=frozenset(), engine_problems={"llama": "xllamacpp is not installed"})
    snapshot = a_snapshot([a_queued(node="here")], [broken, a_place("there/gpu0")])
    assert rule_of(snapshot) is Rule.NODE_MISSING
    assert explain(snapshot, 1).summary == (
        "it must run on node here, where engine llama runs on none of the slots of queue default"
        " (xllamacpp is not installed)"
    )


def test_a_task_on_a_server_without_a_slot_says_what_to_do():
    assert explain(a_snapshot([a_queued()], []), 1).summary.startswith(
        "this server has no slot, so nothing starts: add this machine to `nodes`"
    )
    assert "this server has no slot" in explain(a_snapshot([a_queued(node="here")], []), 1).summary


def test_a_task_that_waits_for_its_node_keeps_no_other_from_the_slots_elsewhere():
    tasks = [a_queued(1, node="here", queued_at=ago(60)), a_queued(2, queued_at=ago(5))]
    assert placed(decide(a_snapshot(tasks, [busy("here/gpu0", 40), a_place("there/gpu0")]))) == {2: ("there/gpu0",)}


# --- the node that a task prefers -----------------------------------------------------------------------------------


def test_the_preferred_node_goes_before_a_model_in_memory_elsewhere():
    places = [a_place("far/gpu0", resident=(a_resident("m"),)), a_place("near/gpu0")]
    (start,) = decide(a_snapshot([wishing()], places)).assignments
    assert (start.places, start.because) == (("near/gpu0",), "preferred node")


@pytest.mark.parametrize(("slow_s", "chosen"), [(75.0, "near/gpu0"), (131.0, "near/gpu0"), (133.0, "far/gpu0")])
def test_a_slower_slot_of_the_preferred_node_is_taken_while_it_costs_two_minutes_at_most(slow_s, chosen):
    places = [a_place("far/gpu0", device_model="fast"), a_place("near/gpu0", device_model="slow")]
    durations = {**MEASURED, DurationKey("llama", "m", "slow"): slow_s}
    (start,) = decide(a_snapshot([wishing()], places, durations=durations)).assignments
    assert start.places == (chosen,)
    assert start.because.endswith("preferred node near is slower") is (chosen == "far/gpu0")


@pytest.mark.parametrize(("ends_in", "waits"), [(5, True), (119, True), (121, False), (-1, False)])
def test_a_busy_slot_of_the_preferred_node_is_waited_for_if_it_should_be_free_in_two_minutes(ends_in, waits):
    snapshot = a_snapshot([wishing()], [a_place("far/gpu0"), busy("near/gpu0", ends_in)])
    decision = decide(snapshot)
    assert dict(decision.waiting) == ({1: Rule.PREFERRED_NODE} if waits else {})
    assert dict(decision.passed_since) == ({1: NOW} if waits else {})
    if not waits:
        (start,) = decision.assignments
        assert start.because == "only slot free; preferred node near is busy for too long"


def test_what_waits_for_its_preferred_node_says_so():
    explanation = explain(a_snapshot([wishing()], [a_place("far/gpu0"), busy("near/gpu0", 30)]), 1)
    assert (
        explanation.summary == "a slot elsewhere is free; node near, which it prefers, should have one for it in 30.0s"
    )
    assert (
        explanation.slots["far/gpu0"] == "free, but node near, which the task prefers, should have a slot soon enough"
    )


def test_a_task_waits_no_longer_than_two_minutes_after_it_was_first_passed_over():
    snapshot = a_snapshot([wishing(queued_at=ago(500))], [a_place("far/gpu0"), busy("near/gpu0", 15)])
    assert not decide(replace(snapshot, passed_since={1: ago(100)})).assignments
    assert placed(decide(replace(snapshot, passed_since={1: ago(110)}))) == {1: ("far/gpu0",)}


def test_a_task_that_has_waited_for_its_wish_takes_what_is_free_however_slow():
    near = busy("near/gpu0", 5, device_model="fast")
    snapshot = a_snapshot([wishing()], [a_place("far/gpu0", device_model="slow"), near], durations=MEASURED)
    assert not decide(replace(snapshot, passed_since={1: ago(119)})).assignments
    assert placed(decide(replace(snapshot, passed_since={1: ago(120)}))) == {1: ("far/gpu0",)}


def test_no_more_than_32_tasks_wait_for_their_node_at_a_time():
    tasks = [wishing(number, queued_at=ago(100 - number)) for number in range(1, 41)]
    durations = {DurationKey("llama", "m", "RTX 4090"): 0.1}
    decision = decide(a_snapshot(tasks, [a_place("far/gpu0"), busy("near/gpu0", 5)], durations=durations))
    assert placed(decision) == {33: ("far/gpu0",)}


@pytest.mark.parametrize(
    ("task", "near"),
    [({"avoid_slots": frozenset({"near/gpu0"})}, {}), ({"memory": gib(8)}, {"capacity": gib(4)})],
)
def test_a_slot_of_the_preferred_node_that_could_not_have_the_task_is_not_waited_for(task, near):
    (start,) = decide(a_snapshot([wishing(**task)], [a_place("far/gpu0"), busy("near/gpu0", 5, **near)])).assignments
    assert start.because == "only slot free; preferred node near has no slot that could run it"


def test_tasks_that_differ_in_nothing_but_the_node_go_each_to_its_own():
    places = [a_place(f"{node}/gpu{index}") for node in ("a", "b") for index in (0, 1)]
    tasks = [a_queued(1, prefer_node="a", queued_at=ago(60)), a_queued(2, prefer_node="b")]
    assert placed(decide(a_snapshot(tasks, places))) == {1: ("a/gpu0",), 2: ("b/gpu0",)}
    tasks = [replace(task, node=task.prefer_node, prefer_node=None) for task in tasks]
    assert placed(decide(a_snapshot(tasks, places))) == {1: ("a/gpu0",), 2: ("b/gpu0",)}


def test_a_task_that_a_reservation_keeps_from_its_node_blocks_none_of_another_node():
    places = [a_place("a/gpu0"), busy("a/gpu1", 40), a_place("b/gpu0")]
    pair = a_queued(1, gpus=2, queued_at=ago(60))
    tasks = [pair, a_queued(2, node="a", queued_at=ago(50)), a_queued(3, node="b", queued_at=ago(40))]
    assert placed(decide(a_snapshot(tasks, places))) == {3: ("b/gpu0",)}


def test_a_slow_slot_of_the_preferred_node_is_used_although_faster_ones_would_be_done_before():
    fast = a_place("far/gpu0", device_model="fast", running=a_running(9, model="m", expected_end=after(5)))
    places = [fast, a_place("near/gpu0", device_model="slow")]
    plain = a_snapshot([wishing(prefer_node=None)], places, durations=MEASURED)
    assert dict(decide(plain).waiting) == {1: Rule.FASTER_SOON}
    assert placed(decide(a_snapshot([wishing()], places, durations=MEASURED))) == {1: ("near/gpu0",)}


def test_slots_of_the_preferred_node_are_reserved_though_others_are_ready_a_little_sooner():
    places = [busy(f"{node}/gpu{index}", ends) for node, ends in (("far", 10), ("near", 60)) for index in (0, 1)]
    assert (
        "far/gpu0, far/gpu1 are kept"
        in explain(a_snapshot([a_queued(gpus=2)], [*places, a_place("x/gpu0")]), 1).summary
    )
    assert (
        "near/gpu0, near/gpu1 are kept"
        in explain(a_snapshot([wishing(gpus=2)], [*places, a_place("x/gpu0")]), 1).summary
    )


@MANY
@given(snapshots_with_nodes())
def test_no_task_is_kept_waiting_for_a_wish_past_its_bound(snapshot):
    for task, rule in decide(snapshot).waiting.items():
        if rule is Rule.PREFERRED_NODE:
            assert snapshot.now - snapshot.passed_since.get(task, snapshot.now) < snapshot.bounds.node_wish


def test_tasks_that_wait_for_the_same_node_count_each_other():
    tasks = [wishing(number, queued_at=ago(50 - number)) for number in range(1, 8)]
    durations = {DurationKey("llama", "m", "RTX 4090"): 30.0}
    decision = decide(a_snapshot(tasks, [a_place("far/gpu0"), busy("near/gpu0", 20)], durations=durations))
    assert placed(decision) == {
        5: ("far/gpu0",)
    }  # the fifth would end there after 20 + 5 x 30 s, later than 30 + 120 s
    assert [task for task, rule in decision.waiting.items() if rule is Rule.BEHIND_OTHERS] == [1, 2, 3, 4, 6, 7]


@pytest.mark.parametrize(
    ("near", "why"),
    [
        ([a_place("near/gpu0", gate=Gate.PAUSED)], "takes no new tasks"),
        ([a_place("near/gpu0", engines=frozenset())], "has no slot that could run it"),
        ([], "has no slot that could run it"),
    ],
)
def test_a_preferred_node_that_cannot_have_the_task_costs_nothing(near, why):
    (start,) = decide(a_snapshot([wishing()], [a_place("far/gpu0"), *near])).assignments
    assert start.because == f"only slot free; preferred node near {why}"


def test_a_task_for_two_gpus_is_gathered_on_the_preferred_node():
    places = [a_place(f"{node}/gpu{index}") for node in ("far", "near") for index in (0, 1)]
    assert placed(decide(a_snapshot([wishing(gpus=2)], places))) == {1: ("near/gpu0", "near/gpu1")}


def test_a_model_in_memory_elsewhere_lets_no_task_pass_that_prefers_another_node():
    places = [a_place("far/gpu0", resident=(a_resident("m"),))]
    head, other = a_queued(1, model="x", queued_at=ago(60)), wishing(2)
    assert placed(decide(a_snapshot([head, replace(other, prefer_node=None)], places))) == {2: ("far/gpu0",)}
    assert placed(decide(a_snapshot([head, other], places))) == {1: ("far/gpu0",)}


def test_a_simulated_batch_stays_on_its_preferred_node_and_spills_over_when_that_costs_too_much():
    arrivals = tuple(
        Arrival(id=number, at_s=0, owner="ada", engine="llama", model="m", seconds={"*": 60.0}, prefer_node="near")
        for number in range(1, 9)
    )
    run = simulate(Trace(arrivals=arrivals, places=(a_place("far/gpu0"), a_place("near/gpu0"))))
    by_place = {
        place: [span.task for span in run.spans if span.places == (place,)] for place in ("near/gpu0", "far/gpu0")
    }
    assert by_place == {"near/gpu0": [1, 2, 3, 5, 7], "far/gpu0": [4, 6, 8]}
