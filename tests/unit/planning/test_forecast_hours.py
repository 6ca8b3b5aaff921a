"""Forecasts over closed hours: a night is as long as its slots are open, and a batch waits for them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from corral.cluster import load
from corral.planning.forecast import Forecast, forecast_workload
from corral.planning.forecast.batches import Job, forecast_batch

FILE = """
apiVersion: corral/v1
name: box
timeZone: Europe/Berlin
nodes:
  - name: box
    gpus: [{model: RTX 5070 Ti, memory: 16Gi, HOURS}]
workloads:
  - {name: images, engine: comfyui, minVram: 8Gi, duration: 30s, unit: image}
night: 8h
QUEUES
"""
NOON = datetime(2026, 3, 6, 11, tzinfo=UTC)
"""A Friday, in Berlin."""


def night_of(hours: str, queues: str = "", **asked: int) -> Forecast:
    cluster = load(FILE.replace("HOURS", hours).replace("QUEUES", queues), filename="cluster.yaml")
    return forecast_workload(cluster, cluster.workloads["images"], (), now=NOON, **asked)


def made(forecast: Forecast) -> float:
    assert forecast.per_night is not None
    return forecast.per_night.value


def test_what_is_closed_in_a_night_makes_nothing() -> None:
    forecast = night_of('hours: {daily: "22:00-02:00"}')
    assert made(forecast) == 4 * 120
    assert "the night begins on Fri 2026-03-06 22:00, when the next hours begin" in forecast.assumed


def test_a_night_begins_with_its_hours_though_the_slot_is_open_now() -> None:
    assert made(night_of('hours: {weekdays: "22:00-17:00"}')) == 8 * 120


def test_the_hours_of_the_queue_bound_a_night_too() -> None:
    queues = 'queues: [{name: default, pool: [box], hours: {daily: "23:00-01:00"}}]'
    assert made(night_of('hours: {daily: "22:00-02:00"}', queues)) == 2 * 120


def test_several_nights_follow_the_days_of_the_week() -> None:
    forecast = night_of('hours: {weekdays: "22:00-02:00"}', nights=14)
    assert forecast.nights is not None
    assert forecast.nights.value == 10 * 4 * 120


def test_a_batch_over_closed_hours_ends_after_the_next_opening() -> None:
    cluster = load(
        FILE.replace("HOURS", 'hours: {daily: "12:30-13:00"}').replace("QUEUES", ""), filename="cluster.yaml"
    )
    jobs = [Job(name=f"t{index}", engine="comfyui") for index in range(61)]
    forecast = forecast_batch(cluster, jobs, (), start=NOON)
    assert forecast.makespan is not None
    assert forecast.makespan.value == 24.5 * 3600 + 30  # 60 images on this day, one on the next


TARIFF = """
electricity:
  pricePerKwh: 0.40
  tariff: [{pricePerKwh: 0.20, hours: {daily: "23:00-03:00"}}]
"""


def test_a_night_costs_what_power_costs_in_its_hours() -> None:
    open_ = 'powerLimit: 200, hours: {daily: "19:00-07:00"}'
    forecast = night_of(open_, TARIFF)  # eight hours from 19:00: half of them at half the price
    assert forecast.cost_each is not None
    assert forecast.energy_each is not None
    assert forecast.cost_each.value == pytest.approx(forecast.energy_each.value / 1000 * 0.30, rel=1e-3)
    assert "the tariff weighed by the energy of each of its hours" in forecast.cost_each.source


def test_without_hours_a_night_begins_with_the_cheap_ones() -> None:
    forecast = night_of("powerLimit: 200", TARIFF)
    assert "the night begins on Fri 2026-03-06 23:00, when the next hours begin" in forecast.assumed


def test_a_batch_that_waits_for_cheap_power_is_played_in_its_hours() -> None:
    cluster = load(FILE.replace(", HOURS", "").replace("QUEUES", TARIFF), filename="cluster.yaml")
    forecast = forecast_batch(cluster, [Job(name="t", engine="comfyui", waits_for_cheap=True)], (), start=NOON)
    assert forecast.run is not None
    (span,) = forecast.run.spans
    assert span.from_s == 11 * 3600  # from noon to eleven in the evening
