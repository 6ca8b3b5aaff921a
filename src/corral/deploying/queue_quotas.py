"""The quotas of Kueue that pods of a layout need: which of its replicas no ClusterQueue would admit.

It is Kueue's arithmetic for what a cluster file writes: a pod takes all of its resources from one flavour whose labels
its selector allows, after the Workloads of the same priority or a higher one. What is lent within a cohort without a
limit is not counted, and nothing is said of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from corral.deploying.capacity import CLAIMED, PODS, Amounts, NewPod, list_new_pods, parse_quantity
from corral.deploying.order import KUEUE
from corral.errors import Problem
from corral.narrowing import as_list, as_object
from corral.rendering.kubernetes.gpus import RESOURCE
from corral.rendering.kubernetes.objects import PRIORITY_LABEL, QUEUE_LABEL
from corral.snapshot import Kind, ObjectKey, Snapshot
from corral.units import list_some
from corral.work import Json

LOCAL_QUEUE = Kind(KUEUE, "LocalQueue")
CLUSTER_QUEUE = Kind(KUEUE, "ClusterQueue")
WORKLOAD = Kind(KUEUE, "Workload")
_FLAVOR = Kind(KUEUE, "ResourceFlavor")
_PRIORITY = Kind(KUEUE, "WorkloadPriorityClass")
OBSERVED_EVERYWHERE = (CLUSTER_QUEUE, WORKLOAD, _FLAVOR, _PRIORITY)
"""Kinds that are looked at in the whole cluster."""
_READ = (LOCAL_QUEUE, CLUSTER_QUEUE, _FLAVOR, _PRIORITY)


@dataclass(kw_only=True)
class _Flavor:
    """A flavour of a ClusterQueue, and what is left of its quota."""

    name: str
    labels: Mapping[str, str]
    quota: Amounts
    is_limited: Collection[str]
    """Resources of which no more than the quota can be had."""
    taken: list[tuple[int, str, Amounts]] = field(default_factory=list[tuple[int, str, Amounts]])
    """By Workloads: the priority of each, its name, and what it has."""

    def explain_lack(self, asks: Amounts, priority: int) -> str | None:
        """Explain which resource is not left for a pod of a priority; None where it has room."""
        first = [(name, amounts) for other, name, amounts in self.taken if other >= priority]
        for resource, amount in asks.items():
            holders = [name for name, amounts in first if amounts[resource]]
            left = self.quota[resource] - sum(amounts[resource] for _, amounts in first)
            if resource in self.is_limited and amount > left:
                taken = f" beside {list_some(holders)}" if holders else ""
                return f"flavor {self.name} has {_show(left)} of {_show(self.quota[resource])} {resource} left{taken}"
        return None


@dataclass(frozen=True, kw_only=True)
class _Queued:
    """A pod that waits for a LocalQueue."""

    pod: NewPod
    queue: str
    priority: int


def find_queue_problems(
    workloads: Iterable[Json], objects: Iterable[Json], ending: Collection[ObjectKey], snapshot: Snapshot
) -> Iterator[Problem]:
    """Find the pods of `workloads` that Kueue would not admit once the `ending` pods are gone.

    `objects` are those that are applied: their queues are in effect, else those of the cluster.
    """
    if {LOCAL_QUEUE, CLUSTER_QUEUE, WORKLOAD} & snapshot.unread.keys() or CLUSTER_QUEUE not in snapshot.served:
        return
    listed = list(objects)
    known = {ObjectKey.read(value): value for kind in _READ for value in snapshot.list(kind.name)}
    known |= {ObjectKey.read(value): value for value in listed if Kind.read(value) in _READ}
    queues: dict[str, list[_Flavor]] = {}
    for queued in sorted(_list_queued(workloads, listed, known), key=_rank):
        local = known.get(ObjectKey(LOCAL_QUEUE, queued.pod.namespace, queued.queue))
        name = "" if local is None else local["spec"]["clusterQueue"]
        queue = known.get(ObjectKey(CLUSTER_QUEUE, "", name))
        if queue is None:
            missing = f"LocalQueue {queued.queue}" if local is None else f"ClusterQueue {name}"
            yield _describe(queued, f"{missing} is not there", f"{queued.pod.namespace}/{queued.queue}")
            continue
        flavors = queues.setdefault(name, list(_read_flavors(queue, known, snapshot, ending)))
        problem = _admit(queued, flavors, queue)
        if problem is not None:
            yield _describe(queued, f"ClusterQueue {name}: {problem}", name)


def _list_queued(
    workloads: Iterable[Json], objects: Sequence[Json], known: Mapping[ObjectKey, Json]
) -> Iterator[_Queued]:
    for workload in workloads:
        labels: Mapping[str, str] = workload["metadata"].get("labels") or {}
        if QUEUE_LABEL in labels:
            priority = known.get(ObjectKey(_PRIORITY, "", labels.get(PRIORITY_LABEL, "")))
            value = 0 if priority is None else int(priority["value"])
            for pod in list_new_pods([workload], objects):
                yield _Queued(pod=pod, queue=labels[QUEUE_LABEL], priority=value)


def _rank(queued: _Queued) -> tuple[int, int]:
    return -queued.priority, -max(queued.pod.asks.values(), default=0)


def _admit(queued: _Queued, flavors: Iterable[_Flavor], queue: Json) -> str | None:
    """Give a pod the first flavour that has room for it, or explain why none has."""
    asks = Counter({RESOURCE if name == CLAIMED else name: amount for name, amount in queued.pod.asks.items()})
    del asks[PODS]
    covered = {
        name for group in as_list(queue["spec"].get("resourceGroups")) for name in as_list(group["coveredResources"])
    }
    uncovered = sorted(name for name, amount in asks.items() if amount and name not in covered)
    if uncovered:
        return f"it covers no {list_some(uncovered)}"
    selector: Mapping[str, str] = queued.pod.pod.get("nodeSelector") or {}
    lacks: list[str] = []
    for flavor in flavors:
        if any(selector.get(name, value) != value for name, value in flavor.labels.items()):
            continue
        lack = flavor.explain_lack(asks, queued.priority)
        if lack is None:
            flavor.taken.append((queued.priority, queued.pod.name, asks))
            return None
        lacks.append(lack)
    return "; ".join(lacks) or "it has no flavor of the nodes that the pod selects"


def _read_flavors(
    queue: Json, known: Mapping[ObjectKey, Json], snapshot: Snapshot, ending: Collection[ObjectKey]
) -> Iterator[_Flavor]:
    """Read the flavours of a ClusterQueue, with the Workloads that keep a part of them."""
    spec = queue["spec"]
    is_open = bool(spec.get("cohortName"))
    admitted = list(_list_admitted(queue["metadata"]["name"], snapshot, ending))
    for group in as_list(spec.get("resourceGroups")):
        for entry in as_list(group["flavors"]):
            known_flavor = known.get(ObjectKey(_FLAVOR, "", entry["name"]))
            labels = as_object(as_object(None if known_flavor is None else known_flavor.get("spec")).get("nodeLabels"))
            quota: Amounts = Counter()
            limited: set[str] = set()
            for resource in as_list(entry["resources"]):
                borrowed = resource.get("borrowingLimit")
                quota[resource["name"]] = parse_quantity(resource["nominalQuota"]) + parse_quantity(borrowed or "0")
                if borrowed is not None or not is_open:
                    limited.add(resource["name"])
            flavor = _Flavor(name=entry["name"], labels=labels, quota=quota, is_limited=limited)
            for priority, name, usage in admitted:
                if entry["name"] in usage:
                    flavor.taken.append((priority, name, usage[entry["name"]]))
            yield flavor


def _list_admitted(
    queue: str, snapshot: Snapshot, ending: Collection[ObjectKey]
) -> Iterator[tuple[int, str, Mapping[str, Amounts]]]:
    """List the Workloads that a ClusterQueue has admitted and that stay: priority, name, amounts by flavour."""
    pods = {(key.namespace, key.name) for key in ending}
    for workload in snapshot.list(WORKLOAD.name):
        metadata, status = workload["metadata"], as_object(workload.get("status"))
        admission = as_object(status.get("admission"))
        conditions = {entry["type"]: entry["status"] for entry in as_list(status.get("conditions"))}
        if admission.get("clusterQueue") != queue or conditions.get("Finished") == "True":
            continue
        owners = [owner["name"] for owner in as_list(metadata.get("ownerReferences")) if owner["kind"] == "Pod"]
        if any((metadata["namespace"], name) in pods for name in owners):
            continue
        usage: dict[str, Amounts] = {}
        for assigned in as_list(admission.get("podSetAssignments")):
            for name, flavor in as_object(assigned.get("flavors")).items():
                amount = parse_quantity(as_object(assigned.get("resourceUsage")).get(name, "0"))
                usage.setdefault(flavor, Counter())[name] += amount
        yield int(workload["spec"].get("priority") or 0), metadata["name"], usage


def _describe(queued: _Queued, what: str, where: str) -> Problem:
    return Problem(
        code="switch.quota",
        what=f"Kueue would not admit {queued.pod.name}: {what}",
        where=where,
        hint="wait for the Jobs that have it (`kubectl get workloads -A`), or change the queue's pool or the layout",
    )


def _show(thousandths: int) -> str:
    return f"{thousandths / 1000:g}"
