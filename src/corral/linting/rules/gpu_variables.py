"""Environment variables that choose GPUs: inside a container they mean something else than on the host."""

from __future__ import annotations

from collections.abc import Iterator

from corral.linting.corpus import Scene, Spot
from corral.linting.registry import Found, checks
from corral.linting.tree import Tree, counted

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
