"""Shares are charged as expected, corrected as measured, and forgotten when they no longer matter."""

from __future__ import annotations

import pytest

from corral.scheduling.fairness import MOST_OWNERS, settle, tag
from corral.scheduling.policy import decide
from corral.scheduling.values import FairShare, TaskClass
from doubles.scheduling_values import a_place, a_queued, a_snapshot, ago


def test_a_charge_is_corrected_by_what_was_measured():
    fair = FairShare(virtual_time=10.0, charged={"ada": 70.0, "bob": 20.0})
    assert settle(fair, "ada", 60.0, 15.0).charged == {"ada": 25.0, "bob": 20.0}
    assert settle(fair, "ada", 60.0, 90.0).charged == {"ada": 100.0, "bob": 20.0}


def test_a_correction_never_leaves_a_credit():
    fair = FairShare(virtual_time=50.0, charged={"ada": 70.0})
    assert settle(fair, "ada", 60.0, 1.0) == FairShare(virtual_time=50.0)
    assert tag(settle(fair, "ada", 60.0, 1.0), "ada") == 50.0


def test_an_owner_already_forgotten_owes_what_was_measured_above_the_charge():
    assert settle(FairShare(virtual_time=50.0), "ada", 60.0, 100.0).charged == {"ada": 90.0}


def test_an_owner_without_a_debt_is_forgotten():
    fair = FairShare(virtual_time=10.0, charged={"bob": 30.0, "zoe": 90.0})
    assert decide(a_snapshot([a_queued(owner="zoe")], [a_place()], fair=fair)).fair.charged == {"zoe": 150.0}


def test_a_stream_of_newcomers_is_remembered_up_to_a_bound():
    fair = FairShare()
    for number in range(MOST_OWNERS + 50):
        fair = decide(a_snapshot([a_queued(owner=f"owner{number}")], [a_place()], fair=fair)).fair
        assert len(fair.charged) <= MOST_OWNERS


def test_virtual_time_follows_the_lowest_of_those_who_compete_and_never_goes_back():
    fair = FairShare(virtual_time=10.0, charged={"ada": 40.0, "bob": 30.0})
    decision = decide(a_snapshot([a_queued(1), a_queued(2, owner="bob")], [a_place()], fair=fair))
    assert decision.fair == FairShare(virtual_time=30.0, charged={"ada": 40.0, "bob": 90.0})


@pytest.mark.parametrize(("lead", "winner"), [(-30.5, 1), (-30.0, 2), (0.0, 2), (30.0, 2)])
def test_the_lead_of_promoted_tasks_decides_whose_turn_it_is(lead, winner):
    tasks = a_queued(1, queued_at=ago(4000)), a_queued(2, task_class=TaskClass.INTERACTIVE)
    decision = decide(a_snapshot(tasks, [a_place()], fair=FairShare(promoted_lead=lead)))
    assert decision.assignments[0].task == winner
