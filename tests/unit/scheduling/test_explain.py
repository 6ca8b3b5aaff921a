"""Why a task waits has an answer with every place in it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corral.scheduling.explaining import NotQueuedError, explain
from corral.scheduling.policy import decide
from corral.scheduling.values import DurationKey, Gate, Queue, Rule
from doubles.chances import MANY
from doubles.scheduling_strategies import snapshots, snapshots_with_nodes
from doubles.scheduling_values import NOW, a_place, a_queued, a_resident, a_running, a_snapshot, ago, gib

ONE_EACH = Queue(name="default", max_running_per_owner=1)


def after(seconds: float):
    return NOW + timedelta(seconds=seconds)


@MANY
@given(st.one_of(snapshots(), snapshots_with_nodes()))
def test_every_task_has_an_explanation_that_agrees_with_the_decision(snapshot):
    decision = decide(snapshot)
    for task in snapshot.tasks:
        explanation = explain(snapshot, task.id)
        assert explanation.rule is decision.waiting.get(task.id, Rule.STARTING)
        assert set(explanation.slots) == {place.id for place in snapshot.places}
        assert explanation.summary
        assert all(explanation.slots.values())
        assert explanation.may_start_at is None or explanation.may_start_at >= snapshot.now


def test_each_slot_says_why_it_is_not_given():
    places = [
        a_place("node/a", engines=frozenset(), engine_problems={"llama": "xllamacpp is not installed"}),
        a_place("node/b", capacity=gib(4)),
        a_place("node/c", gate=Gate.PAUSED, gate_reason="fan is loud"),
        a_place("node/d", running=a_running(55, owner="bob", expected_end=after(40))),
        a_place("node/e"),
        a_place("node/f"),
    ]
    queue = Queue(name="default", pool=frozenset(f"node/{name}" for name in "abcde"))
    task = a_queued(2, memory=gib(8), avoid_slots=frozenset({"node/e"}))
    explanation = explain(a_snapshot([task], places, [queue]), 2)
    assert explanation.slots == {
        "node/a": "xllamacpp is not installed",
        "node/b": "needs 8.0 GiB, the device has 4.0 GiB",
        "node/c": "paused: fan is loud",
        "node/d": "runs task 55 of bob, expected to end in 40.0s",
        "node/e": "the engine here failed this task before",
        "node/f": "not in the pool of queue default",
    }


@pytest.mark.parametrize(
    ("snapshot", "rule", "summary"),
    [
        (
            a_snapshot([a_queued(memory=gib(30))], [a_place()]),
            Rule.NO_FIT,
            "it needs 30.0 GiB and the only slot for it has 24.0 GiB",
        ),
        (
            a_snapshot([a_queued(refused_slots=frozenset({"node/gpu0"}))], [a_place()]),
            Rule.NO_FIT,
            "the one slot with engine llama that can work now lacks what it needs",
        ),
        (
            a_snapshot([a_queued(gpus=2)], [a_place()]),
            Rule.NO_FIT,
            "it needs 2 slots of one node and no node has as many",
        ),
        (
            a_snapshot([a_queued(engine="piper")], [a_place(engine_problems={"piper": "not installed"})]),
            Rule.NO_ENGINE,
            "engine piper runs on none of the slots of queue default (not installed)",
        ),
        (
            a_snapshot(
                [a_queued()],
                [a_place(running=a_running(owner="ada"))],
                [Queue(name="default", max_running_per_owner=1)],
            ),
            Rule.OWNER_LIMIT,
            "ada runs 1 of the 1 tasks that queue default allows per owner",
        ),
        (
            a_snapshot([a_queued()], [a_place(gate=Gate.DRAINING, gate_reason="new card")]),
            Rule.SLOTS_CLOSED,
            "the one slot that could run it takes no new tasks (node/gpu0 draining: new card)",
        ),
        (
            a_snapshot([a_queued()], [a_place(running=a_running(expected_end=after(90)))]),
            Rule.SLOTS_BUSY,
            "the one slot that could run it is busy and expected to be free in 1m 30s",
        ),
        (
            a_snapshot(
                [a_queued(model="b", queued_at=ago(99)), a_queued(2, model="a")], [a_place(resident=(a_resident("a"),))]
            ),
            Rule.AFFINITY,
            "a task whose model is resident went first; this can last 2m 00s more",
        ),
    ],
    ids=lambda value: str(value) if isinstance(value, Rule) else "",
)
def test_the_summary_tells_the_values_seen(snapshot, rule, summary):
    explanation = explain(snapshot, 1)
    assert (explanation.rule, explanation.summary) == (rule, summary)


def test_a_task_that_gathers_slots_says_which_and_until_when():
    places = a_place("node/gpu0"), a_place("node/gpu1", running=a_running(expected_end=after(60)))
    explanation = explain(a_snapshot([a_queued(gpus=2)], places), 1)
    assert (
        explanation.summary
        == "it needs 2 slots at once; node/gpu0, node/gpu1 are kept for it and expected to be free in 1m 00s"
    )
    assert explanation.may_start_at == after(60)


def test_the_expected_start_counts_the_running_task_and_the_work_ahead():
    durations = {DurationKey("llama", None, "RTX 4090"): 10.0}
    tasks = [a_queued(n, queued_at=ago(100 - n)) for n in (1, 2, 3)]
    place = a_place(running=a_running(expected_end=after(5)))
    explanation = explain(a_snapshot(tasks, [place], durations=durations), 3)
    assert (explanation.since, explanation.may_start_at, explanation.ahead) == (ago(97), after(25), 2)


def test_nothing_is_said_about_the_start_behind_a_program_without_an_end():
    snapshot = a_snapshot([a_queued()], [a_place(running=a_running(expected_end=None))])
    explanation = explain(snapshot, 1)
    assert (explanation.may_start_at, explanation.ahead) == (None, 0)
    assert [*explanation.slots.values()] == ["runs task 900 of bob, whose end is unknown"]


def test_only_tasks_that_could_have_the_same_slots_are_ahead():
    nodes = ("node", "other", "node")
    tasks = [a_queued(number, node=node, queued_at=ago(9 - number)) for number, node in enumerate(nodes, 1)]
    busy = a_running(expected_end=after(5))
    snapshot = a_snapshot(tasks, [a_place(f"{node}/gpu0", node=node, running=busy) for node in ("node", "other")])
    assert [explain(snapshot, task).ahead for task in (1, 2, 3)] == [0, 0, 1]
    assert explain(a_snapshot([a_queued(memory=gib(30))], [a_place()]), 1).ahead is None


def test_nothing_is_said_about_the_start_where_a_person_must_act():
    assert explain(a_snapshot([a_queued(memory=gib(30))], [a_place()]), 1).may_start_at is None
    assert explain(a_snapshot([a_queued()], [a_place(gate=Gate.PAUSED)]), 1).may_start_at is None


def test_a_task_that_would_start_now_says_where():
    explanation = explain(a_snapshot([a_queued()], [a_place()]), 1)
    assert (explanation.rule, explanation.summary, explanation.may_start_at) == (
        Rule.STARTING,
        "it starts now on node/gpu0 (only slot free)",
        NOW,
    )


def test_a_task_that_is_not_queued_cannot_be_explained():
    with pytest.raises(NotQueuedError, match="task 9 is not among the 1 queued tasks"):
        explain(a_snapshot([a_queued()], [a_place()]), 9)
