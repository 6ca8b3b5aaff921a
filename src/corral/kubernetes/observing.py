"""Nodes, their GPUs, pods and replicas, read from the API server into values.

Functions raise what `Kubectl.get` raises.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from corral.kubernetes.kubectl import Kubectl
from corral.work import Json

GPU_RESOURCE = "nvidia.com/gpu"
"""The resource of NVIDIA's device plugin, as nodes and containers have it."""
_DRIVER = "gpu.nvidia.com"
"""NVIDIA's DRA driver, as its ResourceSlices name it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeState:
    """A node of the cluster."""

    is_ready: bool
    is_closed: bool
    """Whether it takes no new pods: it is cordoned."""
    gpus: int
    """GPUs that the device plugin offers; those that are claimed are counted by `count_claimable_gpus`."""
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """A container of a pod."""

    namespace: str
    pod: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """The replicas of a workload."""

    existing: int
    ready: int


def observe_node(kubectl: Kubectl, name: str) -> NodeState:
    """Observe a node."""
    node = kubectl.get("node", name)
    conditions = {condition["type"]: condition["status"] for condition in node["status"].get("conditions", [])}
    return NodeState(
        is_ready=conditions.get("Ready") == "True",
        is_closed=bool(node["spec"].get("unschedulable")),
        gpus=int(node["status"].get("allocatable", {}).get(GPU_RESOURCE, 0)),
        labels=node.get("metadata", {}).get("labels", {}),
    )


def count_claimable_gpus(kubectl: Kubectl, node: str) -> int:
    """Count the whole GPUs that NVIDIA's DRA driver offers on a node."""
    slices = kubectl.get("resourceslices", f"--field-selector=spec.nodeName={node},spec.driver={_DRIVER}")["items"]
    newest = max((entry["spec"]["pool"]["generation"] for entry in slices), default=0)
    devices = [
        device
        for entry in slices
        if entry["spec"]["pool"]["generation"] == newest
        for device in entry["spec"].get("devices", [])
    ]
    return sum(device.get("attributes", {}).get("type", {}).get("string") == "gpu" for device in devices)


def list_gpu_containers(kubectl: Kubectl, node: str) -> tuple[Container, ...]:
    """List the running containers of a node that ask for a GPU, by number or by claim.

    A claim counts as one of a GPU: no other devices are claimed on these clusters.
    """
    selector = f"--field-selector=spec.nodeName={node},status.phase=Running"
    pods = kubectl.get("pods", "--all-namespaces", selector)["items"]
    return tuple(container for pod in pods for container in _list_with_gpu(pod))


def _list_with_gpu(pod: Json) -> Iterator[Container]:
    for container in pod["spec"].get("containers", []):
        resources = container.get("resources", {})
        if resources.get("limits", {}).get(GPU_RESOURCE) or resources.get("claims"):
            metadata = pod["metadata"]
            yield Container(namespace=metadata["namespace"], pod=metadata["name"], name=container["name"])


def find_gpu_loss(kubectl: Kubectl, container: Container) -> str | None:
    """Find why a container does not reach its GPU, as its nvidia-smi says; None when it does."""
    ran = kubectl.run_inside(container.namespace, container.pod, container.name, "nvidia-smi", "-L")
    if ran.exit_code == 0 and "GPU 0" in ran.out:
        return None
    return ((ran.errors + ran.out).strip().splitlines() or ["nvidia-smi lists no GPU"])[-1]


def observe_replicas(kubectl: Kubectl, kind: str, name: str, namespace: str) -> Replicas:
    """Observe the replicas of a Deployment, StatefulSet or the like."""
    status = kubectl.get(kind.lower(), name, "-n", namespace)["status"]
    return Replicas(existing=int(status.get("replicas", 0)), ready=int(status.get("readyReplicas", 0)))
