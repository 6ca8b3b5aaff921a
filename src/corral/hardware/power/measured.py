"""The energy that GPUs drew, as measured, next to what the catalogue and the file's limits say of the same time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from corral.cluster.values import Cluster
from corral.figures import Figure
from corral.hardware.power.node import compute_power, find_models

JOULES_PER_KWH = 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEnergy:
    """The energy of one device in some time."""

    joules: float
    work_joules: float
    """The part of Corral's own work."""
    seconds: float
    """For which it was measured."""
    worked_s: float
    """Seconds of these in which Corral's work ran."""

    def __add__(self, other: DeviceEnergy) -> DeviceEnergy:
        """Return both together."""
        return DeviceEnergy(
            joules=self.joules + other.joules,
            work_joules=self.work_joules + other.work_joules,
            seconds=self.seconds + other.seconds,
            worked_s=self.worked_s + other.worked_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHour:
    """A device in one hour."""

    hour: datetime
    device: str
    """`node/gpu0`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredDevice:
    """A device over the whole time; what nothing says is None."""

    device: str
    energy: DeviceEnergy
    cost: float | None
    """By the price of each hour."""
    watts: float | None
    """While Corral's work ran, on average."""
    expected: Figure | None
    """The watts that forecasts take for a GPU at work: its limit, else its maker's figure."""

    @property
    def deviation(self) -> float | None:
        """How far the measured watts are from the expected ones: 0.1 is 10 % above."""
        if self.watts is None or self.expected is None or not self.expected.value:
            return None
        return self.watts / self.expected.value - 1


def sum_up(hours: Mapping[DeviceHour, DeviceEnergy], cluster: Cluster) -> tuple[MeasuredDevice, ...]:
    """Sum up what was measured, for each device in the order of their names."""
    expected = _list_expected(cluster)
    by_device: defaultdict[str, dict[datetime, DeviceEnergy]] = defaultdict(dict)
    for at, energy in hours.items():
        by_device[at.device][at.hour] = energy
    return tuple(_sum_up_device(device, by_device[device], cluster, expected) for device in sorted(by_device))


def _sum_up_device(
    device: str, hours: Mapping[datetime, DeviceEnergy], cluster: Cluster, expected: Mapping[str, Figure]
) -> MeasuredDevice:
    total = add_up(hours.values())
    price = cluster.electricity
    return MeasuredDevice(
        device=device,
        energy=total,
        cost=None
        if price is None
        else sum(energy.joules / JOULES_PER_KWH * price.find_price(hour) for hour, energy in hours.items()),
        watts=total.work_joules / total.worked_s if total.worked_s else None,
        expected=expected.get(device),
    )


def add_up(energies: Iterable[DeviceEnergy]) -> DeviceEnergy:
    """Return all of it together."""
    return sum(energies, DeviceEnergy(joules=0.0, work_joules=0.0, seconds=0.0, worked_s=0.0))


def _list_expected(cluster: Cluster) -> dict[str, Figure]:
    models = find_models(cluster.nodes)
    nodes = (compute_power(node, models, electricity=None, night=timedelta(hours=8)) for node in cluster.nodes)
    return {
        f"{node.node}/gpu{gpu.index}": drawn
        for node in nodes
        for gpu in node.gpus
        if (drawn := gpu.limit or gpu.tgp) is not None
    }
