"""The whole answer about one model and some GPUs: parts, places, other quantizations, and what the bus costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from corral.figures import Figure, Origin, computed
from corral.hardware.fit.memory import Parts, Running, compute_parts
from corral.hardware.fit.requantized_shape import list_requantized
from corral.hardware.fit.shape import ModelShape
from corral.hardware.fit.splitting import (
    SPILLS,
    CandidateGpu,
    Verdict,
    Way,
    compute_bus_bandwidth,
    count_layer_split_bytes,
    count_tensor_split_bytes,
    move_experts,
    place_on_one,
    spill,
    split_over,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """The same model in another quantization."""

    name: str
    size: Figure
    """On a GPU with all of it, floor and cache included."""
    fits: tuple[str, ...]
    """The GPUs, and splits, that it fits on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusCost:
    """The bytes that a split moves over the bus for each token, on GPUs without NVLink."""

    gpus: tuple[str, ...]
    bus: str | None
    """The slowest of the GPUs' buses; None when one is unknown."""
    layer_bytes: int
    """When whole layers are split."""
    tensor_bytes: int
    """When every layer is split."""
    layer_seconds: float | None
    """Time on the bus, without the latency of each transfer, which is not known."""
    tensor_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """The answer."""

    shape: ModelShape
    running: Running
    parts: Parts
    verdicts: tuple[Verdict, ...]
    quantizations: tuple[Quantized, ...]
    bus_costs: tuple[BusCost, ...]

    @property
    def fits(self) -> bool:
        """Whether all of it fits on one GPU or one split."""
        return any(verdict.fits and verdict.way not in SPILLS for verdict in self.verdicts)


def judge(
    shape: ModelShape,
    running: Running,
    gpus: Sequence[CandidateGpu],
    groups: Sequence[Sequence[CandidateGpu]] = (),
    *,
    processor_gb_s: float | None = None,
    layers_on_gpu: int | None = None,
    experts_on_processor: int | None = None,
) -> Fit:
    """Judge a model on each GPU alone, on each group as a split, and, where neither holds it, spilled.

    Of a mixture of experts, those of some layers in main memory are judged first: a token reads few of them.
    `layers_on_gpu` and `experts_on_processor` ask for so many layers (llama.cpp's `-ngl` and `--n-cpu-moe`). A
    repository of safetensors is spilled only when it is asked for: the engines that serve those keep all of it on GPUs.

    Raises: UnknownTypeError for a cache type that ggml does not have.
    """
    parts = compute_parts(shape, running)
    verdicts = _judge_whole(shape, running, parts, gpus, groups)
    alone = [verdict for verdict in verdicts if verdict.way is Way.ONE_GPU and verdict.gpus[0].room is not None]
    spills_itself = shape.is_embedding_on_cpu or shape.origin is not Origin.DECLARED
    moves = tuple(
        move_experts(shape, running, parts, verdict.gpus[0], processor_gb_s=processor_gb_s, layers=experts_on_processor)
        for verdict in alone
        if shape.is_mixture and (experts_on_processor is not None or (spills_itself and not verdict.fits))
    )
    spills = tuple(
        spill(shape, running, parts, verdict.gpus[0], processor_gb_s=processor_gb_s, layers_on_gpu=layers_on_gpu)
        for verdict in alone
        if layers_on_gpu is not None or (spills_itself and not verdict.fits)
    )
    return Fit(
        shape=shape,
        running=running,
        parts=parts,
        verdicts=(*verdicts, *moves, *spills),
        quantizations=_judge_quantizations(shape, running, gpus, groups),
        bus_costs=tuple(cost for group in groups if (cost := _estimate_bus_cost(shape, group)) is not None),
    )


def _judge_whole(
    shape: ModelShape,
    running: Running,
    parts: Parts,
    gpus: Sequence[CandidateGpu],
    groups: Sequence[Sequence[CandidateGpu]],
) -> tuple[Verdict, ...]:
    alone = (place_on_one(shape, running, parts, gpu) for gpu in gpus)
    return (*alone, *(split_over(shape, running, parts, group) for group in groups))


def _judge_quantizations(
    shape: ModelShape, running: Running, gpus: Sequence[CandidateGpu], groups: Sequence[Sequence[CandidateGpu]]
) -> tuple[Quantized, ...]:
    """Judge the model in its other quantizations, from the smallest."""
    judged = [
        _judge_other(other, name, source, running, gpus, groups) for name, other, source in list_requantized(shape)
    ]
    return tuple(sorted(judged, key=lambda quantized: quantized.size.value))


def _judge_other(
    other: ModelShape,
    name: str,
    source: str,
    running: Running,
    gpus: Sequence[CandidateGpu],
    groups: Sequence[Sequence[CandidateGpu]],
) -> Quantized:
    parts = compute_parts(other, running)
    verdicts = _judge_whole(other, running, parts, gpus, groups)
    return Quantized(
        name=name,
        size=computed(parts.on_one_gpu, "B", f"{source} + cache, buffers and context"),
        fits=tuple(" + ".join(gpu.name for gpu in verdict.gpus) for verdict in verdicts if verdict.fits),
    )


def _estimate_bus_cost(shape: ModelShape, group: Sequence[CandidateGpu]) -> BusCost | None:
    layer, tensor = count_layer_split_bytes(shape, len(group)), count_tensor_split_bytes(shape, len(group))
    if layer is None or tensor is None:
        return None
    speeds = [(compute_bus_bandwidth(gpu.bus), gpu.bus) for gpu in group]
    known = [(speed, bus) for speed, bus in speeds if speed is not None]
    slowest = min(known, key=lambda speed: speed[0]) if len(known) == len(speeds) else None
    return BusCost(
        gpus=tuple(gpu.name for gpu in group),
        bus=slowest[1] if slowest else None,
        layer_bytes=layer,
        tensor_bytes=tensor,
        layer_seconds=layer / (slowest[0] * 1e9) if slowest else None,
        tensor_seconds=tensor / (slowest[0] * 1e9) if slowest else None,
    )
