"""How many GPUs a container asks for, and whether it asks at all."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.corpus import Scene
from corral.linting.objects import GPU_RESOURCE, Container
from corral.linting.registry import Found, checks
from corral.linting.tree import Tree
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
