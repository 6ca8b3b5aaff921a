"""The parts that a cluster lacks of a layout: CRDs and controllers, drivers, Secrets, images; each with what to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from corral.cluster.values import GpuMode
from corral.container_images import find_image, split_reference
from corral.deploying.objects import LayoutObjects
from corral.deploying.order import JOB, KUEUE, NODE, RESOURCE_SLICE, SECRET, WORKLOADS
from corral.narrowing import as_object
from corral.rendering.gpus import list_nvidia_gpus
from corral.rendering.kubernetes.gpus import RESOURCE
from corral.snapshot import Kind, Snapshot
from corral.work import Json

_DRIVER = "gpu.nvidia.com"
"""NVIDIA's DRA driver, as its ResourceSlices name it."""
_KUEUE_VERSION = "0.19.2"
_KUEUE_MANIFESTS = f"https://github.com/kubernetes-sigs/kueue/releases/download/v{_KUEUE_VERSION}/manifests.yaml"
_GUIDE = "docs/guides/from-cluster-file-to-k3s.md"
_WATCHING: Mapping[str, tuple[str, ...]] = {
    "dcgm-exporter": ("dcgm-exporter",),
    "node-exporter": ("node-exporter",),
    "kube-state-metrics": ("kube-state-metrics",),
    "prometheus": ("prom/prometheus", "prometheus/prometheus"),
    "grafana": ("grafana/grafana",),
    "loki": ("grafana/loki",),
}
"""Programs that dashboards and alerts need, by the name of their add-on: parts of the names of their images."""


class LackKind(StrEnum):
    """The kind of a part that is not there."""

    CONTROLLER = "controller"
    """A program, or the CRDs of one: objects wait for it."""
    DRIVER = "driver"
    """A node's GPUs are not offered to pods."""
    NODE = "node"
    SECRET = "secret"
    IMAGE = "image"
    WATCHING = "watching"
    """A program that dashboards need; everything runs without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingKey:
    """A key of a Secret that pods name and the cluster does not have."""

    namespace: str
    secret: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lack:
    """A part that is not on the cluster."""

    kind: LackKind
    what: str
    """`Secret ai-agents/litellm, key LITELLM_MASTER_KEY`"""
    next: str
    """The command, or what to do."""
    addon: str | None = None
    """The rendered add-on that brings it, on K3s."""
    key: MissingKey | None = None


def find_lacking(wanted: LayoutObjects, snapshot: Snapshot) -> tuple[Lack, ...]:
    """Find what a cluster lacks of a layout; what could not be read is not reported as missing."""
    return (
        *_find_controllers(wanted, snapshot),
        *_find_nodes(wanted, snapshot),
        *_find_drivers(wanted, snapshot),
        *_find_secrets(wanted, snapshot),
        *_find_images(wanted, snapshot),
        *_find_watching(wanted, snapshot),
    )


def write_next(lacking: Iterable[Lack]) -> tuple[str, ...]:
    """Write the next commands, each once; add-ons of K3s are one command."""
    lacks = list(lacking)
    files = [f"-f out/addons/{name}.yaml" for name in dict.fromkeys(lack.addon for lack in lacks if lack.addon)]
    addons = [f"corral render --only addons --out out && kubectl apply {' '.join(files)}"] if files else []
    return (*addons, *dict.fromkeys(lack.next for lack in lacks if lack.addon is None))


def _name_addon(wanted: LayoutObjects, name: str) -> str | None:
    """Name an add-on where it is rendered: for K3s, which installs charts by itself."""
    kubernetes = wanted.installation.cluster.kubernetes
    return name if kubernetes is not None and kubernetes.distribution == "k3s" else None


def list_looked_at() -> tuple[Kind, ...]:
    """List the kinds of all namespaces whose objects show which programs a cluster has."""
    return (*WORKLOADS, RESOURCE_SLICE)


def _find_controllers(wanted: LayoutObjects, snapshot: Snapshot) -> Iterator[Lack]:
    groups = sorted({kind.group for kind in wanted.kinds if kind not in snapshot.served})
    for group in groups:
        names = sorted(kind.name for kind in wanted.kinds if kind.group == group)
        if group == KUEUE:
            command = f"kubectl apply --server-side -f {_KUEUE_MANIFESTS}"
            what = f"Kueue {_KUEUE_VERSION}"
            yield Lack(kind=LackKind.CONTROLLER, what=what, next=command, addon=_name_addon(wanted, "kueue"))
        else:
            what = f"CRDs of {group or 'the core'} ({', '.join(names)})"
            yield Lack(kind=LackKind.CONTROLLER, what=what, next="install what serves them, or upgrade Kubernetes")


def _find_nodes(wanted: LayoutObjects, snapshot: Snapshot) -> Iterator[Lack]:
    if NODE in snapshot.unread:
        return
    for node in wanted.installation.cluster.kubernetes_nodes:
        if snapshot.find("Node", node.name) is None:
            yield Lack(kind=LackKind.NODE, what=f"node {node.name}", next=f"join it: step 5 of {_GUIDE}")


def _find_drivers(wanted: LayoutObjects, snapshot: Snapshot) -> Iterator[Lack]:
    """Find the nodes whose GPUs are offered neither by claim nor by count."""
    installation = wanted.installation
    if not any(deployed.gpu_count for deployed in installation.deployed):
        return
    by_claim = installation.gpu_mode is GpuMode.DRA
    if by_claim and RESOURCE_SLICE in snapshot.unread:
        return
    offering = {
        entry["spec"].get("nodeName")
        for entry in snapshot.list(RESOURCE_SLICE.name)
        if entry["spec"].get("driver") == _DRIVER
    }
    program = "NVIDIA's DRA driver" if by_claim else "NVIDIA's device plugin"
    addon = _name_addon(wanted, "dra-driver-nvidia-gpu" if by_claim else "nvidia-device-plugin")
    for node in installation.cluster.kubernetes_nodes:
        live = snapshot.find("Node", node.name)
        if live is None or not list_nvidia_gpus(node):
            continue
        count = as_object(as_object(live.get("status")).get("allocatable")).get(RESOURCE, "0")
        if node.name not in offering if by_claim else count == "0":
            what, step = f"{program} on {node.name}", f"install it: step 7 of {_GUIDE}"
            yield Lack(kind=LackKind.DRIVER, what=what, next=step, addon=addon)


def _find_secrets(wanted: LayoutObjects, snapshot: Snapshot) -> Iterator[Lack]:
    if SECRET in snapshot.unread:
        return
    for key in list_secret_keys(wanted):
        live = snapshot.find(SECRET.name, key.secret, key.namespace)
        if live is None or key.key not in (live.get("data") or {}):
            yield Lack(
                kind=LackKind.SECRET,
                what=f"Secret {key.namespace}/{key.secret}, key {key.key}",
                next="corral apply --ask-secrets",
                key=key,
            )


def list_secret_keys(wanted: LayoutObjects) -> tuple[MissingKey, ...]:
    """List the keys of Secrets that the pods of a layout cannot start without."""
    keys: dict[MissingKey, None] = {}
    for value, pod in _list_pods(wanted):
        namespace = value["metadata"]["namespace"]
        for container in (*(pod.get("initContainers") or ()), *pod["containers"]):
            for variable in container.get("env") or ():
                named = as_object(as_object(variable.get("valueFrom")).get("secretKeyRef"))
                if named and not named.get("optional"):
                    keys[MissingKey(namespace=namespace, secret=named["name"], key=named["key"])] = None
    return tuple(keys)


def _find_images(wanted: LayoutObjects, snapshot: Snapshot) -> Iterator[Lack]:
    """Find images that no registry has and that a node does not list. A node lists 50 images at most (kubelet,
    `nodeStatusMaxImages`): one with as many is not judged."""
    for value, pod in _list_pods(wanted):
        nodes = _list_nodes_of(pod, wanted, snapshot)
        for image in dict.fromkeys(container["image"] for container in pod["containers"]):
            if not is_without_registry(image):
                continue
            for node in nodes:
                entries: Sequence[Json] = node.get("status", {}).get("images") or ()
                names = {split_reference(name) for entry in entries for name in entry.get("names") or ()}
                if split_reference(image) in names or len(entries) >= 50:
                    continue
                name = node["metadata"]["name"]
                yield Lack(
                    kind=LackKind.IMAGE,
                    what=f"image {image} on {name}, for {value['metadata']['name']}",
                    next=f"docker save {image} | ssh {name} sudo k3s ctr images import -",
                )


def is_without_registry(image: str) -> bool:
    """Return whether an image is in no registry, by its name: a name alone, of nothing that is known."""
    name, _ = split_reference(image)
    name = name.removeprefix("library/")
    return "/" not in name and find_image(image) is None and name not in _OFFICIAL


_OFFICIAL = frozenset(
    {"busybox", "alpine", "debian", "ubuntu", "nginx", "postgres", "redis", "python", "node", "caddy"}
)
"""Images of one word that Docker Hub has, and that services of cluster files use."""


def _find_watching(wanted: LayoutObjects, snapshot: Snapshot) -> Iterator[Lack]:
    if any(kind in snapshot.unread for kind in WORKLOADS):
        return
    workloads = [value for kind in WORKLOADS for value in snapshot.list(kind.name)]
    images = " ".join(
        container["image"] for value in workloads for container in value["spec"]["template"]["spec"]["containers"]
    )
    nodes = wanted.installation.cluster.kubernetes_nodes
    has_nvidia = any(list_nvidia_gpus(node) for node in nodes)
    is_nixos = all((node.os or "").lower() == "nixos" for node in nodes)
    for program, parts in _WATCHING.items():
        if (program == "dcgm-exporter" and not has_nvidia) or (program == "node-exporter" and is_nixos):
            continue
        if not any(part in images for part in parts):
            step = "install it: docs/guides/watch-your-cluster.md"
            yield Lack(kind=LackKind.WATCHING, what=program, next=step, addon=_name_addon(wanted, program))


def _list_pods(wanted: LayoutObjects) -> Iterator[tuple[Json, Json]]:
    """List the workloads of a layout with the pod of each."""
    for value in wanted.objects:
        if Kind.read(value) in (*WORKLOADS, JOB):
            yield value, value["spec"]["template"]["spec"]


def _list_nodes_of(pod: Json, wanted: LayoutObjects, snapshot: Snapshot) -> list[Json]:
    """List the nodes that a pod can be on by its selector; for several, they are those of the file."""
    selector: Mapping[str, str] = pod.get("nodeSelector") or {}
    names = {node.name for node in wanted.installation.cluster.kubernetes_nodes}
    return [
        node
        for node in snapshot.list("Node")
        if node["metadata"]["name"] in names and selector.items() <= (node["metadata"].get("labels") or {}).items()
    ]
