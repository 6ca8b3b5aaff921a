"""What a correction is, and what it may look at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from corral.cluster.values import Cluster, Node, Service
from corral.planning.upgrade.capacity import Capacity
from corral.planning.upgrade.hardware import Hardware
from corral.planning.upgrade.labels import NodeLabels


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """A belief, why it matters here, and what is true."""

    id: str
    belief: str
    truth: str
    here: str
    """What in this cluster or upgrade it is about."""
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What a correction may look at."""

    before: Cluster
    after: Cluster
    """With the adaptations that the report proposes."""
    hardware: Hardware
    labels: tuple[NodeLabels, ...]
    capacity: tuple[Capacity, ...]

    @property
    def is_k3s(self) -> bool:
        """Whether K3s runs the services."""
        return self.after.kubernetes is not None and self.after.kubernetes.distribution == "k3s"

    @property
    def changed_nodes(self) -> tuple[Node, ...]:
        """The nodes whose cards change, as they are afterwards."""
        names = {node.name for node in self.hardware.changed}
        return tuple(node for node in self.after.nodes if node.name in names)

    def gpu_services(self) -> Iterator[tuple[Service, Node]]:
        """List the services with whole GPUs that are bound to a changed node."""
        for node in self.changed_nodes:
            for service in self.after.services.values():
                if service.gpus and service.node == node.name:
                    yield service, node


@dataclass(frozen=True, slots=True, kw_only=True)
class Belief:
    """A belief whose truth is the same everywhere."""

    id: str
    belief: str
    truth: str
    source: str
    where: Callable[[Situation], Sequence[str]]
    """Finds what it would do harm to; nothing, where it would do none."""
    separator: str = ", "

    def corrected(self, now: Situation) -> Correction | None:
        """The correction, if the situation calls for it."""
        found = self.where(now)
        if not found:
            return None
        here = self.separator.join(dict.fromkeys(found))
        return Correction(id=self.id, belief=self.belief, truth=self.truth, here=here, source=self.source)
