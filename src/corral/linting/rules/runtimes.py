"""Whether a GPU pod gets the container runtime that knows about GPUs."""

from __future__ import annotations

import re
from collections.abc import Iterator

from corral.linting.corpus import Scene
from corral.linting.registry import Found, checks

_MADE_BY_K3S = frozenset(
    {"nvidia", "nvidia-cdi", "nvidia-experimental", "crun", "lunatic", "slight", "spin", "wasmedge", "wasmer",
     "wasmtime", "wws"}
)  # fmt: skip
"""RuntimeClass objects that K3s makes at its start (docs.k3s.io/advanced)."""
_MADE_BY_OTHERS = frozenset({"nvidia-legacy", "kata", "kata-qemu", "kata-qemu-nvidia-gpu", "gvisor", "runsc"})
"""Of the GPU operator, Kata Containers and gVisor, as their documentation installs them."""
_GPU_DAEMONS = ("k8s-device-plugin", "dcgm-exporter", "gpu-feature-discovery")


def is_k3s(scene: Scene) -> bool:
    """Tell whether the files are for K3s: the cluster file says so, or they hold K3s' own settings."""
    said = scene.cluster.kubernetes.distribution if scene.cluster and scene.cluster.kubernetes else None
    if said is not None:
        return said == "k3s"
    is_nix = any("services.k3s" in text.text for text in scene.texts if text.language == "nix")
    return is_nix or any(one.group in ("helm.cattle.io", "k3s.cattle.io") for one in scene.objects)


@checks("A16")
def no_runtime_class(scene: Scene) -> Iterator[Found]:
    """Look for GPU pods without a runtime class, where the files are for K3s."""
    if not is_k3s(scene) or any("default-runtime" in text for text in scene.sources.values()):
        return
    for pod in scene.pods:
        is_daemon = any(name in (one.image or "") for one in pod.containers for name in _GPU_DAEMONS)
        if (pod.gpus or is_daemon) and not pod.spec["runtimeClassName"]:
            place = (pod.spec["containers"].key or pod.spec.place) if pod.spec["containers"] else pod.spec.place
            yield Found(place=place, what="uses a GPU and names no runtime class", subject=pod.owner)


@checks("A17")
def missing_runtime_class(scene: Scene) -> Iterator[Found]:
    """Look for names that neither the files nor K3s define."""
    defined = {one.name for one in scene.of_kind("RuntimeClass")}
    known = _MADE_BY_K3S | _MADE_BY_OTHERS
    for pod in scene.pods:
        name = pod.spec["runtimeClassName"]
        is_ours = bool(defined) or "nvidia" in (name.raw or "")
        if name.raw and name.raw not in defined and name.raw not in known and is_ours and scene.is_whole:
            yield Found(place=name.place, what=f"no file defines the RuntimeClass {name.raw!r}", subject=pod.owner)


@checks("A18")
def missing_handler(scene: Scene) -> Iterator[Found]:
    """Look for handlers that neither K3s knows nor a containerd template names, where the nodes are among the files."""
    if not any(_ON_NIX.search(text.text) for text in scene.texts if text.language == "nix"):
        return
    for one in scene.of_kind("RuntimeClass"):
        handler = one.tree["handler"]
        if (
            handler.raw
            and handler.raw not in _MADE_BY_K3S
            and handler.raw != "runc"
            and not _configured(scene, handler.raw)
        ):
            what = f"no node has a runtime {handler.raw!r}"
            yield Found(place=handler.place, what=what, subject=one)


_ON_NIX = re.compile(r"services\.k3s|\bk3s\s*=\s*\{")


def _configured(scene: Scene, handler: str) -> bool:
    """Tell whether any file names the runtime as containerd's configuration does."""
    named = re.compile(rf"""runtimes\s*\.\s*['"]*{re.escape(handler)}\b""")
    return any(named.search(text) for text in scene.sources.values())


@checks("A19")
def untolerated_taint(scene: Scene) -> Iterator[Found]:
    """Look for GPU pods without a toleration of a GPU taint that a Node of the files carries."""
    taints = {
        taint["key"].raw
        for node in scene.of_kind("Node")
        for taint in node.tree["spec"]["taints"].entries
        if taint["effect"].raw in ("NoSchedule", "NoExecute") and "gpu" in (taint["key"].raw or "")
    }
    for pod in scene.pods if taints else ():
        tolerated = {each["key"].raw for each in pod.spec["tolerations"].entries}
        tolerates_all = any(
            each["operator"].raw == "Exists" and not each["key"] for each in pod.spec["tolerations"].entries
        )
        missing = sorted(str(taint) for taint in taints - tolerated)
        if pod.gpus and missing and not tolerates_all:
            place = pod.spec["tolerations"].key or pod.spec["containers"].key or pod.spec.place
            yield Found(place=place, what=f"does not tolerate {', '.join(missing)}", subject=pod.owner)
