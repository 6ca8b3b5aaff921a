"""Makes the plan of one layout."""

from __future__ import annotations

from collections.abc import Sequence

from corral.cluster.values import Cluster, Layout
from corral.planning.placement.cautions import find_cautions
from corral.planning.placement.demand import Demand, list_demands
from corral.planning.placement.eligibility import Eligibility, Refusals, explain_location
from corral.planning.placement.greedy import measure_preference, tidy
from corral.planning.placement.ledger import Ledger, name_unit
from corral.planning.placement.search import search
from corral.planning.placement.values import (
    GpuTotal,
    Placed,
    Plan,
    PlannedGpu,
    Unplaced,
    list_machines,
)
from corral.planning.placement.vram import Needs
from corral.rendering.lending import lends


def plan_layout(cluster: Cluster, layout: Layout | None, needs: Needs) -> Plan:
    """Place what a layout asks for; without a layout, every service as it stands.

    `needs` says what models need in VRAM, by engine and model; one that is missing is unknown.
    """
    machines = list_machines(cluster)
    demands = list_demands(cluster, layout, needs, machines)
    result = search(machines, demands)
    ledger = result.ledger
    if result.exact:
        tidy(ledger, demands)
    eligibility = Eligibility(ledger)
    return Plan(
        layout=layout.name if layout else None,
        placed=tuple(_list_placed(cluster, eligibility, demands)),
        unplaced=tuple(_list_unplaced(eligibility, demands)),
        cautions=find_cautions(cluster, layout, demands, eligibility),
        totals=tuple(_add_up(ledger, gpu) for gpu in ledger.gpus.values()),
        proofs=result.proofs,
        gap=result.gap,
        exact=result.exact,
        preference=measure_preference(ledger, demands),
    )


def _list_placed(cluster: Cluster, eligibility: Eligibility, demands: Sequence[Demand]) -> list[Placed]:
    return [
        _make_placed(cluster, eligibility, demand, replica)
        for demand in demands
        for replica in range(demand.replicas)
        if (demand.number, replica) in eligibility.ledger.locations
    ]


def _make_placed(cluster: Cluster, eligibility: Eligibility, demand: Demand, replica: int) -> Placed:
    node, indexes = location = eligibility.ledger.locations[demand.number, replica]
    return Placed(
        demand=demand.name,
        services=demand.services,
        replica=replica,
        tier=demand.tier(replica),
        node=node,
        gpus=indexes,
        memory=demand.vram.figure if demand.vram else None,
        whole=demand.whole,
        why=explain_location(eligibility, demand, location) + _explain_lending(cluster, demand),
    )


def _explain_lending(cluster: Cluster, demand: Demand) -> str:
    """Explain who can take its GPUs from it; empty where no Job can."""
    services = [cluster.services[name] for name in demand.services]
    is_lent = cluster.kubernetes is not None and demand.gpus > 0 and len(services) == 1 and lends(cluster, services[0])
    return "; Jobs can have its GPU" if is_lent else ""


def _list_unplaced(eligibility: Eligibility, demands: Sequence[Demand]) -> list[Unplaced]:
    unplaced: list[Unplaced] = []
    for demand in demands:
        refusals = Refusals(eligibility.ledger, demand)
        missing = [
            replica
            for replica in range(demand.replicas)
            if (demand.number, replica) not in eligibility.ledger.locations
        ]
        gpus, holders = eligibility.turns(demand) if missing else ((), ())
        unplaced += [
            Unplaced(
                demand=demand.name,
                services=demand.services,
                replica=replica,
                tier=demand.tier(replica),
                refusals=refusals,
                turns=gpus,
                turns_with=holders,
            )
            for replica in missing
        ]
    return unplaced


def _add_up(ledger: Ledger, gpu: PlannedGpu) -> GpuTotal:
    tenants = ledger.tenants.get((gpu.node, gpu.index), [])
    unknown = any(demand.vram is None or demand.vram.figure is None for demand, _ in tenants)
    return GpuTotal(
        gpu=gpu,
        planned=None if unknown else sum(demand.needed for demand, _ in tenants),
        tenants=tuple(name_unit((demand, replica)) for demand, replica in tenants),
        whole=any(demand.whole for demand, _ in tenants),
        open_ended=any(demand.vram is not None and demand.vram.is_open for demand, _ in tenants),
    )
