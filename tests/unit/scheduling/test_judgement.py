"""Decisions that follow one another start what one decision would."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from corral.scheduling.backlog import Backlog
from corral.scheduling.judgement import Judgement
from corral.scheduling.slot_table import SlotTable
from corral.scheduling.values import Settings
from doubles.scheduling_values import NOW, a_queued, a_running, a_slot


def started(*, most_starts: int | None) -> list[tuple[int, str]]:
    """Tasks and slots in the order of their starts: 40 tasks of three owners and two models, 24 slots."""
    backlog = Backlog(
        a_queued(number, owner=f"owner-{number % 3}", model=f"model-{number % 2}", queued_at=NOW - timedelta(0, number))
        for number in range(1, 41)
    )
    table = SlotTable(a_slot(f"node/gpu{number}", device=f"gpu{number}") for number in range(24))
    judgement = Judgement(Settings())
    starts: list[tuple[int, str]] = []
    while True:
        free = len(table.free)
        assignments = judgement.assign(backlog, table, {}, free, NOW, most_starts=most_starts)
        for assignment in assignments:
            (slot,) = assignment.slots
            starts.append((assignment.task, slot))
            backlog.remove(assignment.task)
            table.put(replace(table[slot], running=a_running(assignment.task)))
        if most_starts is None or len(assignments) < most_starts:
            return starts


@pytest.mark.parametrize("most_starts", [1, 5, 8, 23])
def test_decisions_that_end_early_start_the_same_tasks_as_one(most_starts: int) -> None:
    whole = started(most_starts=None)
    assert len(whole) == 24
    assert {task for task, _ in started(most_starts=most_starts)} == {task for task, _ in whole}


def test_decision_ends_after_so_many_assignments() -> None:
    backlog = Backlog(a_queued(number) for number in range(1, 5))
    slots = [a_slot(f"node/gpu{number}") for number in range(4)]
    assert len(Judgement(Settings()).assign(backlog, slots, {}, 4, NOW, most_starts=3)) == 3
