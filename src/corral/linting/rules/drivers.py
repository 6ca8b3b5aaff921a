"""Whether the driver that a NixOS configuration chooses drives the cards of its machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from corral.cluster.values import Node
from corral.hardware.catalogue import GpuModel
from corral.linting.corpus import Scene, Text
from corral.linting.reading.nix import Binding
from corral.linting.registry import Found, checks

_NAMES = ("networking.hostName", "services.k3s.nodeName")
_OPEN_SINCE = (7, 5)
"""Turing: the first that the open modules drive."""
_ONLY_OPEN_SINCE = (10, 0)
"""Blackwell: the open modules are the only ones for it."""


@checks("A30")
def wrong_modules(scene: Scene) -> Iterator[Found]:
    """Look for closed modules where a card is of Blackwell, and for open ones on a node whose cards are all too old."""
    for text, module in scene.modules if scene.cluster else ():
        for one in module.bindings:
            if one.path == "hardware.nvidia.open":
                needed = _needed(scene, _node_of(scene, text, module.bindings), is_open=one.boolean)
                if needed:
                    yield Found(place=text.place(one.offset), what=needed)


def _needed(scene: Scene, node: Node | None, *, is_open: bool | None) -> str | None:
    """What the cards need instead; without a node, only what is wrong for some card of the whole cluster."""
    models = scene.gpu_models if node is None else scene.models_of(node)
    new = [one.name for one in models if _capability(one) >= _ONLY_OPEN_SINCE]
    old = [one.name for one in models if _capability(one) < _OPEN_SINCE]
    if is_open is False and new:
        return f"{_listed(new)} needs the open kernel modules"
    if is_open is True and node is not None and old and not new:
        return f"{_listed(old)} needs the closed kernel modules"
    return None


def _node_of(scene: Scene, text: Text, bindings: Sequence[Binding]) -> Node | None:
    """The node that a module is for: by the name that it sets, else by its file's."""
    names = [one.text for one in bindings if one.path in _NAMES and one.text]
    wanted = names[0] if names else PurePosixPath(text.file).stem
    return next((node for node in (scene.cluster.nodes if scene.cluster else ()) if node.name == wanted), None)


def _capability(model: GpuModel) -> tuple[int, int]:
    """Its CUDA capability; of a card that has none, one that asks for nothing."""
    return model.cuda_capability or _OPEN_SINCE


def _listed(names: Sequence[str]) -> str:
    return ", ".join(sorted(set(names)))
