"""What a layout asks for: services and pods with their replicas, what each needs, and where it may run.

A layout's services hold their GPUs all the time. A service that wants GPUs and that the layout does not name is *on
demand*: it gets what is left, and otherwise takes turns. A service that wants no GPU runs in every layout. Without a
layout every service is asked for as it stands.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from corral.cluster.values import Cluster, Layout, Placement, Service, StorageKind
from corral.planning.placement.cards import Machine
from corral.planning.placement.values import Tier
from corral.planning.placement.vram import Needs, Vram, vram_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Bond:
    """What binds an ask to a node."""

    node: str
    reason: str
    volume: str | None = None
    """The local volume that binds it; None when the file names the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A service, or the services that share a pod, with identical replicas."""

    place: int
    """Its place in the order of the file; also what names it inside programs."""
    name: str
    services: tuple[str, ...]
    replicas: int
    on_demand: bool
    gpus: int
    """Cards that each replica occupies; 0 for what needs none."""
    whole: bool
    """Whether its cards are its alone; if not, it has `vram.needed` of one card."""
    vram: Vram | None
    """None when it needs no GPU."""
    memory: int
    """Bytes of main memory that each replica requests."""
    bonds: tuple[Bond, ...]
    indexes: frozenset[int] | None
    """The GPUs of its node that the layout names for it; None is any."""

    @property
    def needed(self) -> int:
        """Return the bytes that each of its cards must have; 0 when nobody knows."""
        return self.vram.needed if self.vram else 0

    @property
    def is_open(self) -> bool:
        """Return whether it takes more of its card than it needs, or nobody knows what it needs."""
        return self.vram is not None and self.vram.is_open

    def tier(self, replica: int) -> Tier:
        """Return how soon a replica is placed."""
        if self.on_demand:
            return Tier.ON_DEMAND
        return Tier.FURTHER if replica else Tier.FIRST

    def may_run_on(self, node: str) -> bool:
        """Tell whether nothing binds it to another node."""
        return all(bond.node == node for bond in self.bonds)

    def nodes(self, known: Collection[str]) -> tuple[str, ...]:
        """List the nodes that it may run on, of those that there are."""
        if self.bonds:
            known = [name for name in [self.bonds[0].node] if name in known]
        return tuple(name for name in known if self.may_run_on(name))


def asks_of(cluster: Cluster, layout: Layout | None, needs: Needs, machines: tuple[Machine, ...]) -> tuple[Ask, ...]:
    """List what the layout asks for, in the order of the file; a pod stands where its first service does."""
    groups: dict[str, list[Service]] = {}
    for service in cluster.services.values():
        pod = _placement(layout, service).pod
        groups.setdefault(f"pod {pod}" if pod else f"service {service.name}", []).append(service)
    asks = (_ask(place, cluster, layout, members, needs, machines) for place, members in enumerate(groups.values()))
    return tuple(ask for ask in asks if ask.replicas)


def _placement(layout: Layout | None, service: Service) -> Placement:
    return layout.services.get(service.name, Placement()) if layout else Placement()


def _ask(
    place: int,
    cluster: Cluster,
    layout: Layout | None,
    members: list[Service],
    needs: Needs,
    machines: tuple[Machine, ...],
) -> Ask:
    placements = [_placement(layout, service) for service in members]
    pairs = list(zip(members, placements, strict=True))
    replicas = max(_replicas(service, placement) for service, placement in pairs)
    gpus = max(_whole_cards(service, placement) for service, placement in pairs)
    wants_gpu = gpus > 0 or any(_shares(service, placement) for service, placement in pairs)
    bonds = tuple(bond for service, placement in pairs for bond in _bonds(cluster, layout, service, placement))
    named = [frozenset(placement.gpus) for placement in placements if placement.gpus]
    indexes = named[0].intersection(*named[1:]) if named else None
    vram = None
    if wants_gpu:
        cards = [
            card
            for machine in machines
            if all(bond.node == machine.name for bond in bonds)
            for card in machine.cards
            if indexes is None or card.index in indexes
        ]
        largest = max((card.usable for card in cards if card.usable is not None), default=None)
        vram = vram_of(members, needs, gpus=max(1, gpus), largest=largest)
    return Ask(
        place=place,
        name=placements[0].pod or members[0].name,
        services=tuple(service.name for service in members),
        replicas=replicas,
        on_demand=layout is not None and wants_gpu and not any(one.name in layout.services for one in members),
        gpus=max(gpus, 1) if wants_gpu else 0,
        whole=gpus > 0 or (vram is not None and vram.is_open),
        vram=vram,
        memory=sum(service.memory_request or service.memory_limit or 0 for service in members),
        bonds=bonds,
        indexes=indexes,
    )


def _replicas(service: Service, placement: Placement) -> int:
    return service.replicas if placement.replicas is None else placement.replicas


def _whole_cards(service: Service, placement: Placement) -> int:
    """Return how many cards a replica has for itself: what the service says, else its share of those that are named."""
    if service.gpus is not None or service.gpu_memory is not None or not placement.gpus:
        return service.gpus or 0
    return max(1, len(placement.gpus) // max(1, _replicas(service, placement)))


def _shares(service: Service, placement: Placement) -> bool:
    """Tell whether it wants a part of a card: memory is declared for it, and no card of its own."""
    return service.gpus is None and (service.gpu_memory is not None or bool(placement.gpus))


def _bonds(cluster: Cluster, layout: Layout | None, service: Service, placement: Placement) -> list[Bond]:
    bonds: list[Bond] = []
    if placement.node is not None and layout is not None:
        bonds.append(Bond(node=placement.node, reason=f"the layout {layout.name} runs it on {placement.node}"))
    elif service.node is not None:
        bonds.append(Bond(node=service.node, reason=f"it runs on {service.node}"))
    names = service.storage if placement.storage is None else placement.storage
    volumes = [cluster.storage[name] for name in names]
    return bonds + [
        Bond(node=volume.node, reason=f"its volume {volume.name} lies on {volume.node}", volume=volume.name)
        for volume in volumes
        if volume.kind is StorageKind.LOCAL and volume.node is not None
    ]
