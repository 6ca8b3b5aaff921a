"""Checks of GPUs: those that nodes offer, those that pods have, and their models where the cluster shows these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from corral.cluster.values import GpuMode, Node
from corral.deploying.objects import LayoutObjects
from corral.deploying.order import RESOURCE_SLICE
from corral.diagnosis.case import count_gpus, count_node_gpus
from corral.diagnosis.objects import get_list, get_map
from corral.rendering.gpus import list_nvidia_gpus, product_name
from corral.rendering.installation import Deployed
from corral.rendering.kubernetes import gpus
from corral.rendering.kubernetes.volumes import find_node
from corral.snapshot import ObjectKey, Snapshot
from corral.verifying.values import Check, Mark, Subject
from corral.work import Json

_DRIVER = "gpu.nvidia.com"
"""NVIDIA's DRA driver, as its ResourceSlices name it."""


def check_offered_gpus(wanted: LayoutObjects, snapshot: Snapshot) -> Iterator[Check]:
    """Check that the nodes of the layout's services with GPUs offer all GPUs that the file gives them."""
    installation = wanted.installation
    by_claim = installation.gpu_mode is GpuMode.DRA
    used = {member.node for member in installation.deployed if member.gpu_count} | {
        place.node for member in installation.deployed for place in member.places if place.gpus
    }
    for node in installation.cluster.kubernetes_nodes:
        count = len(list_nvidia_gpus(node))
        live = snapshot.find("Node", node.name)
        if not count or node.name not in used:
            continue
        name = f"GPUs of {node.name}"
        if by_claim and RESOURCE_SLICE in snapshot.unread:
            yield _make(name, Mark.UNKNOWN, f"ResourceSlices cannot be read: {snapshot.unread[RESOURCE_SLICE]}")
            continue
        if live is None:
            fix = "join the node, or remove it from the cluster file"
            yield _make(name, Mark.BAD, "the cluster has no such node", fix=fix)
            continue
        offered, evidence = _count_offered(snapshot, live, by_claim=by_claim)
        what = f"{min(offered, count)} of {count} offered"
        if offered >= count:
            yield _make(name, Mark.OK, what, evidence)
        else:
            yield _make(name, Mark.BAD, what, evidence, fix="corral doctor --kubernetes")


def _count_offered(snapshot: Snapshot, node: Json, *, by_claim: bool) -> tuple[int, tuple[str, ...]]:
    """Count the GPUs that pods can get on a node: healthy ones."""
    name = node["metadata"]["name"]
    if not by_claim:
        count = count_node_gpus(node)
        return count, (f"Node {name} status.allocatable[{gpus.RESOURCE}]: {count}",)
    devices = [device for driver, device in _list_devices(snapshot, name) if driver == _DRIVER]
    tainted = [device for device in devices if get_list(device, "taints")]
    evidence = [f"ResourceSlices of {name}: {len(devices)} devices of {_DRIVER}"]
    for device in tainted:
        taints: Sequence[Mapping[str, str]] = get_list(device, "taints")
        shown = ", ".join(f"{taint['key']}={taint.get('value', '')}:{taint['effect']}" for taint in taints)
        evidence.append(f"device {device['name']} of {name} taints: {shown}")
    return len(devices) - len(tainted), tuple(evidence)


def check_pod_gpus(
    wanted: LayoutObjects, snapshot: Snapshot, members: Sequence[Deployed], pods: Sequence[Json]
) -> Iterator[Check]:
    """Check that pods that are ready have the GPUs that the layout plans for them."""
    planned = gpus.count_gpus(members)
    resource = gpus.name_resource(members)
    if not planned or resource is None:
        return
    name = f"GPUs of {', '.join(member.service.name for member in members)}"
    by_claim = gpus.gets_gpus_by_claim(wanted.installation, members)
    models = _list_planned_models(wanted, members)
    problems: list[str] = []
    evidence: list[str] = []
    given = 0
    for pod in pods:
        key = ObjectKey.read(pod)
        if by_claim:
            devices = _list_claimed(snapshot, pod)
            products = [_find_product(snapshot, *device) for device in devices]
            count = len(devices)
            shown = ", ".join(product or "a GPU whose model is unknown" for product in products) or "no device"
            evidence.append(f"{key} resource claims: {shown}")
            if models and all(products) and count == planned and not _is_within(products, models):
                problems.append(f"{key.name} has {shown}, and the layout plans {', '.join(dict.fromkeys(models))}")
        else:
            count = count_gpus(pod["spec"], resource)
            evidence.append(f"{key} limits[{resource}]: {count or 'not set'}")
        given += count
        if count < planned:
            problems.append(f"{key.name} has {count} of {planned}")
    if problems:
        yield _make(name, Mark.BAD, "; ".join(problems), tuple(evidence), fix="corral apply --force")
    else:
        of_models = f", {', '.join(dict.fromkeys(models))}" if models else ""
        what = f"{given} of {planned * len(pods)} given out{of_models}"
        yield _make(name, Mark.OK, what, tuple(evidence))


def _list_planned_models(wanted: LayoutObjects, members: Sequence[Deployed]) -> tuple[str, ...]:
    """List the products of the GPUs that a pod can have in the layout, as drivers name them; empty when unknown."""
    place = find_node(members)
    indexes = next((member.gpus for member in members if member.gpu_count and member.gpus), None)
    planned = {(place.node, index) for member in members for place in member.places for index in place.gpus}
    nodes: list[Node] = [node for node in wanted.installation.cluster.kubernetes_nodes if place in (None, node.name)]
    candidates = [
        gpu.gpu.model
        for node in nodes
        for gpu in list_nvidia_gpus(node)
        if (indexes is None or gpu.gpu.index in indexes) and (not planned or (node.name, gpu.gpu.index) in planned)
    ]
    known = [product_name(model) for model in candidates if model]
    return tuple(known) if len(known) == len(candidates) else ()


def _is_within(products: Sequence[str | None], models: Sequence[str]) -> bool:
    """Return whether the products are among the planned ones, each as often at most."""
    left = Counter(products)
    left.subtract(models)
    return max(left.values()) <= 0


def _list_claimed(snapshot: Snapshot, pod: Json) -> list[tuple[str, str, str]]:
    """List the devices that a pod has by claim: driver, pool and name of each."""
    devices: list[tuple[str, str, str]] = []
    namespace = pod["metadata"]["namespace"]
    statuses: Sequence[Json] = get_list(pod, "status", "resourceClaimStatuses")
    named = {entry["name"]: entry.get("resourceClaimName") for entry in statuses}
    for entry in get_list(pod["spec"], "resourceClaims"):
        claim_name = entry.get("resourceClaimName") or named.get(entry["name"])
        claim = snapshot.find("ResourceClaim", claim_name, namespace) if claim_name else None
        if claim is not None:
            results: Sequence[Json] = get_list(get_map(claim, "status", "allocation", "devices"), "results")
            devices += [(result["driver"], result["pool"], result["device"]) for result in results]
    return devices


def _find_product(snapshot: Snapshot, driver: str, pool: str, device: str) -> str | None:
    """Find the product of a device in the slices of its pool."""
    for entry in snapshot.list(RESOURCE_SLICE.name):
        if entry["spec"].get("driver") != driver or entry["spec"]["pool"]["name"] != pool:
            continue
        for candidate in get_list(entry["spec"], "devices"):
            if candidate["name"] == device:
                return get_map(candidate, "attributes", "productName").get("string")
    return None


def _list_devices(snapshot: Snapshot, node: str) -> Iterator[tuple[str, Json]]:
    for entry in snapshot.list(RESOURCE_SLICE.name):
        if entry["spec"].get("nodeName") == node:
            for device in get_list(entry["spec"], "devices"):
                yield entry["spec"]["driver"], device


def _make(name: str, mark: Mark, what: str, evidence: tuple[str, ...] = (), fix: str | None = None) -> Check:
    return Check(subject=Subject.GPUS, name=name, mark=mark, what=what, evidence=evidence, fix=fix)
