"""GPUs that containers request, variables that choose among them, and rollouts that need one more than there is."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.corpus import Scene, Spot
from corral.linting.objects import GPU_RESOURCE, Container, Object, Pod
from corral.linting.registry import Found, checks
from corral.linting.tree import Tree, counted
from corral.linting.values import Severity

_GPU_VARIABLES = frozenset({"CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES"})
_NO_GPU = frozenset({"", "none", "void", "-1"})
_ONE_PROCESS = re.compile(r"ollama|llama[._-]?cpp|llama-swap|comfyui|koboldcpp|whisper|nvidia/cuda|k8s-device-plugin")
_WITH_NCCL = re.compile(
    r"torch|vllm|sglang|text-generation-inference|deepspeed|megatron|nemo|nccl|axolotl|train|tune|accelerate|trl\b"
)
"""Programs that pass tensors between cards; of others it is not known whether they do."""
_MULTI_GPU = re.compile(r"--(?:tensor-parallel-size|nproc[_-]per[_-]node|num_processes)[= ](?P<count>\d+)|--multi_gpu")


def _asked(container: Container, part: str) -> Tree:
    return container.tree["resources"][part][GPU_RESOURCE]


@checks("A03")
def limit_missing(scene: Scene) -> Iterator[Found]:
    """Look for requests without a limit."""
    for one in scene.containers:
        request = _asked(one, "requests")
        if request and not _asked(one, "limits"):
            what = f"container {one.name!r} requests {request.raw} GPU and has no limit for it"
            yield Found(place=request.place, what=what, subject=one.pod.owner)


@checks("A04")
def request_differs(scene: Scene) -> Iterator[Found]:
    """Look for requests that are not their limit."""
    for one in scene.containers:
        request, limit = _asked(one, "requests"), _asked(one, "limits")
        if request.raw and limit.raw and request.raw != limit.raw:
            what = f"container {one.name!r} requests {request.raw} GPU with a limit of {limit.raw}"
            yield Found(place=request.place, what=what, subject=one.pod.owner, edits=request.edited(limit.raw))


@checks("A05")
def fractional(scene: Scene) -> Iterator[Found]:
    """Look for numbers of GPUs that are no whole numbers."""
    for one in scene.containers:
        for part in ("limits", "requests"):
            asked = _asked(one, part)
            if asked.raw is not None and not asked.raw.isdigit():
                what = f"container {one.name!r} asks for {asked.raw!r} of a GPU"
                yield Found(place=asked.place, what=what, subject=one.pod.owner)


@checks("A06")
def more_than_a_node_has(scene: Scene) -> Iterator[Found]:
    """Look for pods that no node of the cluster file can hold."""
    if scene.cluster is None or scene.shares_gpus or any(node.gpus is None for node in scene.cluster.nodes):
        return
    most = max(len(node.gpus or ()) for node in scene.cluster.nodes)
    for pod in scene.pods:
        if pod.gpus > most:
            place = next(_asked(one, "limits") or _asked(one, "requests") for one in pod.containers if one.gpus)
            what = f"a pod asks for {pod.gpus} GPUs, and the largest node has {most}"
            yield Found(place=place.place, what=what, subject=pod.owner)


@checks("A08")
def user_without_request(scene: Scene) -> Iterator[Found]:
    """Look for containers with GPU variables beside one that asks for a GPU."""
    for one in scene.containers:
        if one.gpus or one.is_init or not one.pod.gpus or one.tree["resources"]["claims"]:
            continue
        for name, value in one.env:
            if name in _GPU_VARIABLES and (value.raw or "").lower() not in _NO_GPU:
                what = (
                    f"container {one.name!r} sets {name} and asks for no GPU, while another container of the pod does"
                )
                yield Found(place=value.place, what=what, subject=one.pod.owner)
                break


@checks("A26")
def small_shared_memory(scene: Scene) -> Iterator[Found]:
    """Look for containers of several GPUs without a volume at /dev/shm."""
    for one in scene.containers:
        if (one.gpus < 2 and not _starts_several(one)) or _shares_nothing(one):
            continue
        mounts = [(mount["mountPath"].raw or "").rstrip("/") for mount in one.tree["volumeMounts"].entries]
        if "/dev/shm" not in mounts and not one.pod.spec["hostIPC"].boolean:
            what = f"container {one.name!r} works on several GPUs and has no volume at /dev/shm"
            place = (_asked(one, "limits") or one.tree["name"] or one.tree).place
            known = None if _starts_several(one) or _WITH_NCCL.search(one.image or "") else Severity.NOTE
            yield Found(place=place, what=what, subject=one.pod.owner, severity=known)


def _shares_nothing(one: Container) -> bool:
    """Tell whether the program uses several cards from one process, without NCCL, or has parts of cards."""
    return one.has_a_share or bool(_ONE_PROCESS.search(one.image or ""))


def _starts_several(one: Container) -> bool:
    words = [word.raw or "" for key in ("command", "args") for word in one.tree[key].entries]
    found = _MULTI_GPU.search(" ".join(words))
    return found is not None and found["count"] != "1" and one.gpus > 0


@checks("A27")
def peer_to_peer_on_geforce(scene: Scene) -> Iterator[Found]:
    """Look for containers of several GPUs on nodes of GeForce cards."""
    if scene.cluster is None:
        return
    geforce = any(
        (gpu.model or "").startswith(("RTX 3", "RTX 4", "RTX 5", "RTX 2", "GTX")) and "Ada" not in (gpu.model or "")
        for node in scene.cluster.nodes
        for gpu in node.gpus or ()
        if len(node.gpus or ()) > 1
    )
    for one in scene.containers if geforce else ():
        if one.gpus > 1 and not _shares_nothing(one) and "NCCL_P2P_DISABLE" not in {name for name, _ in one.env}:
            what = f"container {one.name!r} works on {one.gpus} GeForce cards and leaves NCCL's peer-to-peer on"
            yield Found(place=_asked(one, "limits").place, what=what, subject=one.pod.owner)


_HIDES_ALL = frozenset({"none", "void"})


def _variables(scene: Scene, name: str) -> Iterator[tuple[Spot, Tree]]:
    """Every `{name: ..., value: ...}` of an `env` list, in objects and in parts of manifests."""
    for spot in scene.under("env"):
        for entry in spot.tree.entries:
            if entry["name"].raw == name and entry["value"]:
                yield spot, entry["value"]


@checks("A09")
def visible_devices(scene: Scene) -> Iterator[Found]:
    """Look for the variable with anything but `void` or `none`."""
    for spot, value in _variables(scene, "NVIDIA_VISIBLE_DEVICES"):
        if spot.document.tree["kind"].raw == "DaemonSet":
            continue  # plugins and exporters see every card of their node, and ask for none
        if value.raw is not None and value.raw not in _HIDES_ALL:
            what = f"NVIDIA_VISIBLE_DEVICES is {value.raw!r} in a pod"
            yield Found(place=value.place, what=what, subject=spot.subject)


@checks("A10")
def host_index(scene: Scene) -> Iterator[Found]:
    """Look for indexes that a container with its number of GPUs does not have."""
    limits = {one.tree["env"].place: one for one in scene.containers if one.tree["env"]}
    for spot, value in _variables(scene, "CUDA_VISIBLE_DEVICES"):
        container = limits.get(spot.tree.place)
        if container is not None and not container.gpus:
            continue  # it asks for no GPU, or for a claim: what it sees is not known
        indexes = [index for part in (value.raw or "").split(",") if (index := counted(part.strip())) is not None]
        gpus = container.gpus if container else 1
        if indexes and max(indexes) >= max(1, gpus):
            what = f"CUDA_VISIBLE_DEVICES is {value.raw!r} in a container with {gpus} GPU, whose numbers start at 0"
            yield Found(place=value.place, what=what, subject=spot.subject)


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
def rollout_deadlock(scene: Scene) -> Iterator[Found]:
    """Look for Deployments whose pods hold GPUs and whose update starts a pod before it stops one."""
    for one in scene.of_kind("Deployment"):
        pod = one.pod
        if pod is None or not pod.gpus or one.replicas == 0 or _is_in_a_cloud(pod):
            continue
        surge = _surge(one)
        if surge and not _stops_one_first(one) and not scene.shares_gpus and not _has_room(scene, one, surge):
            yield Found(
                place=(one.tree["spec"]["strategy"] or one.tree["spec"]["replicas"] or one.tree["kind"]).place,
                what=f"an update starts {surge} more pod with {pod.gpus} GPU before it stops one",
                subject=one,
                severity=None if scene.cluster else Severity.WARNING,  # whether a card is spare is not known
            )


def _is_in_a_cloud(pod: Pod) -> bool:
    """Tell whether a pod chooses nodes of a cloud, which come as they are needed."""
    terms = pod.spec["affinity"]["nodeAffinity"]
    keys = {*pod.spec["nodeSelector"].keys, *(tree.raw or "" for path, tree in terms.walk() if path[-1:] == ("key",))}
    return any(key.startswith(_CLOUDS) for key in keys)


def _surge(one: Object) -> int:
    """Pods that an update starts above the replicas; 25 % rounded up is Kubernetes' default."""
    strategy = one.tree["spec"]["strategy"]
    if strategy["type"].raw == "Recreate":
        return 0
    return _pods(strategy["rollingUpdate"]["maxSurge"], one.replicas)


def _stops_one_first(one: Object) -> bool:
    """Tell whether an update may stop a pod before the new one is there; 25 % rounded down is Kubernetes' default."""
    value = one.tree["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"]
    raw = (value.raw if value else "25%") or ""
    share = counted(raw.removesuffix("%"))
    if share is None:
        return bool(value)  # a template fills it
    return (one.replicas * share // 100 if raw.endswith("%") else share) > 0


def _pods(value: Tree, replicas: int) -> int:
    raw = value.raw if value else "25%"
    if raw is None:
        return 0  # a template fills it
    share = counted(raw.removesuffix("%"))
    if share is None:
        return 0
    return -(-replicas * share // 100) if raw.endswith("%") else share


def _has_room(scene: Scene, one: Object, surge: int) -> bool:
    """Tell whether the cluster file shows GPUs to spare on the nodes that the pods may use; unknown is no."""
    pod = one.pod
    if scene.cluster is None or pod is None:
        return False
    node = pod.spec["nodeSelector"]["kubernetes.io/hostname"].raw
    counts = [len(each.gpus or ()) for each in scene.cluster.nodes if node is None or each.name == node]
    held = sum(
        other.gpus * other.owner.replicas
        for other in scene.deployed
        if node is None or other.spec["nodeSelector"]["kubernetes.io/hostname"].raw == node
    )
    return sum(counts) - held >= surge * pod.gpus
