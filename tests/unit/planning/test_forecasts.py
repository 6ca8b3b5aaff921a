"""What a night, a batch and a replay make of a cluster file."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any

import pytest

from corral.cluster import ClusterFileError, load
from corral.cluster.values import Cluster
from corral.figures import Origin
from corral.planning.forecast import Forecast, Scenario, forecast_workload
from corral.planning.forecast.batches import Job, forecast_batch
from corral.planning.forecast.page import make_page
from corral.planning.forecast.replay import Ended, replay
from corral.scheduling.durations import History, observe
from corral.scheduling.simulator.values import Outage
from corral.scheduling.values import DurationKey, Priority, TaskClass
from corral.units import Bytes
from corral.work import SlotId

FIRST, SECOND = SlotId("box/gpu0"), SlotId("box/gpu1")
NIGHT = """
apiVersion: corral/v1
name: test
electricity: {{pricePerKwh: 0.25}}
nodes:
  - name: box
    psu: {{watts: 1000, otherWatts: 100}}
    gpus: [{gpus}]
workloads:
  - {{name: images, engine: comfyui, minVram: 8Gi, {duration}, unit: image}}
night: 8h
queues: [{queues}]
"""
CARD = "{model: RTX 5070 Ti, memory: 16Gi, powerLimit: 250}"


def a_cluster(gpus: int = 1, duration: str = "duration: 30s", queues: str = "{name: default}") -> Cluster:
    return load(NIGHT.format(gpus=", ".join([CARD] * gpus), duration=duration, queues=queues), filename="cluster.yaml")


def images(cluster: Cluster, **asked: Any) -> Forecast:  # asked are the keywords of forecast
    return forecast_workload(cluster, cluster.workloads["images"], (), **asked)


def made(forecast: Forecast) -> float:
    assert forecast.per_night is not None
    return forecast.per_night.value


def test_a_card_makes_an_image_every_thirty_seconds() -> None:
    forecast = images(a_cluster())
    assert (forecast.per_hour and forecast.per_hour.value, made(forecast)) == (120, 960)


def test_two_cards_make_twice_as_many() -> None:
    forecast = images(a_cluster(2))
    assert (forecast.per_hour and forecast.per_hour.value, made(forecast)) == (240, 1920)
    assert {slot: round(part.value) for slot, part in forecast.occupancy.items()} == {FIRST: 100, SECOND: 100}


def test_a_slow_card_makes_fewer() -> None:
    assert made(images(a_cluster(2), scenario=Scenario(slowdown={SECOND: 1.5}))) == 960 + 640


def test_a_card_that_is_lost_at_two_makes_a_quarter() -> None:
    lost = Scenario(outages=(Outage(place=SECOND, from_s=7200, until_s=inf),))
    assert made(images(a_cluster(2), scenario=lost)) == 960 + 240


def test_a_card_that_comes_back_makes_the_rest() -> None:
    away = Scenario(outages=(Outage(place=SECOND, from_s=7200, until_s=14_400),))
    assert made(images(a_cluster(2), scenario=away)) == 960 + 720


def test_what_was_running_on_a_lost_card_is_told_as_lost() -> None:
    away = Scenario(outages=(Outage(place=SECOND, from_s=7215, until_s=inf),))
    forecast = images(a_cluster(2), scenario=away)
    assert forecast.lost is not None
    assert forecast.lost.value == 15


def test_swapped_models_cost_the_time_that_they_load() -> None:
    swapped = images(a_cluster(), scenario=Scenario(models=2, swap_every=1, load_s=20))
    assert swapped.swaps is not None
    assert swapped.swaps.value > 0
    assert made(swapped) == pytest.approx((28_800 - 20 * (swapped.swaps.value + 1)) / 30, abs=1)


def test_swaps_without_a_known_load_time_are_unknown() -> None:
    forecast = images(a_cluster(), scenario=Scenario(models=2))
    assert forecast.per_night is None
    assert "load" in forecast.unknown[0]


def test_a_pool_keeps_a_workload_to_its_slots() -> None:
    forecast = images(a_cluster(2, queues="{name: one, pool: [box/gpu1]}"))
    assert (forecast.queue, forecast.slots, made(forecast)) == ("one", (SECOND,), 960)


def test_measured_durations_go_before_declared_ones() -> None:
    history = observe(History(), DurationKey("comfyui", None, "RTX 5070 Ti"), 20)
    forecast = images(a_cluster(), history=history)
    assert made(forecast) == 1440
    assert forecast.seconds["RTX 5070 Ti"].origin is Origin.MEASURED


def test_a_workload_of_any_model_takes_what_was_measured_for_its_engine() -> None:
    history = observe(History(), DurationKey("comfyui", "some.safetensors", "RTX 4090"), 20.0)
    forecast = images(a_cluster(), history=history)
    assert made(forecast) == 1440
    assert {figure.origin for figure in forecast.seconds.values()} == {Origin.MEASURED}


def test_a_spread_moves_tasks_and_not_the_mean() -> None:
    plain, spread = images(a_cluster()), images(a_cluster(), scenario=Scenario(spread=0.2))
    assert abs(made(spread) - made(plain)) <= 1
    assert spread.trace is not None
    seconds = [arrival.seconds["RTX 5070 Ti"] for arrival in spread.trace.arrivals]
    assert 24 <= min(seconds) < 24.1
    assert 35.9 < max(seconds) <= 36
    assert images(a_cluster(), scenario=Scenario(spread=0.2)) == spread


def test_a_duration_that_nobody_knows_makes_the_night_unknown() -> None:
    cluster = a_cluster()
    workload = replace(cluster.workloads["images"], seconds={})
    forecast = forecast_workload(cluster, workload, ())
    assert forecast.per_night is None
    assert forecast.unknown == ("how long one image takes on RTX 5070 Ti: neither measured nor in the cluster file",)


def test_a_workload_with_no_card_that_holds_it_says_so() -> None:
    cluster = a_cluster()
    workload = replace(cluster.workloads["images"], min_vram=Bytes(10**12))
    assert forecast_workload(cluster, workload, ()).unknown[0].startswith("no slot")


def test_a_workload_has_the_slots_of_its_node_alone() -> None:
    cluster = a_cluster()
    night = forecast_workload(cluster, replace(cluster.workloads["images"], node=cluster.nodes[0].name), ())
    assert night.slots
    assert {slot.partition("/")[0] for slot in night.slots} == {cluster.nodes[0].name}
    assert night.where.endswith(f", on node {cluster.nodes[0].name} alone")
    elsewhere = forecast_workload(cluster, replace(cluster.workloads["images"], node="attic"), ())
    assert elsewhere.unknown[0].startswith("no slot")


def test_a_workload_that_prefers_a_node_uses_the_others_as_well() -> None:
    cluster = a_cluster()
    plain = images(cluster)
    wishing = forecast_workload(cluster, replace(cluster.workloads["images"], prefer_node=cluster.nodes[0].name), ())
    assert wishing.slots == plain.slots
    assert {arrival.prefer_node for arrival in wishing.trace.arrivals} == {cluster.nodes[0].name}


def test_a_wanted_number_is_not_exceeded() -> None:
    cluster = a_cluster()
    assert made(forecast_workload(cluster, replace(cluster.workloads["images"], per_night=100), ())) == 100


def test_a_night_of_very_short_tasks_is_counted_up() -> None:
    forecast = images(a_cluster(duration="duration: 100ms"))
    assert made(forecast) == pytest.approx(288_000, rel=0.001)
    assert forecast.per_night is not None
    assert "for the whole night" in forecast.per_night.source


def test_nights_add_up() -> None:
    forecast = images(a_cluster(2), nights=365)
    assert forecast.nights is not None
    assert forecast.nights.value == 700_800


def test_energy_is_that_at_the_wall_of_cards_at_work_and_of_the_machine() -> None:
    forecast = images(a_cluster(2))
    assert forecast.energy is not None
    assert forecast.energy.value == pytest.approx(8 * (250 + 250 + 100) / 1000 / 0.8)
    assert forecast.cost_each is not None
    assert forecast.cost_each.value == pytest.approx(6 * 0.25 / 1920)


def test_every_figure_says_where_it_comes_from() -> None:
    forecast = images(a_cluster(2), nights=2, scenario=Scenario(models=2, load_s=20))
    figures = [
        forecast.per_hour,
        forecast.per_night,
        forecast.nights,
        forecast.loads,
        forecast.swaps,
        forecast.energy,
        forecast.cost_each,
    ]
    assert all(figure is not None and figure.source for figure in figures)


def test_the_page_stands_alone_and_takes_any_name() -> None:
    forecast = replace(images(a_cluster()), workload='<b>&"')
    html = make_page("<i>", (forecast,), (), "")
    assert "<b>" not in html
    assert "<i>" not in html
    assert html.replace("http://www.w3.org/2000/svg", "").count("http") == 0
    assert html == make_page("<i>", (forecast,), (), "")


def naps(*seconds: float, **changes: Any) -> list[Job]:  # changes are the fields of Job
    return [
        Job(name=f"t{index}", engine="sleep", seconds=duration_s, **changes) for index, duration_s in enumerate(seconds)
    ]


def test_a_batch_takes_as_long_as_its_slots_need() -> None:
    forecast = forecast_batch(a_cluster(2), naps(10, 10, 10), ())
    assert forecast.makespan is not None
    assert forecast.makespan.value == 20


def test_a_batch_tells_the_waits_of_each_class() -> None:
    person = Job(name="person", engine="sleep", task_class=TaskClass.INTERACTIVE, seconds=10)
    forecast = forecast_batch(a_cluster(), [*naps(30, 30, 30), person], ())
    waits_by_class = {name: (waits.p50.value, waits.p99.value) for name, waits in (forecast.waits or {}).items()}
    assert waits_by_class == {"interactive": (0, 0), "batch": (40, 70)}


def test_a_replay_tells_the_waits_of_each_class_in_each_play() -> None:
    tasks = [an_ended(1, 0, 30), an_ended(2, 30, 60, task_class=TaskClass.INTERACTIVE), an_ended(3, 60, 90)]
    forecast = replay(tasks, a_cluster(), a_cluster(2))
    assert {name: (waits.p50.value, waits.p99.value) for name, waits in forecast.real.waits.items()} == {
        "batch": (0, 60),
        "interactive": (30, 30),
    }
    assert forecast.again.waits.keys() == forecast.against.waits.keys() == {"batch", "interactive"}


def test_tasks_of_a_batch_wait_for_those_that_they_need() -> None:
    jobs = [*naps(10), Job(name="after", engine="sleep", seconds=5, needs=("t0",))]
    forecast = forecast_batch(a_cluster(2), jobs, ())
    assert forecast.makespan is not None
    assert forecast.makespan.value == 15


def test_tasks_of_unknown_length_are_told_all_at_once() -> None:
    jobs = [
        Job(name="a", engine="llama", model="m"),
        Job(name="b", engine="whisper"),
        Job(name="c", engine="llama", model="m"),
    ]
    forecast = forecast_batch(a_cluster(2), jobs, ())
    assert forecast.makespan is None
    assert [text.partition(" takes")[0] for text in forecast.unknown] == [
        "how long a task of llama m",
        "how long a task of whisper",
    ]


TWO_NODES = """\
apiVersion: corral/v1
name: two
nodes:
  - {name: near, gpus: [{model: RTX 5070 Ti}]}
  - {name: far, address: 10.0.0.2, gpus: [{model: RTX 5070 Ti}]}
workloads: [{name: naps, engine: sleep, preferNode: near}]
"""


@pytest.mark.parametrize(
    ("asked", "nodes"),
    [({}, {"near"}), ({"node": "far"}, {"far"}), ({"prefer_node": "far"}, {"far"})],
)
def test_tasks_of_a_batch_run_on_the_node_that_they_name_or_else_on_that_of_their_workload(asked, nodes) -> None:
    cluster = load(TWO_NODES, filename="cluster.yaml")
    batch = forecast_batch(cluster, [replace(job, **asked) for job in naps(10, 10, 10)], ())
    assert batch.run is not None
    assert {place.partition("/")[0] for span in batch.run.spans for place in span.places} == nodes


def test_workloads_that_disagree_about_a_node_give_their_tasks_none() -> None:
    cluster = load(TWO_NODES.replace("workloads: [", "workloads: [{name: other, engine: sleep}, "), filename="c.yaml")
    assert cluster.find_nodes("sleep", None) == (None, None)
    assert load(TWO_NODES, filename="c.yaml").find_nodes("sleep", "any") == (None, "near")


def test_a_workload_cannot_prefer_another_node_than_it_must_run_on() -> None:
    with pytest.raises(ClusterFileError, match="must run on node `far` and prefers `near`"):
        load(TWO_NODES.replace("preferNode: near", "node: far, preferNode: near"), filename="c.yaml")


def test_a_task_of_a_batch_that_never_starts_is_told() -> None:
    forecast = forecast_batch(a_cluster(1), naps(10, gpus=2), ())
    assert forecast.unknown == ("t0 never starts: no_fit",)


START = datetime(2026, 3, 1, 22, tzinfo=UTC)


def an_ended(number: int, from_s: float, until_s: float, slot: SlotId = FIRST, **changes: Any) -> Ended:
    defaults = {
        "id": number,
        "owner": "ada",
        "engine": "comfyui",
        "model": None,
        "queue": "default",
        "task_class": TaskClass.BATCH,
        "priority": Priority.NORMAL,
        "gpus": 1,
        "memory": None,
        "needs": (),
        "created_at": START,
        "queued_at": START,
        "started_at": START + timedelta(seconds=from_s),
        "finished_at": START + timedelta(seconds=until_s),
        "slots": (slot,),
    }
    return Ended(**{**defaults, **changes})  # type: ignore[arg-type]


LAST_NIGHT = [an_ended(number, 30 * number, 30 * number + 30) for number in range(10)]


def test_last_night_with_a_second_card_takes_half_as_long() -> None:
    forecast = replay(LAST_NIGHT, a_cluster(1), a_cluster(2))
    assert (forecast.real.makespan.value, forecast.again.makespan.value, forecast.against.makespan.value) == (
        300,
        300,
        150,
    )
    assert (forecast.error.value, forecast.gain.value) == (0, 50)


def test_gaps_that_reality_had_show_as_the_simulators_error() -> None:
    slow = [an_ended(number, 33 * number, 33 * number + 30) for number in range(10)]
    forecast = replay(slow, a_cluster(1), a_cluster(1))
    assert forecast.error.value == pytest.approx(100 * (300 - 327) / 327)


def test_a_task_that_needed_another_waits_for_it_in_the_replay_too() -> None:
    pair = [
        an_ended(1, 0, 30),
        an_ended(2, 30, 60, needs=(1,), queued_at=START + timedelta(seconds=30)),
    ]
    assert replay(pair, a_cluster(1), a_cluster(2)).against.makespan.value == 60


def test_a_ratio_that_nobody_knows_is_said() -> None:
    other = load(
        NIGHT.format(gpus="{model: RTX 5090, memory: 32Gi}", duration="duration: 30s", queues="{name: default}"),
        filename="cluster.yaml",
    )
    forecast = replay(LAST_NIGHT, a_cluster(1), other)
    assert forecast.assumed == ("comfyui takes as long on RTX 5090 as on RTX 5070 Ti: no ratio is known",)


def test_declared_durations_give_the_ratio_between_cards() -> None:
    other = load(
        NIGHT.format(
            gpus="{model: RTX 5090, memory: 32Gi}",
            duration="durations: {RTX 5070 Ti: 30s, RTX 5090: 15s}",
            queues="{name: default}",
        ),
        filename="cluster.yaml",
    )
    forecast = replay(LAST_NIGHT, a_cluster(1), other)
    assert (forecast.against.makespan.value, forecast.assumed) == (150, ())


def test_a_queue_that_the_other_file_lacks_is_said() -> None:
    tasks = [replace(task, queue="gone") for task in LAST_NIGHT]
    assert "queue gone" in replay(tasks, a_cluster(1), a_cluster(2)).assumed[0]
