"""The policy decides as it did when it looked at every place for every task (`doubles.policy_before`)."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from corral.scheduling.place_table import PlaceTable
from corral.scheduling.policy import decide
from corral.scheduling.values import Queue
from doubles.chances import MANY
from doubles.policy_before.policy import decide as decide_before
from doubles.scheduling_strategies import busy_snapshots, snapshots
from doubles.scheduling_values import a_place, a_queued, a_running, a_snapshot, placed


@MANY
@given(st.one_of(snapshots(), busy_snapshots()))
def test_the_policy_decides_as_it_did_when_it_looked_at_every_slot_for_every_task(snapshot):
    assert decide(snapshot) == decide_before(snapshot)


@MANY
@given(busy_snapshots(), busy_snapshots())
def test_a_table_that_was_kept_and_changed_decides_as_one_made_anew(before, after):
    table = PlaceTable(before.places, unknown_s=after.bounds.unknown_duration_s)
    decide(replace(before, places=table, bounds=after.bounds))
    table.replace(after.places)
    assert decide(replace(after, places=table)) == decide_before(after)


class UnseenTable(PlaceTable):
    """A table whose places cannot be gone through one by one."""

    def __iter__(self):
        raise AssertionError("the decision looked at every slot")


def test_a_decision_does_not_look_at_slots_on_which_nothing_changed():
    table = UnseenTable(a_place(f"node/gpu{number}", running=a_running(number)) for number in range(1, 100))
    decide(replace(a_snapshot([a_queued()]), places=table))
    table.put(a_place("node/gpu7"))
    assert placed(decide(replace(a_snapshot([a_queued(1), a_queued(2)]), places=table))) == {1: ("node/gpu7",)}


def test_a_slot_that_was_taken_out_of_the_table_gets_nothing():
    table = PlaceTable([a_place("node/gpu0"), a_place("node/gpu1")])
    decide(replace(a_snapshot([a_queued()]), places=table))
    table.remove("node/gpu0")
    assert placed(decide(replace(a_snapshot([a_queued(1), a_queued(2)]), places=table))) == {1: ("node/gpu1",)}


def test_the_task_of_a_slot_that_was_put_in_anew_no_longer_counts_against_its_owners_limit():
    queue = Queue(name="default", max_running_per_owner=1)
    table = PlaceTable([a_place("node/gpu0", running=a_running(owner="ada")), a_place("node/gpu1")])
    assert placed(decide(replace(a_snapshot([a_queued()], queues=[queue]), places=table))) == {}
    table.put(a_place("node/gpu0"))
    assert placed(decide(replace(a_snapshot([a_queued()], queues=[queue]), places=table))) == {1: ("node/gpu0",)}
