"""The generations of a node's GPUs before and after, and how much a user must know to choose between them."""

from __future__ import annotations

from dataclasses import dataclass

from corral.cluster.values import Cluster
from corral.figures import Figure, computed
from corral.hardware.nvidia_drivers import (
    CONSUMER_BLACKWELL,
    CUDA_OF_120,
    PYTORCH_OF_120,
    find_driver_need,
    find_generation,
)
from corral.planning.upgrade.differences import Difference
from corral.planning.upgrade.hardware import Hardware, NodeComparison, NodeGpu, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One architecture among a node's GPUs."""

    architecture: str
    capability: str | None
    """`12.0`; None for a GPU that has none, or that is in no catalogue."""
    gpus: tuple[str, ...]
    buses: tuple[str, ...]
    source: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Uniformity:
    """What software has to know about the GPUs of one node."""

    node: str
    before: tuple[Generation, ...]
    after: tuple[Generation, ...]
    asks: tuple[str, ...]
    """The demands of the new GPUs on drivers and libraries."""
    conflict: str | None
    """Why no driver serves all GPUs of the node after the upgrade; None when nothing is known to stand against it."""


def compare_uniformity(hardware: Hardware) -> tuple[Uniformity, ...]:
    """Compare the generations of GPUs on every node whose GPUs change and that still has some."""
    return tuple(
        Uniformity(
            node=node.name,
            before=_list_generations(node.before),
            after=_list_generations(node.after),
            asks=_list_requirements(node.before, node.after),
            conflict=_find_conflict(node.after),
        )
        for node in hardware.changed
        if node.after is not None and node.after.gpus
    )


def write_capability(gpu: NodeGpu) -> str | None:
    """Write a GPU's CUDA capability: `12.0`; None when it has none, or when it is in no catalogue."""
    if gpu.facts is None or gpu.facts.cuda_capability is None:
        return None
    return _write_version(gpu.facts.cuda_capability)


def _list_generations(side: Side | None) -> tuple[Generation, ...]:
    groups: dict[tuple[str, str | None], list[NodeGpu]] = {}
    for gpu in side.gpus if side else ():
        architecture = (gpu.facts.architecture if gpu.facts else None) or "unknown"
        groups.setdefault((architecture, write_capability(gpu)), []).append(gpu)
    return tuple(
        Generation(
            architecture=architecture,
            capability=capability,
            gpus=tuple(f"gpu{gpu.index} {gpu.title}" for gpu in gpus),
            buses=tuple(dict.fromkeys(gpu.facts.bus for gpu in gpus if gpu.facts and gpu.facts.bus)),
            source=next((gpu.facts.source for gpu in gpus if gpu.facts), None),
        )
        for (architecture, capability), gpus in groups.items()
    )


def _list_requirements(before: Side | None, after: Side) -> tuple[str, ...]:
    had = {_find_capability(gpu) for gpu in before.gpus} if before else set[tuple[int, int] | None]()
    new = {_find_capability(gpu) for gpu in after.gpus} - had
    blackwell = find_generation(CONSUMER_BLACKWELL)
    if CONSUMER_BLACKWELL not in new or blackwell is None:
        return ()
    cuda, pytorch = _write_version(CUDA_OF_120), _write_version(PYTORCH_OF_120)
    return (
        f"CUDA capability 12.0 is new on this node: libraries built before CUDA {cuda} (PyTorch before {pytorch}) have "
        "no kernels for it (pitfalls A29, pytorch#153928)",
        f"Blackwell needs NVIDIA's open kernel modules and a driver of {blackwell.first_branch} or newer (pitfalls "
        "A30)",
    )


def _write_version(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _find_capability(gpu: NodeGpu) -> tuple[int, int] | None:
    return gpu.facts.cuda_capability if gpu.facts else None


def _find_conflict(side: Side | None) -> str | None:
    need = find_driver_need(gpu.facts for gpu in side.gpus if gpu.facts) if side else None
    return need.contradiction if need else None


_MODEL_LABELS = ("has-", "gpu-class")


@dataclass(frozen=True, slots=True, kw_only=True)
class Complexity:
    """Differences between the GPUs of one node, before and after."""

    node: str
    rows: tuple[Difference, ...]
    before: str
    """In words: `complex (2 models)`."""
    after: str


def compare_complexity(before: Cluster, after: Cluster, hardware: Hardware) -> tuple[Complexity, ...]:
    """Count models, queues, pins and labels on every node whose GPUs change; `after` with the adaptations."""
    return tuple(_compare(before, after, node) for node in hardware.changed)


def _compare(before: Cluster, after: Cluster, node: NodeComparison) -> Complexity:
    return Complexity(
        node=node.name,
        rows=(
            _make_row("Models of GPU", _list_models(node.before), _list_models(node.after)),
            _make_row(
                "Queues for a part of the node",
                _list_part_queues(before, node.before),
                _list_part_queues(after, node.after),
            ),
            _make_row("Pins of a service to one GPU", _list_pins(before, node.name), _list_pins(after, node.name)),
            _make_row("Labels that name a model", _list_labels(before, node.name), _list_labels(after, node.name)),
        ),
        before=_list_words(node.before),
        after=_list_words(node.after),
    )


def _make_row(name: str, before: list[str], after: list[str]) -> Difference:
    return Difference(name=name, before=_count(before), after=_count(after))


def _count(items: list[str]) -> Figure:
    return computed(len(items), "", ", ".join(items) or "none")


def _list_models(side: Side | None) -> list[str]:
    return list(dict.fromkeys(gpu.title for gpu in side.gpus)) if side else []


def _list_part_queues(cluster: Cluster, side: Side | None) -> list[str]:
    gpus = {gpu.name for gpu in side.gpus} if side else set[str]()
    return [queue.name for queue in cluster.queues.values() if queue.devices and set(queue.devices) < gpus]


def _list_pins(cluster: Cluster, node: str) -> list[str]:
    count = next((len(other.gpus or ()) for other in cluster.nodes if other.name == node), 0)
    return [
        f"{name} (layout {layout.name})"
        for layout in cluster.layouts.values()
        for name, placement in layout.services.items()
        if placement.node == node and placement.gpus and len(placement.gpus) < count
    ]


def _list_labels(cluster: Cluster, node: str) -> list[str]:
    labels = (key for other in cluster.nodes if other.name == node for key in other.labels)
    return [key for key in labels if key.rpartition("/")[2].startswith(_MODEL_LABELS)]


def _list_words(side: Side | None) -> str:
    if side is None:
        return "not there"
    if not side.gpus:
        return "no GPU" if side.gpus_known else "GPUs to be found on the machine"
    if side.homogeneous is None:
        return "unknown (a GPU's model is not stated)"
    if len(side.gpus) == 1:
        return "simple (one GPU)"
    if side.homogeneous:
        return f"simple ({len(side.gpus)} identical GPUs)"
    return f"complex ({len(_list_models(side))} models)"
