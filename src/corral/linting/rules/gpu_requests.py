"""How many GPUs a container asks for, and whether it asks at all."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.objects import GPU_RESOURCE, Container
from corral.linting.registry import Found, checks
from corral.linting.scene import Scene
from corral.linting.tree import Tree
from corral.linting.values import Rule, Severity

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


@checks(
    Rule(
        id="A03",
        name="gpu-limit-missing",
        severity=Severity.ERROR,
        summary="a GPU in `requests` and none in `limits`",
        practice="The API server refuses the object: `Limit must be set for non overcommitable resources`.",
        source="reproduced on Kubernetes 1.36",
        fix="Write `limits: {nvidia.com/gpu: N}`; the request follows from it.",
    )
)
def limit_missing(scene: Scene) -> Iterator[Found]:
    """Look for requests without a limit."""
    for one in scene.containers:
        request = _asked(one, "requests")
        if request and not _asked(one, "limits"):
            what = f"container {one.name!r} requests {request.raw} GPU and has no limit for it"
            yield Found(place=request.place, what=what, subject=one.pod.owner)


@checks(
    Rule(
        id="A04",
        name="gpu-request-ne-limit",
        severity=Severity.ERROR,
        summary="a GPU request that differs from its limit",
        practice="The API server refuses the object, also a Deployment: a GPU cannot be overcommitted.",
        source="reproduced on Kubernetes 1.36",
        fix="Write the limit alone; the request is set to it.",
    )
)
def request_differs(scene: Scene) -> Iterator[Found]:
    """Look for requests that are not their limit."""
    for one in scene.containers:
        request, limit = _asked(one, "requests"), _asked(one, "limits")
        if request.raw and limit.raw and request.raw != limit.raw:
            what = f"container {one.name!r} requests {request.raw} GPU with a limit of {limit.raw}"
            yield Found(place=request.place, what=what, subject=one.pod.owner, edits=request.edited(limit.raw))


@checks(
    Rule(
        id="A05",
        name="gpu-fractional",
        severity=Severity.ERROR,
        summary="a part of a GPU",
        practice="The API server refuses it: `must be an integer`.",
        source="reproduced on Kubernetes 1.36; skypilot#2655",
        fix="Ask for whole GPUs; to share one, use a DRA claim of two containers, MPS or time-slicing.",
    )
)
def fractional(scene: Scene) -> Iterator[Found]:
    """Look for numbers of GPUs that are no whole numbers."""
    for one in scene.containers:
        for part in ("limits", "requests"):
            asked = _asked(one, part)
            if asked.raw is not None and not asked.raw.isdigit():
                what = f"container {one.name!r} asks for {asked.raw!r} of a GPU"
                yield Found(place=asked.place, what=what, subject=one.pod.owner)


@checks(
    Rule(
        id="A06",
        name="gpu-count-exceeds-largest-node",
        severity=Severity.ERROR,
        summary="more GPUs in one pod than any node has",
        practice="The object is accepted and its pod stays Pending for ever.",
        source="reproduced on Kubernetes 1.36",
        fix="Ask for at most what one node has, or split the work into pods of one GPU.",
    )
)
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


@checks(
    Rule(
        id="A08",
        name="gpu-user-without-request",
        severity=Severity.ERROR,
        summary="a container that uses the GPU while only its sibling asks for one",
        practice="It gets every GPU of the node, or none, depending on image and runtime; no planner and no exporter "
        "sees "
        "its VRAM.",
        source="k8s-device-plugin#61, #87, #1605; dcgm-exporter#138; reproduced: one DRA claim serves both containers",
        fix="Let both containers share one DRA claim, give each a GPU of its own, or put both into one container.",
    )
)
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


@checks(
    Rule(
        id="A26",
        name="shm-64mb",
        severity=Severity.ERROR,
        summary="several GPUs in one container with 64 MB of shared memory",
        practice="NCCL and PyTorch's data loaders need /dev/shm; containers have 64 MB of it, and the work ends with "
        "a bus "
        "error or hangs.",
        source="pytorch#16979, nccl#525",
        fix="Mount an `emptyDir: {medium: Memory, sizeLimit: 8Gi}` at /dev/shm, and add its size to the memory limit.",
    )
)
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


@checks(
    Rule(
        id="A27",
        name="nccl-p2p-geforce",
        severity=Severity.WARNING,
        summary="NCCL over several GeForce cards without NCCL_P2P_DISABLE",
        practice="GeForce cards have no peer-to-peer access; NCCL may hang where it tries it.",
        source="nccl-tests#287, nccl-tests#117, nccl#1637",
        fix='Set `NCCL_P2P_DISABLE: "1"` (and `NCCL_IB_DISABLE: "1"`), and expect the speed of PCIe through the host.',
    )
)
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
