"""GPUs that containers request, variables that choose among them, and rollouts that need one more than there is."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.compose.services import ComposeService
from corral.linting.corpus import Corpus, Spot
from corral.linting.manifests import GPU_RESOURCE, HIDES_GPUS, Container, Manifest, Pod
from corral.linting.programs import Program, read_container, read_service
from corral.linting.registry import Violation, checks
from corral.linting.tree import Tree, parse_count
from corral.linting.values import Severity

_GPU_VARIABLES = frozenset({"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"})
_NO_GPU = HIDES_GPUS | {"-1"}
_ONE_PROCESS = re.compile(r"ollama|llama[._-]?cpp|llama-swap|comfyui|koboldcpp|whisper|nvidia/cuda|k8s-device-plugin")
_WITH_NCCL = re.compile(
    r"torch|vllm|sglang|text-generation-inference|deepspeed|megatron|nemo|nccl|axolotl|train|tune|accelerate|trl\b"
)
"""Programs that pass tensors between GPUs; for others it is unknown."""
_MULTI_GPU = re.compile(r"--(?:tensor-parallel-size|nproc[_-]per[_-]node|num_processes)[= ](?P<count>\d+)|--multi_gpu")


def _get_request(container: Container, part: str) -> Tree:
    return container.tree["resources"][part][GPU_RESOURCE]


@checks("A03")
def check_missing_limit(corpus: Corpus) -> Iterator[Violation]:
    """Look for requests without a limit."""
    for container in corpus.containers:
        request = _get_request(container, "requests")
        if request and not _get_request(container, "limits"):
            what = f"container {container.name!r} requests {request.raw} GPU and has no limit for it"
            yield Violation(place=request.place, what=what, subject=container.pod.owner)


@checks("A04")
def check_request_equals_limit(corpus: Corpus) -> Iterator[Violation]:
    """Look for requests that are not their limit."""
    for container in corpus.containers:
        request, limit = _get_request(container, "requests"), _get_request(container, "limits")
        if request.raw and limit.raw and request.raw != limit.raw:
            what = f"container {container.name!r} requests {request.raw} GPU with a limit of {limit.raw}"
            yield Violation(place=request.place, what=what, subject=container.pod.owner, edits=request.edit(limit.raw))


@checks("A05")
def check_fractions(corpus: Corpus) -> Iterator[Violation]:
    """Look for numbers of GPUs that are not whole numbers."""
    for container in corpus.containers:
        for part in ("limits", "requests"):
            asked = _get_request(container, part)
            if asked.raw is not None and not asked.raw.isdigit():
                what = f"container {container.name!r} requests {asked.raw!r} of a GPU"
                yield Violation(place=asked.place, what=what, subject=container.pod.owner)


@checks("A06")
def check_largest_node(corpus: Corpus) -> Iterator[Violation]:
    """Look for pods that no node of the cluster file can hold."""
    if corpus.cluster is None or corpus.shares_gpus or any(node.gpus is None for node in corpus.cluster.nodes):
        return
    most = max(corpus.count_nvidia_gpus(node) for node in corpus.cluster.nodes)
    for pod in corpus.pods:
        if pod.gpus > most:
            place = next(
                _get_request(container, "limits") or _get_request(container, "requests")
                for container in pod.containers
                if container.gpus
            )
            what = f"a pod requests {pod.gpus} {GPU_RESOURCE}, and the largest node has {most}"
            yield Violation(place=place.place, what=what, subject=pod.owner)
    yield from _find_missing_gpus(corpus, most)


def _find_missing_gpus(corpus: Corpus, most: int) -> Iterator[Violation]:
    """Report Compose services that name or count more GPUs than any machine has."""
    for service in corpus.services:
        access = service.gpus
        if access is None:
            continue
        indexes = [index for id in access.ids if (index := parse_count(id)) is not None]
        if any(index >= most for index in indexes):
            what = f"GPU {max(indexes)} is named; the largest machine has {most}, numbered from 0"
            yield Violation(place=access.place.place, what=what, subject=service)
        elif (access.count or 0) > most:
            what = f"{access.count} GPUs are reserved, and the largest machine has {most}"
            yield Violation(place=access.place.place, what=what, subject=service)


@checks("A08")
def check_users_without_request(corpus: Corpus) -> Iterator[Violation]:
    """Look for containers with GPU variables in a pod where only another container requests a GPU."""
    for container in corpus.containers:
        if container.gpus or container.is_init or not container.pod.gpus or container.tree["resources"]["claims"]:
            continue
        for name, value in container.env:
            if name in _GPU_VARIABLES and (value.raw or "").lower() not in _NO_GPU:
                what = f"container {container.name!r} sets {name} and requests no GPU; another one of the pod does"
                yield Violation(place=value.place, what=what, subject=container.pod.owner)
                break


@checks("A26")
def check_shared_memory(corpus: Corpus) -> Iterator[Violation]:
    """Look for containers of several GPUs that have no more than 64 MB at /dev/shm."""
    for container in corpus.containers:
        program = read_container(container)
        mounts = [(mount["mountPath"].raw or "").rstrip("/") for mount in container.tree["volumeMounts"].entries]
        is_large = _SHM in mounts or bool(container.pod.spec["hostIPC"].boolean)
        if not is_large and not container.has_gpu_share and _uses_several(program):
            what = f"container {container.name!r} uses several GPUs and has no volume at /dev/shm"
            place = (_get_request(container, "limits") or container.tree["name"] or container.tree).place
            known = None if _shares_memory(program) else Severity.NOTE
            yield Violation(place=place, what=what, subject=container.pod.owner, severity=known)
    for service in corpus.services:
        program, tree = read_service(service), service.tree
        mounts = [(mount["target"].raw or "").rstrip("/") for mount in service.mounts]
        temporary = [(entry.raw or "").partition(":")[0] for entry in (*tree["tmpfs"].entries, tree["tmpfs"])]
        is_large = _SHM in (*mounts, *temporary) or bool(tree["shm_size"]) or _has_other_memory(tree["ipc"])
        if not is_large and _uses_several(program) and _shares_memory(program):
            what = f"{program.title} uses several GPUs and has neither shm_size nor `ipc: host`"
            yield Violation(place=program.gpu_place.place, what=what, subject=service)


_SHM = "/dev/shm"


def _has_other_memory(ipc: Tree) -> bool:
    """Return whether a service has the shared memory of the machine or of another container."""
    return bool(ipc) and ipc.raw not in ("private", "shareable", "none")


def _uses_several(program: Program) -> bool:
    """Return whether several GPUs are given and the program passes tensors between them, as far as is known."""
    several = (program.gpus or 0) > 1 or (program.has_gpu and _starts_several(program))
    return several and not _ONE_PROCESS.search(program.image or "")


def _shares_memory(program: Program) -> bool:
    return _starts_several(program) or bool(_WITH_NCCL.search(program.image or ""))


def _starts_several(program: Program) -> bool:
    match = _MULTI_GPU.search(program.script)
    return match is not None and match["count"] != "1"


@checks("A27")
def check_peer_to_peer(corpus: Corpus) -> Iterator[Violation]:
    """Look for containers of several GPUs on nodes of GeForce GPUs."""
    if corpus.cluster is None:
        return
    geforce = any(
        (gpu.model or "").startswith(("RTX 3", "RTX 4", "RTX 5", "RTX 2", "GTX")) and "Ada" not in (gpu.model or "")
        for node in corpus.cluster.nodes
        for gpu in node.gpus or ()
        if len(node.gpus or ()) > 1
    )
    shares = {container.tree.place for container in corpus.containers if container.has_gpu_share}
    for program in corpus.programs if geforce else ():
        is_single = program.tree.place in shares or _ONE_PROCESS.search(program.image or "")
        if (program.gpus or 0) > 1 and not is_single and "NCCL_P2P_DISABLE" not in program.settings:
            what = f"{program.title} uses {program.gpus} GeForce GPUs and leaves NCCL's peer-to-peer on"
            yield Violation(
                place=(program.gpu_place[GPU_RESOURCE] or program.gpu_place).place, what=what, subject=program.subject
            )


def _list_variables(corpus: Corpus, name: str) -> Iterator[tuple[Spot, Tree]]:
    """Every `{name: ..., value: ...}` of an `env` list, in objects and in parts of manifests."""
    for spot in corpus.find_under("env"):
        for entry in spot.tree.entries:
            if entry["name"].raw == name and entry["value"]:
                yield spot, entry["value"]


@checks("A09", of_files=True)
def check_visible_devices(corpus: Corpus) -> Iterator[Violation]:
    """Look for the variable with anything but `void` or `none`."""
    for spot, value in _list_variables(corpus, "NVIDIA_VISIBLE_DEVICES"):
        if spot.document.tree["kind"].raw == "DaemonSet":
            continue  # plugins and exporters see every GPU of their node, and request none
        if value.raw is not None and value.raw not in HIDES_GPUS:
            what = f"NVIDIA_VISIBLE_DEVICES is {value.raw!r} in a pod"
            yield Violation(place=value.place, what=what, subject=spot.subject)
    for container in corpus.containers:
        value = dict(container.env).get("NVIDIA_VISIBLE_DEVICES")
        is_plugin = container.pod.owner.kind == "DaemonSet"
        if value is not None and value.raw is not None and value.raw not in HIDES_GPUS and not is_plugin:
            what = f"NVIDIA_VISIBLE_DEVICES is {value.raw!r} in a pod"
            yield Violation(place=value.place, what=what, subject=container.pod.owner)
    for service in corpus.services:
        value, access = service.env.get("NVIDIA_VISIBLE_DEVICES"), service.gpus
        is_same = access is not None and access.is_every and value is not None and value.raw == "all"
        if value is not None and value.raw and access is not None and access.is_reserved and not is_same:
            what = f"NVIDIA_VISIBLE_DEVICES is {value.raw!r}; the reservation of the service replaces it"
            yield Violation(place=value.place, what=what, subject=service)


@checks("A10")
def check_device_indexes(corpus: Corpus) -> Iterator[Violation]:
    """Look for indexes that a container with its number of GPUs does not have."""
    limits = {container.tree["env"].place: container for container in corpus.containers if container.tree["env"]}
    for spot, value in _list_variables(corpus, "CUDA_VISIBLE_DEVICES"):
        container = limits.get(spot.tree.place)
        if container is not None and not container.gpus:
            continue  # it requests no GPU, or uses a claim: the GPUs that it sees are unknown
        indexes = _list_indexes(value)
        gpus = container.gpus if container else 1
        if indexes and max(indexes) >= max(1, gpus):
            what = f"CUDA_VISIBLE_DEVICES is {value.raw!r} in a container with {gpus} GPU, whose numbers start at 0"
            yield Violation(place=value.place, what=what, subject=spot.subject)
    for container in corpus.containers:
        value, gpus = dict(container.env).get("CUDA_VISIBLE_DEVICES"), container.gpus
        indexes = _list_indexes(value)
        if value is not None and gpus and indexes and max(indexes) >= gpus:
            what = f"CUDA_VISIBLE_DEVICES is {value.raw!r} in a container with {gpus} GPU, whose numbers start at 0"
            yield Violation(place=value.place, what=what, subject=container.pod.owner)
    for service in corpus.services:
        value = service.env.get("CUDA_VISIBLE_DEVICES")
        gpus = count_visible(corpus, service)
        indexes = _list_indexes(value)
        if value is not None and gpus and indexes and max(indexes) >= gpus:
            what = f"CUDA_VISIBLE_DEVICES is {value.raw!r} in a container with {gpus} GPU, whose numbers start at 0"
            yield Violation(place=value.place, what=what, subject=service)


def count_visible(corpus: Corpus, service: ComposeService) -> int | None:
    """Count the GPUs that a service sees; None when the file and the cluster file do not say."""
    access = service.gpus
    if access is None:
        return 0
    if not access.is_every:
        return access.count
    nodes = corpus.cluster.nodes if corpus.cluster else ()
    counts = [None if node.gpus is None else len(node.gpus) for node in nodes]
    return None if not counts or None in counts else max(count or 0 for count in counts)


def _list_indexes(value: Tree | None) -> list[int]:
    raw = (value.raw if value is not None else None) or ""
    return [index for part in raw.split(",") if (index := parse_count(part.strip())) is not None]


_CLOUDS = (
    "cloud.google.com/",
    "eks.amazonaws.com/",
    "karpenter.sh/",
    "karpenter.k8s.aws/",
    "kubernetes.azure.com/",
    "node.kubernetes.io/instance-type",
)
"""Labels of nodes that a cloud or its autoscaler makes."""


@checks("A02")
def check_rollout(corpus: Corpus) -> Iterator[Violation]:
    """Look for Deployments whose pods hold GPUs and whose update starts a pod before it stops one."""
    for deployment in corpus.list_kind("Deployment"):
        pod = deployment.pod
        if pod is None or not pod.gpus or deployment.replicas == 0 or _is_in_a_cloud(pod):
            continue
        surge = _count_surge(deployment)
        if (
            surge
            and not _can_stop_first(deployment)
            and not corpus.shares_gpus
            and not _has_room(corpus, deployment, surge)
        ):
            yield Violation(
                place=(
                    deployment.tree["spec"]["strategy"]
                    or deployment.tree["spec"]["replicas"]
                    or deployment.tree["kind"]
                ).place,
                what=f"an update starts {surge} more pod with {pod.gpus} GPU before it stops one",
                subject=deployment,
                severity=None if corpus.cluster else Severity.WARNING,  # whether a GPU is spare is unknown
            )


def _is_in_a_cloud(pod: Pod) -> bool:
    """Return whether a pod chooses nodes of a cloud, which come as they are needed."""
    terms = pod.spec["affinity"]["nodeAffinity"]
    keys = {*pod.spec["nodeSelector"].keys, *(tree.raw or "" for path, tree in terms.walk() if path[-1:] == ("key",))}
    return any(key.startswith(_CLOUDS) for key in keys)


def _count_surge(deployment: Manifest) -> int:
    """Pods that an update starts above the replicas; 25 % rounded up is Kubernetes' default."""
    strategy = deployment.tree["spec"]["strategy"]
    if strategy["type"].raw == "Recreate":
        return 0
    return _count_pods(strategy["rollingUpdate"]["maxSurge"], deployment.replicas)


def _can_stop_first(deployment: Manifest) -> bool:
    """Return whether an update can stop a pod before the new one runs; 25 % rounded down is Kubernetes' default."""
    value = deployment.tree["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"]
    raw = (value.raw if value else "25%") or ""
    share = parse_count(raw.removesuffix("%"))
    if share is None:
        return bool(value)  # a template fills it
    return (deployment.replicas * share // 100 if raw.endswith("%") else share) > 0


def _count_pods(value: Tree, replicas: int) -> int:
    raw = value.raw if value else "25%"
    if raw is None:
        return 0  # a template fills it
    share = parse_count(raw.removesuffix("%"))
    if share is None:
        return 0
    return -(-replicas * share // 100) if raw.endswith("%") else share


def _has_room(corpus: Corpus, deployment: Manifest, surge: int) -> bool:
    """Return whether the cluster file shows GPUs to spare on the nodes that the pods can use; False when unknown."""
    pod = deployment.pod
    if corpus.cluster is None or pod is None:
        return False
    node = pod.spec["nodeSelector"]["kubernetes.io/hostname"].raw
    counts = [len(host.gpus or ()) for host in corpus.cluster.nodes if node is None or host.name == node]
    held = sum(
        other.gpus * other.owner.replicas
        for other in corpus.deployed_pods
        if node is None or other.spec["nodeSelector"]["kubernetes.io/hostname"].raw == node
    )
    return sum(counts) - held >= surge * pod.gpus
