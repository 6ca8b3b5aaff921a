"""Plans in one pass: first fit with hard cases first, making way for earlier tiers, and tidying up.

It is where the exact search starts from, and what completes a plan in the end. It never puts a replica where the
`Ledger` would refuse it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from types import MappingProxyType

from corral.planning.placement.candidates import Candidates
from corral.planning.placement.demand import Demand
from corral.planning.placement.ledger import Ledger, Location, Unit, suits
from corral.planning.placement.values import PlannedGpu, Preference, Tier

likeness = attrgetter("likeness")


def fill(ledger: Ledger, demands: Sequence[Demand]) -> None:
    """Place what still fits, tier by tier."""
    hardest = sorted(demands, key=likeness)
    for tier in Tier:
        for alike in (list(group) for _, group in groupby(hardest, key=likeness)):
            units = [
                (demand, replica)
                for demand in alike
                for replica in range(demand.replicas)
                if demand.tier(replica) is tier and (demand.number, replica) not in ledger.locations
            ]
            if units:
                place_all(ledger, units)


def place_all(ledger: Ledger, units: Iterable[Unit]) -> None:
    """Give replicas that are alike their best places, until there is none left."""
    candidates: Candidates | None = None
    for unit in units:
        demand = unit[0]
        if is_anywhere(ledger, demand):
            ledger.take(unit, (None, ()))
            continue
        candidates = candidates or Candidates(ledger, demand, demand.nodes(ledger.machines))
        if not candidates.take(unit):
            return


def is_anywhere(ledger: Ledger, demand: Demand) -> bool:
    """Return whether nothing that is known favours or excludes a node."""
    nothing_counted = not demand.memory or all(machine.memory is None for machine in ledger.machines.values())
    return not demand.gpus and not demand.bonds and nothing_counted


WORTH: Mapping[Tier, int] = MappingProxyType({Tier.FIRST: 100, Tier.FURTHER: 10, Tier.ON_DEMAND: 1})
"""The worth of a replica in large clusters, where plans are not exact: a first one as much as ten further ones."""
_Way = tuple[Location, tuple[Unit, ...]]
"""A place, and the replicas that must leave theirs for it."""


def make_way(ledger: Ledger, demands: Sequence[Demand]) -> None:
    """Give places of later tiers to replicas of earlier ones that have none, and are worth more."""
    easiest = sorted(demands, key=lambda demand: (demand.gpus, demand.needed, demand.number))
    for tier in (Tier.FIRST, Tier.FURTHER):
        hopeless: set[object] = set()
        loose = _list_loose_gpus(ledger, tier)
        for unit in [(demand, replica) for demand in easiest for replica in range(demand.replicas)]:
            demand, replica = unit
            waits = demand.tier(replica) is tier and (demand.number, replica) not in ledger.locations
            if waits and demand.gpus and demand.likeness not in hopeless and not _make_way_for(ledger, unit, loose):
                hopeless.add(demand.likeness)


def _list_loose_gpus(ledger: Ledger, tier: Tier) -> dict[str, list[PlannedGpu]]:
    """List by node the GPUs that are empty, or that a replica of a later tier is on."""
    loose: dict[str, list[PlannedGpu]] = {}
    for key, gpu in ledger.gpus.items():
        tenants = ledger.tenants.get(key)
        if not tenants or any(demand.tier(replica) > tier for demand, replica in tenants):
            loose.setdefault(gpu.node, []).append(gpu)
    return loose


def _make_way_for(ledger: Ledger, unit: Unit, loose: Mapping[str, Sequence[PlannedGpu]]) -> bool:
    way = _find_cheapest(ledger, unit, loose)
    if way is None or sum(_weigh(tenant) for tenant in way[1]) >= _weigh(unit):
        return False
    location, leaving = way
    for tenant in leaving:
        ledger.release(tenant)
    ledger.take(unit, location)
    return True


def _weigh(unit: Unit) -> int:
    return WORTH[unit[0].tier(unit[1])]


def _find_cheapest(ledger: Ledger, unit: Unit, loose: Mapping[str, Sequence[PlannedGpu]]) -> _Way | None:
    """Find the place for which the fewest must leave."""
    demand, replica = unit
    best: _Way | None = None
    for node in demand.nodes(loose):
        way = _find_way(ledger, demand, demand.tier(replica), node, loose[node])
        if way is not None and (best is None or len(way[1]) < len(best[1])):
            best = way
        if best is not None and len(best[1]) <= 1:
            break
    return best


def _find_way(ledger: Ledger, demand: Demand, tier: Tier, node: str, gpus: Sequence[PlannedGpu]) -> _Way | None:
    costs = sorted(
        (len(leaving), gpu.index, leaving)
        for gpu in gpus
        if suits(demand, gpu) and (leaving := _list_leaving(ledger, demand, gpu, tier)) is not None
    )[: demand.gpus]
    if len(costs) < demand.gpus:
        return None
    leaving = {(unit[0].number, unit[1]): unit for _, _, units in costs for unit in units}
    left = ledger.memory_left[node]
    location = (node, tuple(sorted(index for _, index, _ in costs)))
    freed = sum(ledger.count_memory(unit[0], ledger.locations[unit[0].number, unit[1]]) for unit in leaving.values())
    if left is not None and left + freed < ledger.count_memory(demand, location):
        return None
    return location, tuple(leaving.values())


def _list_leaving(ledger: Ledger, demand: Demand, gpu: PlannedGpu, tier: Tier) -> tuple[Unit, ...] | None:
    """List the replicas that would have to leave a GPU, or None when one on it does not have to."""
    tenants = ledger.tenants.get((gpu.node, gpu.index), [])
    later = [unit for unit in tenants if unit[0].tier(unit[1]) > tier]
    if demand.whole or any(unit[0].whole for unit in tenants):
        return tuple(tenants) if len(later) == len(tenants) else None
    left = ledger.left[gpu.node, gpu.index] or 0
    leaving: list[Unit] = []
    for unit in sorted(later, key=lambda unit: (-unit[0].needed, unit[0].number, unit[1])):
        if left >= demand.needed:
            break
        leaving.append(unit)
        left += unit[0].needed
    return tuple(leaving) if left >= demand.needed else None


_PASSES = 2
"""Moving one replica can open a better place for another; a third pass found nothing on any cluster that was tried."""


def tidy(ledger: Ledger, demands: Sequence[Demand]) -> None:
    """Move each replica to the best place that is free for it; what is placed stays placed."""
    for _ in range(_PASSES):
        for unit in [(demand, replica) for demand in demands for replica in range(demand.replicas)]:
            location = ledger.locations.get((unit[0].number, unit[1]))
            if location is not None and location[0] is not None:
                ledger.release(unit)
                if not Candidates(ledger, unit[0], unit[0].nodes(ledger.machines)).take(unit):
                    ledger.take(unit, location)


def measure_preference(ledger: Ledger, demands: Sequence[Demand]) -> Preference:
    """Count how far a plan is from the wishes."""
    return Preference(
        crowded=sum(max(0, replicas - 1) for replicas in ledger.on_node.values()),
        mixed=sum(max(0, len(ledger.models.get(demand.number, ())) - 1) for demand in demands),
        left_over=sum(
            ledger.left[key] or 0 for key, tenants in ledger.tenants.items() if tenants and not tenants[0][0].is_open
        ),
    )
