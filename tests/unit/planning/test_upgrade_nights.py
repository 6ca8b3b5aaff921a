"""What an upgrade makes of a night, played with the policy that the queue runs on."""

from __future__ import annotations

import pytest

from corral.planning.upgrade import Throughput
from doubles.upgrades import TWO_EQUAL, hydra, upgrade_of

ONE_REPLICA = TWO_EQUAL.replace("replicas: 2", "replicas: 1")


def night(throughputs: tuple[Throughput, ...], workload: str) -> Throughput:
    return next(throughput for throughput in throughputs if throughput.workload == workload)


def values(throughput: Throughput) -> tuple[float | None, float | None]:
    before, after = throughput.per_night.before, throughput.per_night.after
    return (before and before.value, after and after.value)


def test_hydra_makes_twice_as_many_images() -> None:
    images = night(hydra().upgrade.findings.throughput, "images")

    assert images.per_hour.before is not None
    assert images.per_hour.after is not None
    assert (images.per_hour.before.value, images.per_hour.after.value) == (120, 240)
    assert values(images) == (960, 1920)
    assert images.factor == 2


def test_new_cards_without_a_replica_on_them_make_nothing_faster() -> None:
    images = night(hydra().upgrade.findings.throughput, "images")

    assert images.unadapted is not None
    assert images.unadapted.value == 960


@pytest.mark.parametrize("workload", ["voice", "video", "lora-training"])
def test_a_workload_of_unknown_duration_stays_unknown(workload: str) -> None:
    throughput = night(hydra().upgrade.findings.throughput, workload)

    assert values(throughput) == (None, None)
    assert throughput.factor is None


def test_two_images_begin_at_once_on_two_cards() -> None:
    images = night(hydra().upgrade.findings.throughput, "images")

    assert images.after is not None
    assert images.after.run is not None
    starts = [(span.from_s, span.places) for span in images.after.run.spans[:4]]
    assert starts == [
        (0, ("hydra-compute/gpu0",)),
        (0, ("hydra-compute/gpu1",)),
        (30, ("hydra-compute/gpu0",)),
        (30, ("hydra-compute/gpu1",)),
    ]


def test_a_slow_card_does_less_of_the_night() -> None:
    text = TWO_EQUAL.replace("minVram: 14Gi, duration: 30s", "durations: {RTX 5070 Ti: 30s, RTX 3060 12GB: 90s}")
    text = text.replace("gpuMemory: 14Gi", "gpuMemory: 8Gi")

    images = night(upgrade_of(text, ("replace", "box/gpu1=RTX 3060 12GB")).findings.throughput, "images")

    assert values(images) == (240, 120 + 40)


def test_loading_takes_its_part_of_the_night() -> None:
    text = TWO_EQUAL.replace("duration: 30s", "duration: 30s, model: sdxl, loadTime: 60s")

    images = night(upgrade_of(text, ("limit", "box=250")).findings.throughput, "images")

    assert values(images) == (236, 236)


def test_no_more_is_made_than_is_wanted() -> None:
    text = TWO_EQUAL.replace("duration: 30s", "duration: 30s, perNight: 100")

    assert values(night(upgrade_of(text, ("limit", "box=250")).findings.throughput, "images")) == (100, 100)


def test_a_night_of_very_short_tasks_is_counted_up_from_a_part() -> None:
    text = TWO_EQUAL.replace("duration: 30s", "duration: 1s").replace("night: 1h", "night: 8h")

    images = night(upgrade_of(text, ("limit", "box=250")).findings.throughput, "images")

    assert values(images) == (57_600, 57_600)
