"""The demand of a layout: services and pods with their replicas, what each needs, and where each can run.

A layout's services hold their GPUs all the time. A service that wants GPUs and that the layout does not name is *on
demand*: it gets what is left, and otherwise takes turns. A service that wants no GPU runs in every layout. Without a
layout every service is asked for as it stands.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from corral.cluster.values import Cluster, Layout, Placement, Service, StorageKind
from corral.planning.placement.values import Machine, PlannedGpu, Tier
from corral.planning.placement.vram import Needs, Vram, work_out_vram
from corral.rendering.makers import explain_wrong_maker, list_makers


@dataclass(frozen=True, slots=True, kw_only=True)
class Bond:
    """What binds a demand to a node."""

    node: str
    reason: str
    volume: str | None = None
    """The local volume that binds it; None when the file names the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """A service, or the services that share a pod, with identical replicas."""

    number: int
    """Its number in the order of the file; also what names it inside programs."""
    name: str
    services: tuple[str, ...]
    replicas: int
    on_demand: bool
    gpus: int
    """GPUs that each replica occupies; 0 for what needs none."""
    whole: bool
    """Whether its GPUs are its alone; if not, it has `vram.needed` of one GPU."""
    vram: Vram | None
    """None when it needs no GPU."""
    memory: int
    """Bytes of main memory that each replica requests."""
    bonds: tuple[Bond, ...]
    indexes: frozenset[int] | None
    """The GPUs of its node that the layout names for it; None is any."""
    users: tuple[Service, ...] = ()
    """The services that compute on its GPUs: their images are for GPUs of some makers."""

    def explain_wrong_maker(self, maker: str | None) -> str | None:
        """Explain why it does not compute on a maker's GPUs; None where it does, or might."""
        reasons = (explain_wrong_maker(user, maker) for user in self.users if maker is not None)
        return next((reason for reason in reasons if reason is not None), None)

    @property
    def makers(self) -> tuple[str, ...] | None:
        """Return the makers whose GPUs it computes on, sorted; None where nothing says."""
        known = [makers for user in self.users if (makers := list_makers(user)) is not None]
        return tuple(sorted(known[0].intersection(*known[1:]))) if known else None

    @property
    def needed(self) -> int:
        """Return the bytes that each of its GPUs must have; 0 when unknown."""
        return self.vram.needed if self.vram else 0

    def needed_on(self, gpu: PlannedGpu) -> int:
        """Return the bytes that a GPU must have for it: of one with the machine's memory, those of a whole model."""
        if self.vram is None:
            return 0
        return self.vram.least if gpu.is_unified else self.vram.needed

    def count_memory(self, gpus: Iterable[PlannedGpu]) -> int:
        """Count the bytes of main memory that a replica takes with these GPUs: some have their memory from there."""
        return self.memory + sum(self.needed_on(gpu) for gpu in gpus if gpu.is_unified)

    @property
    def is_open(self) -> bool:
        """Return whether it takes more of its GPU than it needs, or its need is unknown."""
        return self.vram is not None and self.vram.is_open

    @property
    def likeness(self) -> tuple[object, ...]:
        """Return what placement goes by: demands with the same have the same places.

        Sorted by it, hard cases are first: bound ones are hardest, then those that want many GPUs, then large ones.
        """
        nodes = tuple(sorted({bond.node for bond in self.bonds}))
        indexes = () if self.indexes is None else tuple(sorted(self.indexes))
        least = self.vram.least if self.vram else 0
        size = (-self.gpus, not self.whole, -self.needed, -least, -self.memory, self.is_open)
        return (not nodes, not indexes, *size, nodes, indexes, self.makers or ())

    def tier(self, replica: int) -> Tier:
        """Return how soon a replica is placed."""
        if self.on_demand:
            return Tier.ON_DEMAND
        return Tier.FURTHER if replica else Tier.FIRST

    def may_run_on(self, node: str) -> bool:
        """Return whether nothing binds it to another node."""
        return all(bond.node == node for bond in self.bonds)

    def nodes(self, known: Collection[str]) -> tuple[str, ...]:
        """List the nodes that it can run on, of those that there are."""
        if self.bonds:
            known = [name for name in [self.bonds[0].node] if name in known]
        return tuple(name for name in known if self.may_run_on(name))


def list_demands(
    cluster: Cluster, layout: Layout | None, needs: Needs, machines: Sequence[Machine]
) -> tuple[Demand, ...]:
    """List what the layout asks for, in the order of the file; a pod has the place of its first service."""
    groups: dict[str, list[Service]] = {}
    for service in cluster.services.values():
        pod = _find_placement(layout, service).pod
        groups.setdefault(f"pod {pod}" if pod else f"service {service.name}", []).append(service)
    best = _BestGpu(machines)
    demands = (
        _make_demand(number, cluster, layout, members, needs, best) for number, members in enumerate(groups.values())
    )
    return tuple(demand for demand in demands if demand.replicas)


class _BestGpu:
    """Finds the largest GPU that a service can have."""

    def __init__(self, machines: Sequence[Machine]) -> None:
        self._machines = {machine.name: machine for machine in machines}
        self._anywhere = self._find_largest(machines, None)

    def usable(self, bonds: Sequence[Bond], indexes: frozenset[int] | None) -> int | None:
        """Return its usable memory; None when no GPU's is known."""
        if not bonds and indexes is None:
            return self._anywhere
        nodes = {bond.node for bond in bonds}
        among = self._machines.values() if not nodes else [self._machines[node] for node in nodes if len(nodes) == 1]
        return self._find_largest(among, indexes)

    def _find_largest(self, machines: Iterable[Machine], indexes: frozenset[int] | None) -> int | None:
        gpus = (gpu for machine in machines for gpu in machine.gpus)
        allowed = (gpu.usable for gpu in gpus if indexes is None or gpu.index in indexes)
        return max((usable for usable in allowed if usable is not None), default=None)


def _find_placement(layout: Layout | None, service: Service) -> Placement:
    return layout.services.get(service.name, Placement()) if layout else Placement()


def _make_demand(
    number: int, cluster: Cluster, layout: Layout | None, members: Sequence[Service], needs: Needs, best: _BestGpu
) -> Demand:
    placements = [_find_placement(layout, service) for service in members]
    pairs = list(zip(members, placements, strict=True))
    gpus = max(_count_whole_gpus(service, placement) for service, placement in pairs)
    wants_gpu = gpus > 0 or any(_is_sharing(service, placement) for service, placement in pairs)
    bonds = tuple(bond for service, placement in pairs for bond in _list_bonds(cluster, layout, service, placement))
    named = [frozenset(placement.gpus) for placement in placements if placement.gpus]
    indexes = named[0].intersection(*named[1:]) if named else None
    vram = work_out_vram(members, needs, gpus=max(1, gpus), largest=best.usable(bonds, indexes)) if wants_gpu else None
    return Demand(
        number=number,
        name=placements[0].pod or members[0].name,
        services=tuple(service.name for service in members),
        replicas=max(_count_replicas(service, placement) for service, placement in pairs),
        on_demand=layout is not None and wants_gpu and not any(member.name in layout.services for member in members),
        gpus=max(gpus, 1) if wants_gpu else 0,
        whole=gpus > 0 or (vram is not None and vram.is_open),
        vram=vram,
        memory=sum(service.memory_request or service.memory_limit or 0 for service in members),
        bonds=bonds,
        indexes=indexes,
        users=tuple(
            service
            for service, placement in pairs
            if _count_whole_gpus(service, placement) or _is_sharing(service, placement)
        ),
    )


def wants_gpu(service: Service) -> bool:
    """Return whether a service asks for a GPU or a part of one, whatever a layout gives it."""
    return bool(service.gpus) or (service.gpus is None and service.gpu_memory is not None)


def list_volumes(service: Service, layout: Layout | None) -> tuple[str, ...]:
    """List the volumes that a service uses in a layout."""
    instead = _find_placement(layout, service).storage
    return service.storage if instead is None else instead


def _count_replicas(service: Service, placement: Placement) -> int:
    return service.replicas if placement.replicas is None else placement.replicas


def _count_whole_gpus(service: Service, placement: Placement) -> int:
    """Return how many GPUs a replica has for itself: what the service says, else its share of those that are named."""
    if service.gpus is not None or service.gpu_memory is not None or not placement.gpus:
        return service.gpus or 0
    return max(1, len(placement.gpus) // max(1, _count_replicas(service, placement)))


def _is_sharing(service: Service, placement: Placement) -> bool:
    """Return whether it wants a part of a GPU: memory is declared for it, and no GPU of its own."""
    return service.gpus is None and (service.gpu_memory is not None or bool(placement.gpus))


def _list_bonds(cluster: Cluster, layout: Layout | None, service: Service, placement: Placement) -> list[Bond]:
    bonds: list[Bond] = []
    if placement.node is not None and layout is not None:
        bonds.append(Bond(node=placement.node, reason=f"the layout {layout.name} runs it on {placement.node}"))
    elif service.node is not None:
        bonds.append(Bond(node=service.node, reason=f"the file keeps it on {service.node}"))
    volumes = [cluster.storage[name] for name in list_volumes(service, layout)]
    return bonds + [
        Bond(node=volume.node, reason=f"its volume {volume.name} is on {volume.node}", volume=volume.name)
        for volume in volumes
        if volume.kind is StorageKind.LOCAL and volume.node is not None
    ]
