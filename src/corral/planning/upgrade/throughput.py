"""The output of each workload in an hour and in a night, before and after, as in `corral forecast`."""

from __future__ import annotations

from dataclasses import dataclass

from corral.cluster.values import Cluster
from corral.figures import Figure
from corral.planning.forecast import Forecast, forecast_workload
from corral.planning.placement.values import Plan
from corral.planning.upgrade.differences import Difference
from corral.scheduling.simulator import PlayedNights, remember_nights


@dataclass(frozen=True, slots=True)
class Situated:
    """A cluster and its plans."""

    cluster: Cluster
    plans: tuple[Plan, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """One workload by itself; None where the workload is not in the file."""

    workload: str
    unit: str
    """The product of one task: `image`."""
    before: Forecast | None
    alone: Forecast | None
    """After the upgrade, if nothing but the GPUs changed."""
    after: Forecast | None
    """After the upgrade with the adaptations that the report proposes."""

    @property
    def per_hour(self) -> Difference:
        """Its output in an hour."""
        before, after = (entry.per_hour if entry else None for entry in (self.before, self.after))
        return Difference(name=f"{self.workload} in an hour", before=before, after=after)

    @property
    def per_night(self) -> Difference:
        """Its output in a night."""
        before, after = (entry.per_night if entry else None for entry in (self.before, self.after))
        return Difference(name=f"{self.workload} in a night", before=before, after=after)

    @property
    def energy_each(self) -> Difference:
        """The energy of one, in Wh."""
        before, after = (entry.energy_each if entry else None for entry in (self.before, self.after))
        return Difference(name=f"Energy of one {self.unit}", before=before, after=after)

    @property
    def unadapted(self) -> Figure | None:
        """Its output in a night if only the GPUs changed."""
        return self.alone.per_night if self.alone else None

    @property
    def unknown(self) -> tuple[str, ...]:
        """Why nothing is known after the upgrade; empty when something is."""
        return self.after.unknown if self.after and self.after.per_night is None else ()

    @property
    def factor(self) -> float | None:
        """After over before; None when either is unknown or nothing was made before."""
        before, after = self.per_night.before, self.per_night.after
        return after.value / before.value if before and after and before.value else None


def compare_throughput(before: Situated, alone: Situated, after: Situated) -> tuple[Throughput, ...]:
    """Forecast every workload before, after with the GPUs alone, and after with the proposals."""
    names = dict.fromkeys([*after.cluster.workloads, *before.cluster.workloads])
    played = remember_nights()  # GPUs that the upgrade leaves alone have the same night in all three
    return tuple(_compare(name, before, alone, after, played) for name in names)


def _compare(name: str, before: Situated, alone: Situated, after: Situated, played: PlayedNights) -> Throughput:
    workload = after.cluster.workloads.get(name) or before.cluster.workloads[name]
    last = _forecast_one(name, after, played)
    return Throughput(
        workload=name,
        unit=workload.unit,
        before=_forecast_one(name, before, played),
        alone=last if alone.cluster == after.cluster else _forecast_one(name, alone, played),
        after=last,
    )


def _forecast_one(name: str, situated: Situated, played: PlayedNights) -> Forecast | None:
    workload = situated.cluster.workloads.get(name)
    return None if workload is None else forecast_workload(situated.cluster, workload, situated.plans, played=played)
