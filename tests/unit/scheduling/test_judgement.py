"""Decisions that follow one another start what one decision would."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from corral.hours import make_hours
from corral.scheduling.backlog import Backlog
from corral.scheduling.judgement import Judgement
from corral.scheduling.place_table import PlaceTable
from corral.scheduling.values import PolicyBounds
from doubles.scheduling_values import NOW, a_place, a_queued, a_running


def started(*, most_starts: int | None) -> list[tuple[int, str]]:
    """Tasks and places in the order of their starts: 40 tasks of three owners and two models, 24 places."""
    backlog = Backlog(
        a_queued(number, owner=f"owner-{number % 3}", model=f"model-{number % 2}", queued_at=NOW - timedelta(0, number))
        for number in range(1, 41)
    )
    table = PlaceTable(a_place(f"node/gpu{number}", device=f"gpu{number}") for number in range(24))
    judgement = Judgement(PolicyBounds())
    starts: list[tuple[int, str]] = []
    while True:
        free = len(table.free)
        assignments = judgement.assign(backlog, table, {}, free, NOW, most_starts=most_starts)
        for assignment in assignments:
            (place,) = assignment.places
            starts.append((assignment.task, place))
            backlog.remove(assignment.task)
            table.put(replace(table[place], running=(a_running(assignment.task),)))
        if most_starts is None or len(assignments) < most_starts:
            return starts


@pytest.mark.parametrize("most_starts", [1, 5, 8, 23])
def test_decisions_that_end_early_start_the_same_tasks_as_one(most_starts: int) -> None:
    whole = started(most_starts=None)
    assert len(whole) == 24
    assert {task for task, _ in started(most_starts=most_starts)} == {task for task, _ in whole}


def test_tasks_without_their_model_are_found_while_slots_have_hours() -> None:
    place = a_place(
        engines=frozenset({"ollama"}),
        models={"ollama": frozenset({"small"})},
        hours=make_hours({"daily": ((0, 60),)}, zone="Europe/Berlin"),
    )
    judgement, table = Judgement(PolicyBounds(model_wait=timedelta(hours=1))), PlaceTable([place])
    backlog = Backlog([a_queued(1, engine="ollama", model="large")])
    assert list(judgement.find_given_up(backlog, table, {}, now=0.0)) == []
    assert [task.id for task in judgement.find_given_up(backlog, table, {}, now=7200.0)] == [1]


def test_decision_ends_after_so_many_assignments() -> None:
    backlog = Backlog(a_queued(number) for number in range(1, 5))
    places = [a_place(f"node/gpu{number}") for number in range(4)]
    assert len(Judgement(PolicyBounds()).assign(backlog, places, {}, 4, NOW, most_starts=3)) == 3
