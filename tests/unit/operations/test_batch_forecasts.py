"""The forecast of a batch reads of a request what the queue would."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from corral.operations.cluster_file import FileText
from corral.operations.forecast_requests import BatchForecastAsked, ForecastAskedError
from corral.operations.forecasting import play_batch

CLUSTER = """\
apiVersion: corral/v1
name: two
nodes:
  - {name: near, gpus: [{model: RTX 5070 Ti}]}
  - {name: far, address: 10.0.0.2, gpus: [{model: RTX 5070 Ti}]}
"""


@pytest.mark.parametrize(
    ("fields", "nodes"),
    [({}, {"near", "far"}), ({"node": "far"}, {"far"}), ({"prefer_node": "far"}, {"far"})],
)
def test_a_batch_is_played_on_the_nodes_that_its_tasks_ask_for(fields: dict[str, str], nodes: set[str]) -> None:
    tasks = tuple({"name": f"t{n}", "engine": "sleep", "inputs": {"seconds": 10}, **fields} for n in range(3))
    forecast = play_batch(BatchForecastAsked(cluster=FileText(text=CLUSTER), tasks=tasks))
    assert forecast.run is not None
    assert {place.partition("/")[0] for span in forecast.run.spans for place in span.places} == nodes


def test_a_batch_says_how_much_of_it_is_done_by_its_deadline() -> None:
    tasks = tuple({"name": f"t{n}", "engine": "sleep", "inputs": {"seconds": 3600}} for n in range(6))
    by = datetime.now(UTC) + timedelta(hours=2.5)
    forecast = play_batch(BatchForecastAsked(cluster=FileText(text=CLUSTER), tasks=tasks, by=by))
    assert (forecast.by, forecast.done_by and forecast.done_by.value) == (by, 4)


def test_a_batch_waits_for_no_cheap_power_where_there_is_one_price() -> None:
    with pytest.raises(ForecastAskedError, match="no cheap hours"):
        play_batch(BatchForecastAsked(cluster=FileText(text=CLUSTER), tasks=(), when="cheap"))


def test_a_batch_for_a_node_without_slots_says_that_it_never_starts() -> None:
    task = {"name": "t", "engine": "sleep", "inputs": {"seconds": 10}, "node": "attic"}
    forecast = play_batch(BatchForecastAsked(cluster=FileText(text=CLUSTER), tasks=(task,)))
    assert forecast.unknown == ("t never starts: node_missing",)
