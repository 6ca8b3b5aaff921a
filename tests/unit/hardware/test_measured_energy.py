"""What GPUs drew, beside what forecasts take of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from corral.hardware.power.measured import DeviceEnergy, DeviceHour, sum_up
from corral.operations.cluster_file import read_cluster

NIGHT = datetime(2026, 11, 29, 22, tzinfo=UTC)
CLUSTER = """
apiVersion: corral/v1
name: home
timeZone: UTC
nodes:
  - {name: den, gpus: [{model: RTX 5070 Ti, powerLimit: 250}, {model: RTX 4090}]}
electricity: {pricePerKwh: 0.40, tariff: [{pricePerKwh: 0.20, hours: {daily: "23:00-06:00"}}]}
"""


def hour(joules: float, *, work: float = 0, worked_s: float = 0) -> DeviceEnergy:
    return DeviceEnergy(joules=joules, work_joules=work, seconds=3600, worked_s=worked_s)


def test_gpu_has_its_cost_by_the_hour_and_its_draw_at_work_beside_its_limit() -> None:
    cluster = read_cluster(CLUSTER, name="cluster.yaml").cluster
    hours = {
        DeviceHour(hour=NIGHT, device="den/gpu0"): hour(720_000, work=700_000, worked_s=3500),
        DeviceHour(hour=NIGHT + timedelta(hours=1), device="den/gpu0"): hour(360_000, work=100_000, worked_s=500),
        DeviceHour(hour=NIGHT, device="den/gpu1"): hour(36_000),
    }
    first, second = sum_up(hours, cluster)

    assert (first.device, first.energy.joules, first.energy.worked_s) == ("den/gpu0", 1_080_000, 4000)
    assert first.cost == pytest.approx(0.2 * 0.40 + 0.1 * 0.20)
    assert first.expected is not None
    assert (first.watts, first.expected.value) == (200, 250)
    assert first.deviation == pytest.approx(-0.2)
    assert (second.watts, second.deviation) == (None, None), "nothing ran there"
