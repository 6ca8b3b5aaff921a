"""How fast placement is, how near to the proven bound it comes, and what first fit alone would have placed.

The clusters are made up, but not simple: nodes of eleven kinds with one to eight cards, cards of 8 to 80 GB, mixed
nodes, main memory; services that want whole cards, several cards of one node, a part of a card or none, with replicas,
some bound to a node or to its volume, a third of them on demand. They want more than there is, since a cluster that
holds everything proves nothing. The same seed makes the same cluster.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Iterable, Sequence

from benchmarks.table import machine, show
from corral.cluster.values import Cluster, Gpu, Layout, LayoutKind, Node, Placement, Service, Storage, StorageKind
from corral.planning.placement.demand import Demand, list_demands
from corral.planning.placement.greedy import WORTH, fill, place_all
from corral.planning.placement.ledger import Ledger
from corral.planning.placement.planner import plan_layout
from corral.planning.placement.search import weigh_placed
from corral.planning.placement.values import list_machines
from corral.units import Bytes

_GIB = 2**30
_CARDS = {
    "RTX 3070": 8,
    "RTX 3060 12GB": 12,
    "RTX 5070 Ti": 16,
    "RTX A4000": 16,
    "RTX 4090": 24,
    "RTX 3090": 24,
    "RTX 5090": 32,
    "L40S": 48,
    "A100 80GB": 80,
}
_KINDS = (
    (("RTX 3060 12GB",) * 2, 32, 6),
    (("RTX 5070 Ti",) * 2, 64, 8),
    (("RTX 5070 Ti", "RTX 3060 12GB"), 32, 4),
    (("RTX 4090",), 64, 8),
    (("RTX 4090",) * 4, 128, 6),
    (("RTX 5090", "RTX 4090"), 96, 3),
    (("RTX 3090",) * 4, 128, 5),
    (("RTX A4000",) * 8, 256, 3),
    (("L40S",) * 4, 256, 3),
    (("A100 80GB",) * 8, 512, 2),
    (("RTX 3070",) * 3, 32, 3),
)
"""Cards of a node, its main memory in GiB, and how common it is."""
_SIZES = ((10, 20, 100), (100, 500, 0), (1_000, 5_000, 10_000))
"""GPUs, services, and the milliseconds in which the plan is wanted; 0 is none in particular."""


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clusters", type=int, default=5, help="clusters of each size (5)")
    chosen = parser.parse_args()
    crowded = a_cluster(20, 100, seed=0)
    plan_layout(crowded, crowded.layouts["pool"], {})  # loads the solver, which is not what is measured
    rows = [_row(gpus, services, aim, range(1, chosen.clusters + 1)) for gpus, services, aim in _SIZES]
    notes = [
        f"{chosen.clusters} clusters of each size, median and worst; times are of this process alone",
        "gap: how much better any plan could be at most, proven; the aim is 2 %",
        "first fit: the weight (100 : 10 : 1 by tier) of what it places alone, as a part of the plan's",
        machine(),
    ]
    head = (
        "GPUs x services",
        "time",
        "worst",
        "aim",
        "gap",
        "worst gap",
        "first fit, large first",
        "first fit, in order",
    )
    show("Placement", head, rows, notes)


def _row(gpus: int, services: int, aim_ms: int, seeds: Iterable[int]) -> tuple[str, ...]:
    measured = [_measure(a_cluster(gpus, services, seed=seed)) for seed in seeds]
    times, gaps, hard, plain = (list(column) for column in zip(*measured, strict=True))
    return (
        f"{gpus:,} x {services:,}",
        _seconds(statistics.median(times)),
        _seconds(max(times)),
        f"< {_seconds(aim_ms / 1000)}" if aim_ms else "",
        f"{statistics.median(gaps):.2%}",
        f"{max(gaps):.2%}",
        f"{statistics.median(hard):.2f}",
        f"{statistics.median(plain):.2f}",
    )


def _measure(cluster: Cluster) -> tuple[float, float, float, float]:
    """Return seconds, gap, and what two kinds of first fit place in comparison."""
    layout = cluster.layouts["pool"]
    begun = time.process_time()
    made = plan_layout(cluster, layout, {})
    took = time.process_time() - begun
    machines = list_machines(cluster)
    demands = list_demands(cluster, layout, {}, machines)
    hard = Ledger(machines)
    fill(hard, demands)
    reached = sum(WORTH[proof.tier] * proof.placed for proof in made.proofs)
    return (
        took,
        made.gap,
        weigh_placed(demands, hard) / reached,
        weigh_placed(demands, _in_order(Ledger(machines), demands)) / reached,
    )


def _in_order(ledger: Ledger, demands: Sequence[Demand]) -> Ledger:
    """Place as `kubectl apply` would, service after service in the order of the file: the first free card that does."""
    for unit in [(demand, replica) for demand in demands for replica in range(demand.replicas)]:
        place_all(ledger, [unit])
    return ledger


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def a_cluster(gpus: int, services: int, *, seed: int) -> Cluster:
    """Make a cluster of so many GPUs whose services want more than it has."""
    chance = random.Random(seed)
    nodes = _nodes(gpus, chance)
    volumes = [Storage(name=f"disk-{node.name}", kind=StorageKind.LOCAL, node=node.name) for node in nodes if node.gpus]
    made = [_service(place, nodes, volumes, chance) for place in range(services)]
    named = {service.name: Placement() for service in made if chance.random() < 0.67}
    return Cluster(
        name=f"{gpus} x {services}",
        nodes=tuple(nodes),
        storage={volume.name: volume for volume in volumes},
        services={service.name: service for service in made},
        layouts={"pool": Layout(name="pool", kind=LayoutKind.POOL, services=named)},
    )


def _nodes(gpus: int, chance: random.Random) -> list[Node]:
    nodes: list[Node] = []
    left = gpus
    while left:
        models, memory, _ = chance.choices(_KINDS, [kind[2] for kind in _KINDS])[0]
        gpus = [
            Gpu(index=place, model=model, memory=Bytes(_CARDS[model] * _GIB))
            for place, model in enumerate(models[:left])
        ]
        nodes.append(Node(name=f"node-{len(nodes):03d}", gpus=tuple(gpus), memory=Bytes(memory * _GIB)))
        left -= len(gpus)
    return nodes


def _service(place: int, nodes: Sequence[Node], volumes: Sequence[Storage], chance: random.Random) -> Service:
    what = chance.choices(("none", "part", "whole", "several"), (40, 35, 20, 5))[0]
    sizes = {
        "none": None,
        "part": chance.choice((1, 2, 3, 4, 5, 6, 8, 10, 11)),
        "whole": chance.choice((6, 10, 14, 20)),
    }
    size = sizes.get(what, chance.choice((10, 14, 20, 40)))
    bound = chance.random()
    return Service(
        name=f"service-{place:04d}",
        replicas=chance.choice((1, 1, 1, 1, 2, 2, 3)),
        gpus={"whole": 1, "several": chance.choice((2, 2, 4, 8))}.get(what),
        gpu_memory=None if size is None else Bytes(size * _GIB),
        memory_request=chance.choice((None, Bytes(_GIB), Bytes(2 * _GIB), Bytes(4 * _GIB), Bytes(8 * _GIB))),
        node=chance.choice(nodes).name if bound < 0.03 else None,
        storage=(chance.choice(volumes).name,) if 0.03 <= bound < 0.06 else (),
    )


if __name__ == "__main__":
    main()
