"""The replicas whose GPUs a Job gets: what the cluster shows in, their names out.

Kueue ends the replicas itself, those of the lowest priority first. So the replicas chosen here get the lowest.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import chain

from corral.rendering.kubernetes.objects import REPLICA
from corral.work import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """The GPUs that a Job wants."""

    resource: str
    """`nvidia.com/gpu`."""
    per_pod: int
    pods: int
    node: str | None = None
    """The only node that they can be of; None is any."""

    @property
    def total(self) -> int:
        """Of all of its pods."""
        return self.per_pod * self.pods


@dataclass(frozen=True, slots=True, kw_only=True)
class LentReplica:
    """A replica that has GPUs by the quota of a ClusterQueue, and lends them."""

    pod: str
    node: str
    flavor: str
    gpus: int
    is_busy: bool


def count_free(cluster_queue: Json, resource: str) -> Mapping[str, int]:
    """Count the GPUs of each flavour that a ClusterQueue has left of its own quota."""
    groups = _list_parts(cluster_queue["spec"], "resourceGroups")
    quotas = _count(chain.from_iterable(group["flavors"] for group in groups), resource, "nominalQuota")
    taken = _count(_list_parts(_take_part(cluster_queue, "status"), "flavorsReservation"), resource, "total")
    return {name: max(0, quota - taken.get(name, 0)) for name, quota in quotas.items()}


def _count(flavors: Iterable[Json], resource: str, field: str) -> Mapping[str, int]:
    return {
        flavor["name"]: int(entry.get(field, 0))
        for flavor in flavors
        for entry in flavor["resources"]
        if entry["name"] == resource
    }


def list_replicas(
    pods: Iterable[Json], workloads: Iterable[Json], cluster_queue: str, resource: str, is_busy: Callable[[str], bool]
) -> tuple[LentReplica, ...]:
    """List the replicas that Kueue admitted by a ClusterQueue, and that are not ending."""
    admitted: dict[str, tuple[str, int]] = {}
    for workload in workloads:
        admission = _take_part(_take_part(workload, "status"), "admission")
        owners = [owner for owner in _list_parts(workload["metadata"], "ownerReferences") if owner["kind"] == "Pod"]
        for assigned in _list_parts(admission, "podSetAssignments"):
            flavor: str | None = _take_part(assigned, "flavors").get(resource)
            if owners and flavor is not None and admission["clusterQueue"] == cluster_queue:
                admitted[owners[0]["name"]] = flavor, int(assigned["resourceUsage"][resource])
    replicas: list[LentReplica] = []
    for pod in pods:
        metadata, node = pod["metadata"], pod["spec"].get("nodeName")
        name: str = metadata["name"]
        is_there = REPLICA in _take_part(metadata, "labels") and "deletionTimestamp" not in metadata
        if is_there and node and name in admitted:
            flavor, gpus = admitted[name]
            replicas.append(LentReplica(pod=name, node=node, flavor=flavor, gpus=gpus, is_busy=is_busy(name)))
    return tuple(replicas)


def _take_part(value: Json, name: str) -> Json:
    return value.get(name) or {}


def _list_parts(value: Json, name: str) -> list[Json]:
    return value.get(name) or []


def choose_replicas(
    replicas: Iterable[LentReplica], free: Mapping[str, int], wanted: Wanted
) -> tuple[LentReplica, ...] | None:
    """Choose the fewest replicas whose GPUs a Job needs in addition to those that are free.

    Kueue gives a Job GPUs of one flavour. Idle replicas go first, and where a pod wants several GPUs those of one node.
    None where it cannot have enough even then: other Jobs have them, or the quota is too small.
    """
    if any(count >= wanted.total for count in free.values()):
        return ()
    by_flavor: defaultdict[str, list[LentReplica]] = defaultdict(list)
    for replica in replicas:
        if wanted.node in (None, replica.node):
            by_flavor[replica.flavor].append(replica)
    choices = [
        chosen
        for flavor, listed in by_flavor.items()
        if (chosen := _take_enough(listed, wanted.total - free.get(flavor, 0), by_node=wanted.per_pod > 1)) is not None
    ]
    return min(choices, key=lambda chosen: (len(chosen), sum(replica.is_busy for replica in chosen)), default=None)


def _take_enough(replicas: list[LentReplica], missing: int, *, by_node: bool) -> tuple[LentReplica, ...] | None:
    on_node = Counter(replica.node for replica in replicas)
    order = sorted(
        replicas,
        key=lambda replica: (
            (-on_node[replica.node], replica.node) if by_node else (0, ""),
            replica.is_busy,
            replica.pod,
        ),
    )
    chosen: list[LentReplica] = []
    while missing > 0 and order:
        replica = order.pop(0)
        chosen.append(replica)
        missing -= replica.gpus
    return tuple(chosen) if missing <= 0 else None
