"""Engines on one device have slots with names of their own: pools, gates, preferences and reasons go by them."""

from __future__ import annotations

from typing import Any

import pytest

from corral.scheduling.explaining import explain
from corral.scheduling.place_table import PlaceTable
from corral.scheduling.policy import decide
from corral.scheduling.values import Gate, Place, Queue, Rule
from corral.work import SlotId
from doubles.scheduling_values import a_place, a_queued, a_snapshot

LLAMA0, LLAMA1 = SlotId("node/gpu0/llama"), SlotId("node/gpu1/llama")


def a_shared_place(device: str = "node/gpu0", **changes: Any) -> Place:
    """The place of a GPU with slots of llama and piper."""
    engines = frozenset({"llama", "piper"})
    names = {engine: SlotId(f"{device}/{engine}") for engine in engines}
    return a_place(device, engines=engines, names=names, **changes)


PLACES = [a_shared_place(), a_shared_place("node/gpu1")]


@pytest.mark.parametrize("pool", [LLAMA1, SlotId("node/gpu1")])
def test_pool_names_slots_or_places(pool: SlotId) -> None:
    queues = [Queue(name="default", pool=frozenset({pool}))]
    decision = decide(a_snapshot([a_queued(1), a_queued(2)], PLACES, queues=queues))
    assert [assignment.places for assignment in decision.assignments] == [("node/gpu1",)]
    assert set(decision.waiting.values()) == {Rule.BEHIND_OTHERS}


def test_slot_outside_of_the_pool_is_not_used_although_its_place_offers_another_engine() -> None:
    queues = [Queue(name="default", pool=frozenset({SlotId("node/gpu0/piper")}))]
    decision = decide(a_snapshot([a_queued(1)], PLACES, queues=queues))
    assert dict(decision.waiting) == {1: Rule.NO_ENGINE}


def test_closed_slot_takes_no_task_while_another_engine_of_the_place_does() -> None:
    place = a_shared_place(closed={"llama": Gate.PAUSED})
    snapshot = a_snapshot([a_queued(1), a_queued(2, engine="piper")], [place])
    decision = decide(snapshot)
    assert [assignment.task for assignment in decision.assignments] == [2]
    assert decision.waiting[1] is Rule.SLOTS_CLOSED
    explanation = explain(a_snapshot([a_queued(1)], [place]), 1)
    assert explanation.slots == {LLAMA0: "paused"}
    assert explanation.summary == "the one slot that could run it takes no new tasks (node/gpu0/llama paused)"


def test_slot_that_is_opened_again_takes_tasks() -> None:
    table = PlaceTable([a_shared_place(closed={"llama": Gate.PAUSED})])
    assert not table.eligible(None, "llama").free
    table.put(a_shared_place())
    assert list(table.eligible(None, "llama").free) == ["node/gpu0"]
    table.put(a_shared_place(closed={"llama": Gate.DRAINING}))
    assert not table.eligible(None, "llama").free
    assert table.eligible(None, "piper").free


@pytest.mark.parametrize("name", [LLAMA0, SlotId("node/gpu0")])
def test_slot_that_failed_a_task_is_avoided_and_one_that_lost_it_preferred_by_either_name(name: SlotId) -> None:
    avoiding = decide(a_snapshot([a_queued(1, avoid_slots=frozenset({name}))], PLACES))
    assert avoiding.assignments[0].places == ("node/gpu1",)
    preferring = decide(a_snapshot([a_queued(1, prefer_slot=name)], PLACES[::-1]))
    assert preferring.assignments[0].places == ("node/gpu0",)
    alone = decide(a_snapshot([a_queued(1, avoid_slots=frozenset({name}))], PLACES[:1]))
    assert alone.assignments[0].places == ("node/gpu0",)


def test_explanation_names_the_slots_of_the_tasks_engine() -> None:
    explanation = explain(a_snapshot([a_queued(1)], [*PLACES, a_place("node/cpu0", engines=frozenset({"piper"}))]), 1)
    assert explanation.rule is Rule.STARTING
    assert explanation.summary.startswith("it starts now on node/gpu0/llama ")
    assert set(explanation.slots) == {LLAMA0, LLAMA1, "node/cpu0"}
