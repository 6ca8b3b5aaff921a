"""The room on nodes: processor, memory, pods and devices that pods which stay leave for pods that come.

It is the scheduler's arithmetic for what a cluster file writes: selectors, taints, requests, devices by count, and
devices by claim as a number. Expressions of claims are judged by the plan, which knows the GPUs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from corral.deploying.order import CLAIM_TEMPLATE, RESOURCE_SLICE
from corral.deploying.switching import read_pod
from corral.narrowing import as_list, as_object
from corral.snapshot import Kind, ObjectKey, Snapshot
from corral.work import Json

RESOURCE_CLAIM = Kind("resource.k8s.io", "ResourceClaim")
CLAIMED = "devices by claim"
"""Devices that claims ask for, as a resource."""
PODS = "pods"
_DONE = frozenset({"Succeeded", "Failed"})
_FACTORS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(1000),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("MGTPE", start=2)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}

Amounts = Counter[str]
"""Amounts by resource, in thousandths."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPod:
    """A pod that comes."""

    name: str
    """Of its workload."""
    namespace: str
    pod: Json
    asks: Amounts


def parse_quantity(text: Json) -> int:
    """Parse a quantity of Kubernetes into thousandths: `100m`, `2Gi`, `1`."""
    written = str(text)
    number = written.rstrip("kKMGTPEim")
    return int(Decimal(number) * _FACTORS[written[len(number) :]] * 1000)


def count_requests(pod: Json) -> Amounts:
    """Count what the specification of a pod asks for; init containers run before the others."""
    total: Amounts = Counter({PODS: 1000})
    for container in pod.get("containers") or ():
        total += _count_container(container)
    for container in pod.get("initContainers") or ():
        total |= _count_container(container) | Counter({PODS: 1000})
    return total


def _count_container(container: Json) -> Amounts:
    resources = as_object(container.get("resources"))
    asked = {**as_object(resources.get("limits")), **as_object(resources.get("requests"))}
    return Counter({name: parse_quantity(amount) for name, amount in asked.items()})


def list_new_pods(workloads: Iterable[Json], objects: Iterable[Json]) -> tuple[NewPod, ...]:
    """List the pods of workloads, with the devices that their claims ask for by the templates among objects."""
    templates = {
        (key.namespace, key.name): value
        for value in objects
        if Kind.read(value) == CLAIM_TEMPLATE and (key := ObjectKey.read(value))
    }
    pods: list[NewPod] = []
    for workload in workloads:
        key, pod = ObjectKey.read(workload), read_pod(workload)
        asks = count_requests(pod)
        for claim in pod.get("resourceClaims") or ():
            template = templates.get((key.namespace, claim.get("resourceClaimTemplateName", "")))
            if template is not None:
                asks[CLAIMED] += 1000 * _count_devices(template["spec"]["spec"])
        new = NewPod(name=key.name, namespace=key.namespace, pod=pod, asks=asks)
        pods += [new] * workload["spec"].get("replicas", 1)
    return tuple(pods)


def _count_devices(claim: Json) -> int:
    requests = as_list(as_object(claim.get("devices")).get("requests"))
    return sum(as_object(request.get("exactly")).get("count", 1) for request in requests)


def find_free(snapshot: Snapshot, staying: Iterable[Json]) -> dict[str, Amounts]:
    """Find what is free on each node when only some pods stay."""
    free = {node["metadata"]["name"]: _read_capacity(node) for node in snapshot.list("Node")}
    for node, count in _count_claimable(snapshot).items():
        if node in free:
            free[node][CLAIMED] = 1000 * count
    claims = {(claim["metadata"]["namespace"], claim["metadata"]["name"]): claim for claim in _list_claims(snapshot)}
    for pod in staying:
        node = pod["spec"].get("nodeName")
        if node not in free or pod.get("status", {}).get("phase") in _DONE:
            continue
        free[node].subtract(count_requests(pod["spec"]))
        for entry in as_list(as_object(pod.get("status")).get("resourceClaimStatuses")):
            claim = claims.get((pod["metadata"]["namespace"], entry.get("resourceClaimName", "")))
            free[node][CLAIMED] -= 1000 * _count_allocated(claim)
    return free


def _read_capacity(node: Json) -> Amounts:
    allocatable = as_object(as_object(node.get("status")).get("allocatable"))
    return Counter({name: parse_quantity(amount) for name, amount in allocatable.items()})


def _list_claims(snapshot: Snapshot) -> tuple[Json, ...]:
    return snapshot.list(RESOURCE_CLAIM.name)


def _count_claimable(snapshot: Snapshot) -> Mapping[str, int]:
    """Count the devices that drivers offer, by node: of the newest generation of each pool, without tainted ones."""
    newest: defaultdict[str, int] = defaultdict(int)
    for entry in snapshot.list(RESOURCE_SLICE.name):
        pool = entry["spec"]["pool"]
        newest[pool["name"]] = max(newest[pool["name"]], pool["generation"])
    counts: Counter[str] = Counter()
    for entry in snapshot.list(RESOURCE_SLICE.name):
        spec = entry["spec"]
        if spec.get("nodeName") and spec["pool"]["generation"] == newest[spec["pool"]["name"]]:
            counts[spec["nodeName"]] += sum(not device.get("taints") for device in as_list(spec.get("devices")))
    return counts


def _count_allocated(claim: Json | None) -> int:
    allocation = as_object(as_object(as_object(claim).get("status")).get("allocation"))
    return len(as_list(as_object(allocation.get("devices")).get("results")))


def explain_node(node: Json, pod: Json, labels: Mapping[str, str | None]) -> str | None:
    """Explain why a pod cannot run on a node, its room apart; None when it can. `labels` are those that it gets."""
    conditions = {entry["type"]: entry["status"] for entry in as_list(as_object(node.get("status")).get("conditions"))}
    if conditions.get("Ready") != "True":
        return "is not ready"
    if node.get("spec", {}).get("unschedulable"):
        return "is cordoned"
    has = {**as_object(node["metadata"].get("labels")), **labels}
    wanted: Mapping[str, str] = pod.get("nodeSelector") or {}
    missing = [f"{key}={value}" for key, value in wanted.items() if has.get(key) != value]
    if missing:
        return f"lacks the label {missing[0]}"
    for taint in as_list(as_object(node.get("spec")).get("taints")):
        if taint["effect"] != "PreferNoSchedule" and not any(
            _tolerates(toleration, taint) for toleration in as_list(pod.get("tolerations"))
        ):
            return f"has the taint {taint['key']}"
    return None


def _tolerates(toleration: Json, taint: Json) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    return toleration.get("key") == taint["key"] and toleration.get("value", "") == taint.get("value", "")


def explain_room(free: Amounts, asks: Amounts) -> str | None:
    """Explain what a node has too little of for a pod; None when it has enough."""
    short = [name for name, amount in asks.items() if amount > free[name]]
    if not short:
        return None
    name = min(short, key=lambda name: (name in ("cpu", "memory", PODS), name))
    return f"has {_format(name, max(0, free[name]))} {name} free of {_format(name, asks[name])} that it needs"


def _format(name: str, amount: int) -> str:
    if name in ("memory", "ephemeral-storage"):
        return f"{amount / 1000 / 2**30:.1f} GiB"
    return f"{amount / 1000:g}"
