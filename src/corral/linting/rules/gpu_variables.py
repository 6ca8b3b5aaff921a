"""Environment variables that choose GPUs: inside a container they mean something else than on the host."""

from __future__ import annotations

from collections.abc import Iterator

from corral.linting.registry import Found, checks
from corral.linting.scene import Scene, Spot
from corral.linting.tree import Tree, counted
from corral.linting.values import Rule, Severity

_HIDES_ALL = frozenset({"none", "void"})


def _variables(scene: Scene, name: str) -> Iterator[tuple[Spot, Tree]]:
    """Every `{name: ..., value: ...}` of an `env` list, in objects and in parts of manifests."""
    for spot in scene.under("env"):
        for entry in spot.tree.entries:
            if entry["name"].raw == name and entry["value"]:
                yield spot, entry["value"]


@checks(
    Rule(
        id="A09",
        name="nvidia-visible-devices-env",
        severity=Severity.WARNING,
        summary="NVIDIA_VISIBLE_DEVICES in a pod",
        practice="Where a GPU is asked for, the device plugin overwrites it; where none is, it takes GPUs past the "
        "scheduler.",
        source="nvidia-container-toolkit#27",
        fix="Remove it; on pods that are to see no GPU, write `void`.",
    )
)
def visible_devices(scene: Scene) -> Iterator[Found]:
    """Look for the variable with anything but `void` or `none`."""
    for spot, value in _variables(scene, "NVIDIA_VISIBLE_DEVICES"):
        if spot.document.tree["kind"].raw == "DaemonSet":
            continue  # plugins and exporters see every card of their node, and ask for none
        if value.raw is not None and value.raw not in _HIDES_ALL:
            what = f"NVIDIA_VISIBLE_DEVICES is {value.raw!r} in a pod"
            yield Found(place=value.place, what=what, subject=spot.subject)


@checks(
    Rule(
        id="A10",
        name="cuda-visible-devices-host-index",
        severity=Severity.ERROR,
        summary="CUDA_VISIBLE_DEVICES with an index of the host",
        practice="Inside a container its GPUs are numbered from 0: a pod with one GPU and index 1 sees no device.",
        source="nvidia-docker#907; CUDA's order differs from nvidia-smi's too: nvidia-docker#262",
        fix="Remove it; the pod sees only the GPUs that it asked for. To choose a card, use a DRA claim.",
    )
)
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
