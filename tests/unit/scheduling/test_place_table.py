"""A table in which tasks begin and end one by one knows what a table made anew knows."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from corral.scheduling.place_table import PlaceTable
from corral.scheduling.policy import decide
from corral.scheduling.values import Place, Snapshot
from doubles.chances import MANY
from doubles.scheduling_strategies import busy_snapshots, snapshots_on_processors, snapshots_with_lanes

SNAPSHOTS: st.SearchStrategy[Snapshot] = st.one_of(busy_snapshots(), snapshots_on_processors(), snapshots_with_lanes())


@MANY
@given(SNAPSHOTS, st.data())
def test_a_table_in_which_tasks_began_and_ended_decides_as_one_made_anew(
    snapshot: Snapshot, data: st.DataObject
) -> None:
    """Of each place, some of what runs ends, in one change or after it had ended altogether."""
    table = PlaceTable(snapshot.places, unknown_s=snapshot.bounds.unknown_duration_s)
    decide(replace(snapshot, places=table))
    after: list[Place] = []
    for place in snapshot.places:
        left = tuple(task for task in place.running if data.draw(st.booleans()))
        if data.draw(st.booleans()):
            table.change_running(place.id, ())
        table.change_running(place.id, left)
        after.append(replace(place, running=left))
    assert decide(replace(snapshot, places=table)) == decide(replace(snapshot, places=tuple(after)))
