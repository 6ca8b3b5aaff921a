"""Which language models fit on a node's GPUs together, before and after, and how fast they can be at most.

Sizes stand for dense models of about so many parameters, at about 4.9 bits for each weight; what a particular file
needs is `corral fit`'s to say. Mixtures of experts are published ones: their memory is that of all experts, their speed
that of those in use. A split gives each GPU whole layers, so it can need up to one layer more than this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from corral.cluster.values import Cluster
from corral.engine_kinds import LLAMA
from corral.figures import Figure, computed
from corral.hardware.fit.names import estimate_need
from corral.hardware.pools import Need
from corral.planning.placement.values import list_machines
from corral.planning.upgrade.differences import Difference, format_amount
from corral.planning.upgrade.hardware import Hardware, list_gpus

MODELS = (
    "8b-q4_K_M",
    "14b-q4_K_M",
    "24b-q4_K_M",
    "qwen3:30b-a3b",
    "33b-q4_K_M",
    "70b-q4_K_M",
    "gpt-oss:120b",
    "qwen3:235b-a22b",
)
"""Sizes in which models are published; two of them are between most pairs of GPUs. Above 70 billion parameters nearly
all models are mixtures of experts."""
_ENGINE = LLAMA.name


class Seating(StrEnum):
    """How a model fits on a node."""

    ONE = "on one GPU"
    SPLIT = "split over its GPUs"
    NO = "does not fit"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFit:
    """One size of model on one node."""

    model: str
    alone: Figure
    """Bytes on one GPU."""
    on_each: Figure | None
    """Bytes on each GPU of an even split over all GPUs of the node; None when it has one GPU after the upgrade."""
    before: Seating
    after: Seating
    bound: Figure | None
    """Tokens per second of one stream that memory bandwidth allows at most, after; None when it is not known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The largest models that the GPUs of one node hold together."""

    node: str
    room: Difference
    """Bytes for weights and KV cache of one model that is split over all GPUs."""
    fits: tuple[ModelFit, ...]

    @property
    def newly(self) -> tuple[ModelFit, ...]:
        """The sizes that fit after, and did not before."""
        return tuple(fit for fit in self.fits if fit.before is Seating.NO and fit.after is not Seating.NO)

    @property
    def no_longer(self) -> tuple[ModelFit, ...]:
        """The sizes that fitted before, and do not after."""
        return tuple(fit for fit in self.fits if fit.before is not Seating.NO and fit.after is Seating.NO)


@dataclass(frozen=True, slots=True)
class _UsableGpu:
    usable: int
    bandwidth: float | None
    """Bytes per second."""


def compare_capacity(before: Cluster, after: Cluster, hardware: Hardware) -> tuple[Capacity, ...]:
    """Compare what fits on every node whose GPUs change and whose GPUs' memory is known on both sides."""
    old, new = _list_gpus(before), _list_gpus(after)
    needs = [need for model in MODELS if (need := estimate_need(_ENGINE, model))]
    return tuple(
        Capacity(
            node=node.name,
            room=_compare_room(old.get(node.name, ()), new[node.name], needs[0]),
            fits=tuple(_fit(need, old.get(node.name, ()), new[node.name]) for need in needs),
        )
        for node in hardware.changed
        if needs and new.get(node.name) and (node.before is None or node.name in old)
    )


def _list_gpus(cluster: Cluster) -> dict[str, tuple[_UsableGpu, ...]]:
    """List the GPUs of each node; a node with a GPU of unknown memory is left out."""
    usable = {gpu.name: gpu.usable for machine in list_machines(cluster) for gpu in machine.gpus}
    usable_gpus: dict[str, tuple[_UsableGpu, ...]] = {}
    for node in cluster.nodes:
        gpus = list_gpus(node)
        sizes = [size for gpu in gpus if (size := usable[gpu.name]) is not None]
        if len(sizes) == len(gpus) and node.gpus is not None:
            bandwidths = [gpu.facts.bandwidth_gb_s if gpu.facts else None for gpu in gpus]
            usable_gpus[node.name] = tuple(
                _UsableGpu(size, None if speed is None else speed * 1e9)
                for size, speed in zip(sizes, bandwidths, strict=True)
            )
    return usable_gpus


def _compare_room(before: Sequence[_UsableGpu], after: Sequence[_UsableGpu], need: Need) -> Difference:
    return Difference(
        name="VRAM for one model over all GPUs", before=_compute_share(before, need), after=_compute_share(after, need)
    )


def _compute_share(gpus: Sequence[_UsableGpu], need: Need) -> Figure:
    floor = round(need.floor.value)
    usable = [format_amount(gpu.usable, "B") for gpu in gpus]
    formula = f"{' + '.join(usable) or '0'} - {len(gpus)} x {format_amount(floor, 'B')} for context and buffers"
    return computed(_count_splittable(gpus, floor), "B", formula)


def _count_splittable(gpus: Sequence[_UsableGpu], floor: int) -> int:
    return sum(max(0, gpu.usable - floor) for gpu in gpus)


def _fit(need: Need, before: Sequence[_UsableGpu], after: Sequence[_UsableGpu]) -> ModelFit:
    even = need.divide(len(after)) if len(after) > 1 else None
    seating = _find_seating(need, after)
    alone = need.divide(1)
    return ModelFit(
        model=need.model,
        alone=computed(alone, "B", f"{need.divisible.source}; {need.floor.source}"),
        on_each=None
        if even is None
        else computed(
            even,
            "B",
            f"{format_amount(need.divisible.value, 'B')} / {len(after)} + {format_amount(need.floor.value, 'B')}",
        ),
        before=_find_seating(need, before),
        after=seating,
        bound=None if seating is Seating.NO else _bound(need, after, seating),
    )


def _find_seating(need: Need, gpus: Sequence[_UsableGpu]) -> Seating:
    if any(gpu.usable >= need.divide(1) for gpu in gpus):
        return Seating.ONE
    if len(gpus) > 1 and _count_splittable(gpus, round(need.floor.value)) >= need.divisible.value:
        return Seating.SPLIT
    return Seating.NO


def _bound(need: Need, gpus: Sequence[_UsableGpu], seating: Seating) -> Figure | None:
    """Bound the speed: each token reads the weights that it uses; the GPUs of a split take turns with their shares."""
    read = (need.read or need.divisible).value
    if seating is Seating.ONE:
        speeds = [gpu.bandwidth for gpu in gpus if gpu.usable >= need.divide(1)]
        best = max((speed for speed in speeds if speed is not None), default=None)
        if best is None:
            return None
        return _bound_tokens(best, read, f"{best / 1e9:g} GB/s")
    speeds = [gpu.bandwidth for gpu in gpus if gpu.bandwidth is not None]
    if len(speeds) < len(gpus):
        return None
    total = sum(gpu.usable for gpu in gpus)
    mean = 1 / sum(gpu.usable / total / speed for gpu, speed in zip(gpus, speeds, strict=True))
    return _bound_tokens(mean, read, f"{mean / 1e9:g} GB/s, the GPUs one after the other")


def _bound_tokens(bandwidth: float, size: float, bandwidth_text: str) -> Figure:
    return computed(
        bandwidth / size, "tokens/s", f"{bandwidth_text} / {format_amount(size, 'B')} that each token reads"
    )
