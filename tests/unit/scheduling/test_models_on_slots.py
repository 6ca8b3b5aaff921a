"""A task goes only where its model is, where engines have not every model everywhere."""

from __future__ import annotations

import pytest

from corral.engine_kinds import OLLAMA, OPENAI
from corral.scheduling.explaining import explain
from corral.scheduling.place_table import PlaceTable
from corral.scheduling.policy import decide
from corral.scheduling.values import Gate, Place, Rule
from doubles.scheduling_values import a_place, a_queued, a_snapshot


def a_server(name: str, *models: str, **changes: object) -> Place:
    """A slot of an engine that has these models and no others."""
    return a_place(name, models={"llama": frozenset(models)}, **changes)


def test_a_task_goes_only_to_a_slot_that_has_its_model() -> None:
    slots = [a_server("a/llama", "small"), a_server("b/llama", "small", "large"), a_server("c/llama")]

    decision = decide(a_snapshot([a_queued(1, model="large"), a_queued(2, model="large")], slots))

    assert [(assignment.task, assignment.places) for assignment in decision.assignments] == [(1, ("b/llama",))]
    assert decision.waiting[2] is Rule.BEHIND_OTHERS


def test_a_slot_that_lists_no_models_can_use_any() -> None:
    decision = decide(a_snapshot([a_queued(1, model="large")], [a_server("a/llama", "small"), a_place("b/gpu0")]))

    assert decision.assignments[0].places == ("b/gpu0",)


def test_a_model_that_is_nowhere_keeps_only_its_own_tasks_waiting() -> None:
    slots = [a_server("a/llama", "small"), a_server("b/llama", "small")]
    tasks = [a_queued(1, model="large"), a_queued(2, model="small"), a_queued(3, model=None)]

    decision = decide(a_snapshot(tasks, slots))

    assert decision.waiting == {1: Rule.MODEL_MISSING}


@pytest.mark.parametrize(
    ("engine", "bring"),
    [
        (OLLAMA.name, "bring it there with `corral models pull large --on a/server`"),
        (OPENAI.name, "install it on its server, or name one that `corral models list --on all` shows"),
    ],
)
def test_a_task_whose_model_is_nowhere_says_how_to_bring_it(engine: str, bring: str) -> None:
    servers = [
        a_place(f"{node}/server", engines=frozenset({engine}), models={engine: frozenset(models)})
        for node, models in (("b", {"small"}), ("a", set[str]()))
    ]

    explanation = explain(a_snapshot([a_queued(1, engine=engine, model="large")], servers), 1)

    assert explanation.rule is Rule.MODEL_MISSING
    assert explanation.summary == (
        f"large is not on any of the 2 slots where {engine} runs; {bring}; this task fails after 24h 00m without it"
    )
    assert explanation.slots == {"a/server": "does not have large", "b/server": "does not have large"}
    assert explanation.may_start_at is None


def test_a_model_on_a_slot_that_does_not_work_is_not_pulled_elsewhere_without_a_word() -> None:
    broken = a_server("a/llama", "large", engines=frozenset[str](), engine_problems={"llama": "no answer in time"})
    snapshot = a_snapshot([a_queued(1, model="large")], [broken, a_server("b/llama")])

    explanation = explain(snapshot, 1)

    assert explanation.rule is Rule.MODEL_MISSING
    assert explanation.summary == "b/llama lacks large, and a/llama has it: no answer in time"


def test_a_task_whose_model_is_on_a_closed_slot_waits_for_that_slot() -> None:
    slots = [a_server("a/llama", "large", gate=Gate.PAUSED), a_server("b/llama")]

    assert decide(a_snapshot([a_queued(1, model="large")], slots)).waiting[1] is Rule.SLOTS_CLOSED


def test_a_slot_that_failed_a_task_is_used_again_when_no_other_has_the_model() -> None:
    slots = [a_server("a/llama", "large"), a_server("b/llama")]
    task = a_queued(1, model="large", avoid_slots=frozenset({"a/llama"}))

    assert decide(a_snapshot([task], slots)).assignments[0].places == ("a/llama",)


def test_a_kept_table_follows_models_as_they_come_and_go() -> None:
    table = PlaceTable([a_server("a/llama", "small"), a_place("b/gpu0", running=(), engines=frozenset({"piper"}))])
    task = a_queued(1, model="large")
    assert not decide(a_snapshot([task], table)).assignments

    table.put(a_server("a/llama", "small", "large"))
    assert decide(a_snapshot([task], table)).assignments

    table.put(a_server("a/llama", "small"))
    assert not decide(a_snapshot([task], table)).assignments
    table.put(a_place("a/llama"))
    assert decide(a_snapshot([task], table)).assignments
    assert not table.listing
