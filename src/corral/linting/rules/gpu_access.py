"""GPUs that are used without being asked for, more than there are, shares that add nothing, and device files."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

from corral.container_images import starts_without_gpu
from corral.linting.corpus import Corpus, Spot
from corral.linting.manifests import GPU_RESOURCE, HIDES_GPUS, Container, Pod
from corral.linting.registry import Violation, checks
from corral.linting.selection import find_folder
from corral.linting.tree import Tree
from corral.linting.values import Severity

_ALWAYS_ON = frozenset({"Deployment", "StatefulSet", "ReplicaSet"})
_TOOLS = ("k8s-device-plugin", "dcgm", "gpu-feature-discovery", "gpu-operator", "driver", "toolkit", "nvidia-smi")
"""Images that look after GPUs and request none."""


@checks("A35")
def check_total_gpus(corpus: Corpus) -> Iterator[Violation]:
    """Look for always-on pods that together ask for more whole GPUs than the cluster file has."""
    nodes = corpus.cluster.nodes if corpus.cluster else ()
    if not nodes or corpus.shares_gpus or any(node.gpus is None for node in nodes):
        return
    capacity = sum(len(node.gpus or ()) for node in nodes)
    pods = [pod for pod in corpus.deployed_pods if pod.owner.kind in _ALWAYS_ON and pod.gpus and pod.owner.replicas]
    asked = sum(pod.gpus * pod.owner.replicas for pod in pods)
    if asked > capacity and max(pod.gpus for pod in pods) <= max(len(node.gpus or ()) for node in nodes):
        folders = {find_folder(pod.owner) for pod in pods}
        what = f"{asked} whole GPUs are asked for by pods that always run, and the cluster has {capacity}"
        yield Violation(
            place=_find_gpu_limit(pods[-1]).place,
            what=what,
            subject=pods[-1].owner,
            severity=None if corpus.is_build or len(folders) == 1 else Severity.WARNING,  # choices can be among them
        )


def _find_gpu_limit(pod: Pod) -> Tree:
    resources = next(container.tree["resources"] for container in pod.containers if container.gpus)
    return resources["limits"][GPU_RESOURCE] or resources["requests"][GPU_RESOURCE]


@checks("A36")
def check_unasked_gpus(corpus: Corpus) -> Iterator[Violation]:
    """Look for pods with NVIDIA's runtime, or an image that starts on a GPU alone, that ask for no GPU."""
    for pod in corpus.pods:
        runtime = pod.spec["runtimeClassName"]
        if pod.owner.kind == "DaemonSet" or pod.spec["resourceClaims"] or any(map(_asks_for_device, pod.containers)):
            continue
        variables = {name: value.raw for container in pod.containers for name, value in container.env}
        images = [container.image or "" for container in pod.containers]
        is_tool = any(tool in image for tool in _TOOLS for image in images)
        if variables.get("NVIDIA_VISIBLE_DEVICES") in HIDES_GPUS or is_tool:
            continue
        if runtime.raw == "nvidia":
            what = "uses NVIDIA's runtime and asks for no GPU: the scheduler knows nothing of it"
            yield Violation(place=runtime.place, what=what, subject=pod.owner)
            continue
        shown = next(iter(_list_shown_gpus(pod)), None)
        if shown is not None:
            what = f"sees every GPU of its node by NVIDIA_VISIBLE_DEVICES={shown.raw}, and asks for none"
            yield Violation(place=shown.place, what=what, subject=pod.owner)
            continue
        for container in pod.containers:
            is_server = pod.owner.kind in _ALWAYS_ON and not container.is_init  # others can be clients of one
            if is_server and not starts_without_gpu(container.image or ""):
                what = f"container {container.name!r} starts on a GPU alone and asks for none"
                yield Violation(place=container.tree["image"].place, what=what, subject=pod.owner)
    for service in corpus.services:
        if service.gpus is None and not starts_without_gpu(service.image or "") and not _has_devices(service.tree):
            what = f"service {service.name!r} starts on a GPU alone and reserves none"
            yield Violation(place=service.tree["image"].place, what=what, subject=service)


def _list_shown_gpus(pod: Pod) -> Iterator[Tree]:
    """Yield the variables of a pod by which NVIDIA's runtime shows it GPUs that it did not ask for."""
    for container in pod.containers:
        for name, value in container.env:
            if name == "NVIDIA_VISIBLE_DEVICES" and value.raw == "all":
                yield value


def _has_devices(service: Tree) -> bool:
    """Return whether a service gets devices in any other way, or its files leave that open."""
    reservations = service.follow("deploy", "resources", "reservations")
    is_open = bool(service["extends"] or service["gpus"])
    return is_open or bool(service["devices"].entries or service["privileged"].boolean or reservations.keys)


def _asks_for_device(container: Container) -> bool:
    """Return whether a container asks for an extended resource: anything with a domain is handed out by a plugin."""
    resources = container.tree["resources"]
    names = resources["limits"].keys | resources["requests"].keys
    return bool(resources["claims"]) or any("/" in name and not name.startswith("hugepages") for name in names)


@checks("A37")
def check_several_shares(corpus: Corpus) -> Iterator[Violation]:
    """Look for pods with several shares of a GPU that is sliced in time or by MPS."""
    for sharing in ("timeSlicing", "mps"):
        for spot in corpus.find_under(sharing):
            is_refused = sharing == "mps" or spot.tree["failRequestsGreaterThanOne"].boolean is True
            for name, container in product(sorted(_list_share_names(spot)), corpus.containers):
                resources = container.tree["resources"]
                asked = resources["limits"][name] or resources["requests"][name]
                if (asked.count or 0) > 1:
                    result = "is refused (UnexpectedAdmissionError)" if is_refused else "gets no more than with one"
                    what = f"container {container.name!r} asks for {asked.count} shares of sliced GPUs, and {result}"
                    known = Severity.ERROR if is_refused else None
                    yield Violation(place=asked.place, what=what, subject=container.pod.owner, severity=known)


def _list_share_names(spot: Spot) -> frozenset[str]:
    """Return the resources under which a setting gives out several shares of a GPU."""
    suffix = ".shared" if spot.tree["renameByDefault"].boolean else ""
    return frozenset(
        entry["rename"].raw or f"{GPU_RESOURCE}{suffix}"
        for entry in spot.tree["resources"].entries
        if entry["name"].raw == GPU_RESOURCE and (entry["replicas"].count or 0) > 1
    )


_GPU_FILES = ("/dev/dri", "/dev/kfd", "/dev/nvidia")


@checks("A38")
def check_device_files(corpus: Corpus) -> Iterator[Violation]:
    """Look for device files of GPUs by hostPath in containers that no plugin and no privilege lets open them."""
    for pod in corpus.pods:
        files = {
            volume["name"].raw: volume["hostPath"]
            for volume in pod.spec["volumes"].entries
            if (volume["hostPath"]["path"].raw or "").startswith(_GPU_FILES)
        }
        annotations = pod.template["metadata"]["annotations"].keys
        runtime = pod.spec["runtimeClassName"].raw or ""
        if not files or "nvidia" in runtime or any(name.startswith("cdi.k8s.io/") for name in annotations):
            continue
        if pod.spec["resourceClaims"] or any(map(_asks_for_device, pod.containers)):
            continue
        for container in pod.containers:
            for mount in container.tree["volumeMounts"].entries:
                host, privileged = files.get(mount["name"].raw), container.tree["securityContext"]["privileged"]
                if host is None or (privileged and privileged.boolean is not False):
                    continue
                empty = ", and makes an empty folder where there is none" if _makes_folder(host) else ""
                shown = f"{host['path'].raw} by hostPath shows the files"
                what = f"{shown}; container {container.name!r} cannot open them{empty}"
                yield Violation(place=host["path"].place, what=what, subject=pod.owner)


def _makes_folder(host: Tree) -> bool:
    return host["type"].raw == "DirectoryOrCreate"
