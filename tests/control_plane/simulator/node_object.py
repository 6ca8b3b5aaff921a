"""Makes the Node object of a simulated node. Decides; asks nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from control_plane.machines import SimulatedNode
from control_plane.simulator.devices import RESOURCE, DevicePlugin
from control_plane.simulator.events import format_time
from control_plane.simulator.objects import EMPTY, Json
from control_plane.simulator.slices import make_discovery_labels

VERSION = "v1.36.3"
PORT = 10250
"""Of the kubelet's API."""
DECLARED = ("ExtendWebSocketsToKubelet",)
"""What the API server looks for before it hands WebSockets to a node as they are."""
GROUP_LABEL = "test.corral.dev/cluster"
"""Which test a node is for; the namespaces of the test select it."""
SELECTOR = "scheduler.alpha.kubernetes.io/node-selector"
"""The annotation of a namespace that the admission plugin PodNodeSelector reads."""
HEALTHY = {
    "MemoryPressure": (False, "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
    "DiskPressure": (False, "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
    "PIDPressure": (False, "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
    "Ready": (True, "KubeletReady", "kubelet is posting ready status"),
}
Condition = tuple[bool, str, str]
"""Whether it is true, its reason and its message."""


def make_node(spec: SimulatedNode, group: str) -> Json:
    """Make the object that the node registers itself with."""
    labels = {
        "kubernetes.io/hostname": spec.name,
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/os": "linux",
        GROUP_LABEL: group,
        **(make_discovery_labels(spec.gpus) if spec.has_discovery else {}),
        **spec.labels,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": spec.name, "labels": labels},
        "spec": {"taints": [dict(taint) for taint in spec.taints]},
    }


def make_node_status(
    spec: SimulatedNode,
    address: str,
    plugin: DevicePlugin,
    images: Iterable[str],
    conditions: Mapping[str, Condition],
    before: Json,
) -> Json:
    """Make its status. `before`: the status that it had."""
    resources: Json = {
        "cpu": str(spec.cpus),
        "memory": spec.memory,
        "ephemeral-storage": spec.storage,
        "pods": "110",
    }
    has_gpus = plugin.count(healthy_only=False) > 0
    capacity = {RESOURCE: str(plugin.count(healthy_only=False))} if has_gpus else {}
    allocatable = {RESOURCE: str(plugin.count(healthy_only=True))} if has_gpus else {}
    return {
        "capacity": {**resources, **capacity},
        "allocatable": {**resources, **allocatable},
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": spec.name}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": PORT}},
        "declaredFeatures": list(DECLARED),
        "nodeInfo": {
            "architecture": "amd64",
            "bootID": "",
            "containerRuntimeVersion": "simulated://1",
            "kernelVersion": "6.12.0",
            "kubeProxyVersion": "",
            "kubeletVersion": VERSION,
            "machineID": "",
            "operatingSystem": "linux",
            "osImage": "simulated",
            "systemUUID": "",
        },
        "images": [{"names": [name], "sizeBytes": 1} for name in sorted(images)],
        "conditions": _make_conditions({**HEALTHY, **conditions}, before),
    }


def _make_conditions(states: Mapping[str, Condition], before: Json) -> list[Json]:
    now = format_time()
    kept: dict[str, Json] = {entry["type"]: entry for entry in before.get("conditions") or ()}
    conditions: list[Json] = []
    for kind, (is_true, reason, message) in states.items():
        entry = {"type": kind, "status": str(is_true), "reason": reason, "message": message}
        is_same: bool = kept.get(kind, EMPTY).get("status") == entry["status"]
        changed_at = kept[kind]["lastTransitionTime"] if is_same else now
        conditions.append({**entry, "lastHeartbeatTime": now, "lastTransitionTime": changed_at})
    return conditions
