"""What the objects ask for together, beside what the machines have."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from corral.linting.corpus import Scene
from corral.linting.objects import Pod
from corral.linting.registry import Found, checks
from corral.linting.rules.gpu_selection import HOSTNAME
from corral.units import UnitError, format_bytes, parse_bytes

_STAYS = frozenset({"Deployment", "StatefulSet", "ReplicaSet", "Pod"})


def _pinned(scene: Scene) -> Iterator[tuple[str, list[Pod]]]:
    """Pods by the node that their selector names."""
    nodes: dict[str, list[Pod]] = defaultdict(list)
    for pod in scene.deployed:
        node = pod.spec["nodeSelector"][HOSTNAME].raw
        if node is not None and pod.owner.kind in _STAYS:
            nodes[node].append(pod)
    yield from nodes.items()


@checks("A07")
def too_many_pinned(scene: Scene) -> Iterator[Found]:
    """Look for nodes of the cluster file that have fewer GPUs than is pinned to them."""
    cards = {
        node.name: len(node.gpus) for node in (scene.cluster.nodes if scene.cluster else ()) if node.gpus is not None
    }
    for node, pods in _pinned(scene) if not scene.shares_gpus else ():
        asked = sum(pod.gpus * pod.owner.replicas for pod in pods)
        if node in cards and asked > cards[node]:
            last = [pod for pod in pods if pod.gpus][-1]
            place = last.spec["nodeSelector"][HOSTNAME].place
            what = f"{asked} GPUs are pinned to {node}, which has {cards[node]}"
            yield Found(place=place, what=what, subject=last.owner)


@checks("A25")
def memory_beyond_node(scene: Scene) -> Iterator[Found]:
    """Look for limits that are over the memory of the node they are pinned to, alone or together."""
    memory = {node.name: node.memory for node in (scene.cluster.nodes if scene.cluster else ())}
    for node, pods in _pinned(scene):
        has = memory.get(node)
        total = 0
        for pod in pods:
            for one in pod.containers:
                limit = one.tree["resources"]["limits"]["memory"]
                size = _size(limit.raw)
                total += size * pod.owner.replicas if not one.is_init else 0
                if has is not None and size and total > has:
                    what = f"limits of {format_bytes(total)} on {node}, which has {format_bytes(has)}"
                    yield Found(place=limit.place, what=what, subject=pod.owner)
                    has = None  # once for each node


def _size(raw: str | None) -> int:
    try:
        return parse_bytes(raw) if raw else 0
    except UnitError:
        return 0
