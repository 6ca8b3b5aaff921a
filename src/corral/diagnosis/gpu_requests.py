"""Pods that wait for GPUs: of the device plugin, or of a DRA driver."""

from __future__ import annotations

from collections.abc import Iterator

from corral.diagnosis.case import (
    GPU,
    Case,
    count_node_gpus,
    show_field,
    show_scheduling,
    write_kubectl,
)
from corral.diagnosis.matching import HOSTNAME, matches_node
from corral.diagnosis.objects import get_labels, get_list, get_map
from corral.diagnosis.placing import (
    Obstacle,
    Placing,
    count_wanted_gpus,
    judge_placing,
    list_holders,
    list_pinned_hosts,
    list_placings,
    name_workload,
)
from corral.diagnosis.registry import diagnoses, make_pitfall
from corral.diagnosis.values import Evidence, Symptom
from corral.linting.values import Severity
from corral.snapshot import ObjectKey
from corral.work import Json

_QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
_PRODUCT = "nvidia.com/gpu.product"
_POD_AND_NODE = ("Pod", "Node")
_OF_NODES = "node.kubernetes.io/"
"""Taints that say how a node is; other diagnoses are about them."""


@diagnoses(
    "A02",
    evidence="Pod: PodScheduled; spec.strategy of its Deployment; Pods of older ReplicaSets with the GPUs or claims",
    reads=("Pod", "Node", "Deployment", "ReplicaSet"),
)
def find_rollout_deadlocks(case: Case) -> Iterator[Symptom]:
    """Look for pods of a rolling update that wait for the GPUs of the pods that they replace."""
    for placing in list_placings(case, Obstacle.GPUS_IN_USE, Obstacle.OTHER):
        deployment = _find_deadlocked(case, placing)
        if deployment is None:
            continue
        name, namespace = deployment["metadata"]["name"], deployment["metadata"]["namespace"]
        strategy = deployment["spec"]["strategy"]
        alone = deployment["spec"].get("replicas", 1) == 1
        change = (
            '{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}'
            if alone
            else '{"spec":{"strategy":{"rollingUpdate":{"maxSurge":0,"maxUnavailable":1}}}}'
        )
        yield Symptom(
            subject=ObjectKey.read(deployment),
            cause=f"its update adds a pod before it removes one (maxSurge {_show_surge(strategy)}), and the GPUs of "
            "its nodes are held by the pods that would go next",
            evidence=(show_field(deployment, "spec.strategy.rollingUpdate"), show_scheduling(placing.pod)),
            fix=f"kubectl -n {namespace} patch deployment {name} -p '{change}'",
        )


def _find_deadlocked(case: Case, placing: Placing) -> Json | None:
    """Find the Deployment of a pod whose older pods have the GPUs that it waits for; None without one."""
    deployment = case.find_workload(placing.pod)
    if deployment["kind"] != "Deployment" or _show_surge(get_map(deployment["spec"], "strategy")) in ("", "0", "0%"):
        return None
    if placing.obstacle is Obstacle.GPUS_IN_USE:
        holders = list_holders(case, placing.nodes)
    elif next(_list_waiting_claims(case, placing.pod), None):
        holders = [pod for pod in case.pods if pod["spec"].get("nodeName") and pod["spec"].get("resourceClaims")]
    else:
        return None
    own = _get_controller(placing.pod)
    for holder in holders:
        if case.find_workload(holder) is deployment and _get_controller(holder) != own:
            return deployment
    return None


def _get_controller(pod: Json) -> str:
    owners: list[Json] = get_list(pod["metadata"], "ownerReferences")
    return next((owner["uid"] for owner in owners if owner.get("controller")), "")


def _show_surge(strategy: Json) -> str:
    return str(get_map(strategy, "rollingUpdate").get("maxSurge", ""))


@diagnoses(
    "A06", evidence="Pod: PodScheduled, GPU limits; Node: status.allocatable[nvidia.com/gpu]", reads=_POD_AND_NODE
)
def find_oversized_pods(case: Case) -> Iterator[Symptom]:
    """Look for pods that ask for more GPUs than any node has."""
    largest = max(case.nodes, key=count_node_gpus, default=None)
    for placing in list_placings(case, Obstacle.TOO_FEW_GPUS):
        if largest is None or not 0 < count_node_gpus(largest) < placing.gpus:
            continue
        yield Symptom(
            subject=ObjectKey.read(placing.pod),
            cause=f"it asks for {placing.gpus} GPUs, and the largest node, {largest['metadata']['name']}, has "
            f"{count_node_gpus(largest)}",
            evidence=(
                show_scheduling(placing.pod),
                show_field(largest, f"status.allocatable[{GPU}]", str(count_node_gpus(largest))),
            ),
            fix=f"ask for at most {count_node_gpus(largest)} GPUs in each pod, and use several pods for more",
        )


@diagnoses(
    "A07",
    evidence="Pod: PodScheduled, host pins; GPUs that pinned workloads want together; Node: status.allocatable",
    reads=("Pod", "Node", "Deployment", "StatefulSet"),
)
def find_crowded_hosts(case: Case) -> Iterator[Symptom]:
    """Look for pods whose host has fewer GPUs than the workloads that are pinned to it want together."""
    for placing in list_placings(case, Obstacle.TOO_FEW_GPUS, Obstacle.GPUS_IN_USE):
        if len(placing.nodes) != 1 or not list_pinned_hosts(placing.pod["spec"]):
            continue
        if placing.obstacle is Obstacle.GPUS_IN_USE and _find_deadlocked(case, placing):
            continue
        node = placing.nodes[0]
        offered, wanted = count_node_gpus(node), max(count_wanted_gpus(case, node), placing.gpus)
        if offered and wanted > offered:
            host = list_pinned_hosts(placing.pod["spec"])[0]
            yield Symptom(
                subject=ObjectKey.read(placing.pod),
                cause=f"workloads pinned to {host} want {wanted} GPUs, and it has {offered}",
                evidence=(
                    show_field(placing.pod, "spec.nodeSelector", f"{HOSTNAME}: {host}"),
                    show_scheduling(placing.pod),
                    show_field(node, f"status.allocatable[{GPU}]", str(offered)),
                ),
                fix=f"lower the replicas on {host} to its {offered} GPUs, or move a workload to another node",
            )


@diagnoses(
    "A13", evidence="Pod: PodScheduled, selector nvidia.com/gpu.product; that label of Nodes", reads=_POD_AND_NODE
)
def find_renamed_products(case: Case) -> Iterator[Symptom]:
    """Look for pods that select a product whose label time-slicing has renamed."""
    for placing in list_placings(case, Obstacle.SELECTORS):
        wanted = get_map(placing.pod["spec"], "nodeSelector").get(_PRODUCT)
        for node in case.nodes if wanted else ():
            actual = (get_labels(node)).get(_PRODUCT)
            if actual == f"{wanted}-SHARED":
                yield Symptom(
                    subject=ObjectKey.read(placing.pod),
                    cause=f"it selects the product {wanted}, which time-slicing renamed to {actual}",
                    evidence=(
                        show_field(placing.pod, f"spec.nodeSelector[{_PRODUCT}]", wanted),
                        show_field(node, f"metadata.labels[{_PRODUCT}]", actual),
                    ),
                    fix=f"select `{_PRODUCT}: {actual}`, or a label of your own that does not change with sharing",
                )
                break


@diagnoses(
    "A35",
    evidence="Pod: PodScheduled; Pods that have the GPUs of the nodes that it could use",
    reads=("Pod", "Node", "Deployment", "StatefulSet", "ReplicaSet"),
)
def find_gpu_shortage(case: Case) -> Iterator[Symptom]:
    """Look for serving pods that wait for a GPU while pods that always run have all."""
    for placing in list_placings(case, Obstacle.GPUS_IN_USE):
        workload = case.find_workload(placing.pod)
        if workload["kind"] not in ("Deployment", "StatefulSet") or _find_deadlocked(case, placing):
            continue
        if len(placing.nodes) == 1 and list_pinned_hosts(placing.pod["spec"]):
            continue
        holders = list_holders(case, placing.nodes)
        offered = sum(map(count_node_gpus, placing.nodes))
        yield Symptom(
            subject=ObjectKey.read(placing.pod),
            cause=f"all {offered} GPUs of the nodes that it can use are taken by {len(holders)} pods",
            evidence=(
                show_scheduling(placing.pod),
                *(show_field(pod, "spec.nodeName") for pod in holders[:4]),
            ),
            fix=f"scale {name_workload(workload)} or one of these down: "
            f"{write_kubectl(workload, 'scale', '--replicas=N')}",
        )


@diagnoses(
    make_pitfall("K02", "gpus-in-use", "a job that waits for GPUs that others have", Severity.NOTE),
    evidence="Pod: PodScheduled, of a Job without a queue; Pods that have the GPUs",
    reads=("Pod", "Node", "Job"),
)
def find_waiting_jobs(case: Case) -> Iterator[Symptom]:
    """Look for pods of jobs, outside of Kueue, that wait for a GPU."""
    for placing in list_placings(case, Obstacle.GPUS_IN_USE):
        workload = case.find_workload(placing.pod)
        is_queued = _QUEUE_LABEL in (get_labels(workload))
        if workload["kind"] in ("Deployment", "StatefulSet") or is_queued:
            continue
        holders = list_holders(case, placing.nodes)
        yield Symptom(
            subject=ObjectKey.read(placing.pod),
            cause=f"it waits for a GPU that {', '.join(pod['metadata']['name'] for pod in holders[:3])} has",
            evidence=(show_scheduling(placing.pod), *(show_field(pod, "spec.nodeName") for pod in holders[:3])),
            fix="wait until one ends, or submit it to a queue of Kueue, so that the order is known",
        )


@diagnoses(
    make_pitfall("K04", "device-claim-waits", "a claim for a GPU that no device meets"),
    evidence="Pod: PodScheduled; ResourceClaim: status.allocation; DeviceClass; devices and taints of ResourceSlices",
    reads=("Pod", "ResourceClaim", "ResourceSlice", "DeviceClass"),
)
def find_waiting_claims(case: Case) -> Iterator[Symptom]:
    """Look for pods whose claims for devices are not allocated."""
    for pod in case.pending:
        if _find_deadlocked(case, judge_placing(case, pod)):
            continue
        for claim in _list_waiting_claims(case, pod):
            requests = claim["spec"]["devices"]["requests"]
            classes = [
                request.get("exactly", request.get("firstAvailable", [{}])[0] if "firstAvailable" in request else {})
                for request in requests
            ]
            names = sorted({entry["deviceClassName"] for entry in classes if "deviceClassName" in entry})
            cause, fix, more = _judge_claim(case, pod, names)
            yield Symptom(
                subject=ObjectKey.read(pod),
                cause=cause,
                evidence=(
                    show_field(claim, "status.allocation"),
                    show_field(claim, "spec.devices.requests", f"deviceClassName {', '.join(names)}"),
                    show_scheduling(pod),
                    *more,
                ),
                fix=fix,
            )


def _list_waiting_claims(case: Case, pod: Json) -> Iterator[Json]:
    names = [entry.get("resourceClaimName") for entry in get_list(pod["spec"], "resourceClaims")]
    names += [entry.get("resourceClaimName") for entry in get_list(pod, "status", "resourceClaimStatuses")]
    for name in filter(None, names):
        claim = case.snapshot.find("ResourceClaim", name, pod["metadata"]["namespace"])
        if claim is not None and not get_map(claim, "status").get("allocation"):
            yield claim


def _judge_claim(case: Case, pod: Json, classes: list[str]) -> tuple[str, str, tuple[Evidence, ...]]:
    """Judge why a claim is not allocated: the cause, the fix, and more evidence.

    Devices of nodes that the pod's selectors do not allow are left out.
    """
    for name in classes:
        if case.snapshot.find("DeviceClass", name) is None:
            return f"there is no DeviceClass {name!r}", "install the DRA driver that brings the class", ()
    slices = [entry for entry in case.snapshot.list("ResourceSlice") if _is_reachable(case, pod, entry)]
    devices = [(entry, device) for entry in slices for device in get_list(entry["spec"], "devices")]
    if not devices:
        return (
            "no node that it can run on offers a device: no ResourceSlice of one has devices",
            "install NVIDIA's DRA driver, and look at the logs of its kubelet plugin",
            (),
        )
    tainted = [(entry, device) for entry, device in devices if device.get("taints")]
    pools = {entry["spec"].get("pool", {}).get("name") for entry in slices}
    taken = {
        (result["pool"], result["device"])
        for claim in case.snapshot.list("ResourceClaim")
        for result in get_list(claim, "status", "allocation", "devices", "results")
        if result["pool"] in pools
    }
    if tainted and len(tainted) + len(taken) >= len(devices):
        entry, device = tainted[0]
        taint = device["taints"][0]
        shown = f"{device['name']}: {taint['key']}={taint.get('value', '')}:{taint['effect']}"
        return (
            f"the device {device['name']} of {entry['spec'].get('nodeName')} is tainted, and the others are taken",
            f"repair the GPU (a taint {taint['key']} is on it), and restart the driver's plugin on that node",
            (show_field(entry, "spec.devices.taints", shown),),
        )
    if len(taken) >= len(devices):
        return f"all {len(devices)} devices are allocated to other claims", "end a pod that has one, or add a GPU", ()
    return (
        "no free device meets the selectors of the claim",
        "compare the claim's selectors with the attributes of `kubectl get resourceslices -o yaml`",
        tuple(
            show_field(entry, f"spec.devices[{device['name']}]", ", ".join(sorted(get_list(device, "attributes"))))
            for entry, device in devices[:2]
        ),
    )


def _is_reachable(case: Case, pod: Json, entry: Json) -> bool:
    """Return whether a pod can use the devices of a slice: its selectors allow the node, or there is none."""
    node = case.snapshot.find("Node", entry["spec"].get("nodeName") or "")
    return node is None or matches_node(pod["spec"], node)


@diagnoses(
    "F09",
    evidence="Pod: PodScheduled, GPU limits; Node: status.allocatable[nvidia.com/gpu-all]",
    reads=_POD_AND_NODE,
)
def find_other_resource_names(case: Case) -> Iterator[Symptom]:
    """Look for pods that ask for a resource while the nodes offer GPUs under another name."""
    for placing in list_placings(case, Obstacle.TOO_FEW_GPUS):
        if any(count_node_gpus(node, "capacity") for node in placing.nodes):
            continue
        for node in placing.nodes:
            names = [name for name in get_map(node["status"], "allocatable") if name.startswith("nvidia.com/gpu-")]
            if names:
                yield Symptom(
                    subject=ObjectKey.read(placing.pod),
                    cause=f"it asks for {GPU}, and {node['metadata']['name']} offers {names[0]}",
                    evidence=(
                        show_scheduling(placing.pod),
                        show_field(node, f"status.allocatable[{names[0]}]", node["status"]["allocatable"][names[0]]),
                    ),
                    fix="install NVIDIA's device plugin instead of generic-cdi-plugin: one claim of that gets all GPUs",
                )
                break


@diagnoses(
    make_pitfall("K05", "no-gpu-offered", "GPUs that no node offers to pods"),
    evidence="Pod: PodScheduled, GPU limits; Node: status.allocatable without nvidia.com/gpu; the cluster file's GPUs",
    reads=_POD_AND_NODE,
)
def find_missing_offers(case: Case) -> Iterator[Symptom]:
    """Look for pods that ask for a GPU while no node offers any."""
    if any(count_node_gpus(node, "capacity") for node in case.nodes):
        return
    others = [name for node in case.nodes for name in get_map(node, "status", "allocatable")]
    if any(name.startswith("nvidia.com/gpu-") for name in others):
        return
    for placing in list_placings(case, Obstacle.TOO_FEW_GPUS):
        yield Symptom(
            subject=ObjectKey.read(placing.pod),
            cause="it asks for a GPU, and no node offers one: the device plugin is missing, or finds none",
            evidence=(
                show_scheduling(placing.pod),
                *(show_field(node, f"status.allocatable[{GPU}]", "not set") for node in placing.nodes[:3]),
            ),
            fix="install NVIDIA's device plugin with `runtimeClassName: nvidia`, and look at the logs of its pods",
        )
