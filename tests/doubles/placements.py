"""Clusters for placement: builders, random ones, and two judges that do not use the planner's own rules.

`broken_rules` looks at a plan from the outside; `best_counts` tries every plan. Both stand for the truth that the
planner is held to, so they share nothing with it but what is asked for (`asks_of`) and what there is (`machines_of`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from random import Random

from hypothesis import strategies as st

from corral.cluster.values import Cluster, Gpu, Layout, LayoutKind, Node, Placement, Service, Storage, StorageKind
from corral.figures import computed
from corral.hardware.pools import Need
from corral.planning.placement.demand import Demand
from corral.planning.placement.values import Machine, Plan, PlannedGpu, Tier
from corral.units import Bytes
from doubles.chances import choose_some, draw_by_chance

GIB = 2**30
Taken = dict[tuple[str, int], list[tuple[bool, int]]]
"""Cards by node and index, with what each tenant has: whether all of it, and how many bytes."""
Place = tuple[Demand, str | None, tuple[int, ...]]
"""Who is on which node with which GPUs."""


def gib(size: float | None) -> Bytes | None:
    return None if size is None else Bytes(round(size * GIB))


def a_node(name: str, *gpus: tuple[str, float | None], memory: float | None = None) -> Node:
    """Make a node whose cards have models and sizes in GiB."""
    gpus = tuple(Gpu(index=index, model=model, memory=gib(size)) for index, (model, size) in enumerate(gpus))
    return Node(name=name, gpus=gpus, memory=gib(memory))


def a_cluster(
    nodes: Sequence[Node],
    services: Sequence[Service],
    layout: Mapping[str, Placement] | None = None,
    storage: Sequence[Storage] = (),
) -> Cluster:
    """Make a cluster, with one layout when there is one."""
    layouts = {} if layout is None else {"pool": Layout(name="pool", kind=LayoutKind.POOL, services=layout)}
    return Cluster(
        name="made up",
        nodes=tuple(nodes),
        services={service.name: service for service in services},
        storage={storage_entry.name: storage_entry for storage_entry in storage},
        layouts=layouts,
    )


def a_need(engine: str, model: str, size: float, floor: float = 0.0) -> Need:
    """Make the need of a model: GiB that a split shares out, and GiB that every card of it needs."""
    shared, for_each = computed(size * GIB, "B", "made up"), computed(floor * GIB, "B", "made up")
    return Need(engine=engine, model=model, divisible=shared, floor=for_each)


def seats_of(plan: Plan, demands: Sequence[Demand]) -> list[Place]:
    """List who is where in a plan."""
    by_name = {demand.name: demand for demand in demands}
    return [(by_name[replica.demand], replica.node, replica.gpus) for replica in plan.placed]


def broken_rules(locations: Sequence[Place], machines: Sequence[Machine]) -> list[str]:
    """List where seats give away what is not there, or break what the file says."""
    taken: Taken = {}
    memory: dict[str, int] = {}
    wrong: list[str] = []
    gpus_here = {(gpu.node, gpu.index): gpu for machine in machines for gpu in machine.gpus}
    for demand, node, gpus in locations:
        if len(set(gpus)) != demand.gpus:
            wrong.append(f"{demand.name} has {gpus}")
        if node is None:
            continue
        if any(bond.node != node for bond in demand.bonds):
            wrong.append(f"{demand.name} is bound elsewhere")
        if demand.indexes is not None and not demand.indexes.issuperset(gpus):
            wrong.append(f"{demand.name} has GPUs that it may not have")
        memory[node] = memory.get(node, 0) + demand.memory
        for index in gpus:
            memory[node] += demand.needed if gpus_here[node, index].is_unified else 0
            taken.setdefault((node, index), []).append((demand.whole, demand.needed))
    wrong += [f"{name}: main memory" for name in memory if not _holds_memory(machines, name, memory[name])]
    return wrong + [f"{key}: {tenants}" for key, tenants in taken.items() if not holds(gpus_here[key], tenants)]


def _holds_memory(machines: Sequence[Machine], name: str, used: int) -> bool:
    memory = next(machine.memory for machine in machines if machine.name == name)
    return memory is None or used <= memory


def holds(gpu: PlannedGpu, tenants: Sequence[tuple[bool, int]]) -> bool:
    """Tell whether tenants can be on a card together."""
    if any(whole for whole, _ in tenants) and len(tenants) > 1:
        return False
    if gpu.usable is None:
        return all(whole for whole, _ in tenants)
    return sum(size for _, size in tenants) <= gpu.usable


def best_counts(demands: Sequence[Demand], machines: Sequence[Machine]) -> tuple[int, ...]:
    """Try every plan, and count for the best one what it has of each tier."""
    units = [(demand, replica) for demand in demands for replica in range(demand.replicas)]
    return max(_counts(units, machines, {}, {}))


def _counts(
    units: Sequence[tuple[Demand, int]], machines: Sequence[Machine], taken: Taken, memory: dict[str, int]
) -> Iterator[tuple[int, ...]]:
    if not units:
        yield tuple(0 for _ in Tier)
        return
    (demand, replica), *rest = units
    yield from _counts(rest, machines, taken, memory)
    for machine, gpus in _seats(demand, machines):
        after = {key: list(tenants) for key, tenants in taken.items()}
        for gpu in gpus:
            after.setdefault((gpu.node, gpu.index), []).append((demand.whole, demand.needed))
        on_gpus = sum(demand.needed for gpu in gpus if gpu.is_unified)
        used = {**memory, machine.name: memory.get(machine.name, 0) + demand.memory + on_gpus}
        if machine.memory is not None and used[machine.name] > machine.memory:
            continue
        if all(holds(gpu, after[gpu.node, gpu.index]) for gpu in gpus):
            for counts in _counts(rest, machines, after, used):
                yield tuple(count + (tier is demand.tier(replica)) for tier, count in zip(Tier, counts, strict=True))


def _seats(demand: Demand, machines: Sequence[Machine]) -> Iterator[tuple[Machine, tuple[PlannedGpu, ...]]]:
    for machine in machines:
        if all(bond.node == machine.name for bond in demand.bonds):
            allowed = [gpu for gpu in machine.gpus if demand.indexes is None or gpu.index in demand.indexes]
            yield from ((machine, gpus) for gpus in combinations(allowed, demand.gpus))


_MODELS = (("RTX 3070", 8), ("RTX 3060 12GB", 12), ("RTX 5070 Ti", 16), ("RTX 4090", 24), ("unknown", None))


_UNIFIED_SHARE = 0.25


def clusters(*, most_nodes: int = 3, most_cards: int = 3, most_services: int = 4) -> st.SearchStrategy[Cluster]:
    """Draw clusters with whole, shared and several cards, pins, pods, volumes and main memory."""

    def make(chance: Random) -> Cluster:
        nodes = [_node(chance, f"n{index}", most_cards) for index in range(chance.randint(1, most_nodes))]
        names = [node.name for node in nodes]
        disk = Storage(name="disk", kind=StorageKind.LOCAL, node=chance.choice(names))
        services = [_service(chance, f"s{index}", names) for index in range(chance.randint(1, most_services))]
        layout = chance.choice((None, _layout(chance, services, nodes)))
        return a_cluster(nodes, services, layout, [disk])

    return draw_by_chance(make)


def _node(chance: Random, name: str, most_cards: int) -> Node:
    memory = chance.choice((None, 6, 10, 34))
    if most_cards and chance.random() < _UNIFIED_SHARE:
        gpu = Gpu(index=0, model="a processor with graphics", memory=gib(memory), is_unified=True)
        return Node(name=name, gpus=(gpu,), memory=gib(memory))
    return a_node(name, *chance.choices(_MODELS, k=chance.randint(0, most_cards)), memory=memory)


def _service(chance: Random, name: str, nodes: Sequence[str]) -> Service:
    return Service(
        name=name,
        replicas=chance.choice((1, 1, 2, 3)),
        gpus=chance.choice((None, None, 0, 1, 1, 2)),
        gpu_memory=gib(chance.choice((None, 3, 5, 7.5, 11, 20))),
        memory_request=gib(chance.choice((None, None, 2, 5))),
        node=chance.choice((None, None, None, *nodes)),
        storage=chance.choice(((), (), (), ("disk",))),
    )


def _layout(chance: Random, services: Sequence[Service], nodes: Sequence[Node]) -> dict[str, Placement]:
    named = choose_some(chance, [service.name for service in services])
    return {name: _placement(chance, nodes) for name in named}


def _placement(chance: Random, nodes: Sequence[Node]) -> Placement:
    node = chance.choice((None, *nodes))
    indexes = [gpu.index for gpu in (node.gpus or ())] if node else []
    gpus = tuple(sorted(choose_some(chance, indexes)))
    return Placement(
        node=node.name if node else None,
        gpus=gpus or None,
        replicas=chance.choice((None, None, 1, 2)),
        pod=chance.choice((None, None, "together")),
    )
