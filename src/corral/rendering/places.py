"""Places of services as a plan gives them: rendering follows the plan, so that both give one answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from corral.cluster.values import Cluster, Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The place of one replica."""

    node: str | None
    """None: any node."""
    gpus: tuple[int, ...] = ()
    """Indexes on the node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The places of a layout's replicas, by service and replica."""

    by_replica: Mapping[tuple[str, int], Place] = field(default_factory=dict[tuple[str, int], Place])
    refused: Mapping[tuple[str, int], str] = field(default_factory=dict[tuple[str, int], str])
    """Replicas that have no place and take no turns, with the reason."""
    groups: Mapping[str, str] = field(default_factory=dict[str, str])
    """The name of the pod or service that a service is planned with."""

    def find(self, service: str, replica: int | None) -> Place | None:
        """Find the place of a replica; None where the plan has none."""
        return self.by_replica.get((service, replica or 0))

    def list_of(self, service: str) -> list[Place]:
        """List the places of a service's replicas."""
        return [place for (name, _), place in self.by_replica.items() if name == service]

    def list_tenants(self) -> Mapping[tuple[str, int], tuple[str, ...]]:
        """List who is on each GPU: pods and services by name, once for each replica."""
        tenants: dict[tuple[str, int], dict[tuple[str, int], None]] = defaultdict(dict)
        for (service, replica), place in self.by_replica.items():
            for index in place.gpus:
                if place.node is not None:
                    tenants[place.node, index][self.groups.get(service, service), replica] = None
        return {key: tuple(name for name, _ in units) for key, units in tenants.items()}

    def shares(self, service: str) -> bool:
        """Return whether a replica of a service has a GPU that others have, too."""
        tenants = self.list_tenants()
        return any(
            len(tenants[place.node, index]) > 1
            for place in self.list_of(service)
            for index in place.gpus
            if place.node is not None
        )

    @property
    def has_shared(self) -> bool:
        """Return whether several have one GPU."""
        return any(len(tenants) > 1 for tenants in self.list_tenants().values())


FindPlaces = Callable[[Cluster, Layout | None], Places]
"""Plans a layout; the planner is above this room."""
