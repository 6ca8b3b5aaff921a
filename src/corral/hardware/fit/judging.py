"""The whole answer about one model and some GPUs: parts, places, other quantizations, and what the bus costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from corral.figures import Figure, computed
from corral.hardware.fit.memory import Parts, Running, compute_parts
from corral.hardware.fit.nearest_shape import find_similar_shape
from corral.hardware.fit.quantizations import BITS, BITS_SOURCE
from corral.hardware.fit.shape import ModelShape
from corral.hardware.fit.splitting import (
    CandidateGpu,
    Verdict,
    Way,
    compute_bus_bandwidth,
    count_layer_split_bytes,
    count_tensor_split_bytes,
    place_on_one,
    spill,
    split_over,
)
from corral.units import Bytes


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
        return any(verdict.fits and verdict.way is not Way.SPILLED for verdict in self.verdicts)


def judge(
    shape: ModelShape,
    running: Running,
    gpus: Sequence[CandidateGpu],
    groups: Sequence[Sequence[CandidateGpu]] = (),
    *,
    processor_gb_s: float | None = None,
    layers_on_gpu: int | None = None,
) -> Fit:
    """Judge a model on each GPU alone, on each group as a split, and, where neither holds it, spilled.

    Raises: UnknownTypeError for a cache type that ggml does not have.
    """
    parts = compute_parts(shape, running)
    verdicts = _judge_whole(shape, running, parts, gpus, groups)
    spills = tuple(
        spill(shape, running, parts, verdict.gpus[0], processor_gb_s=processor_gb_s, layers_on_gpu=layers_on_gpu)
        for verdict in verdicts
        if verdict.way is Way.ONE_GPU and (layers_on_gpu is not None or not verdict.fits)
    )
    return Fit(
        shape=shape,
        running=running,
        parts=parts,
        verdicts=(*verdicts, *spills),
        quantizations=tuple(_judge_quantization(shape, name, running, gpus, groups) for name in BITS),
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


def _judge_quantization(
    shape: ModelShape,
    name: str,
    running: Running,
    gpus: Sequence[CandidateGpu],
    groups: Sequence[Sequence[CandidateGpu]],
) -> Quantized:
    """Estimate the model in a quantization: every part of its weights scaled to that many bits."""
    bits = BITS[name]
    other = (
        _scale(shape, bits)
        if shape.blocks
        else find_similar_shape(
            shape.name, parameters=shape.parameters, bits=bits, quantization=name, source=BITS_SOURCE
        )
    )
    parts = compute_parts(other, running)
    verdicts = _judge_whole(other, running, parts, gpus, groups)
    formula = f"{shape.parameters / 1e9:.3g}B parameters x {bits:g} bits ({BITS_SOURCE}) + cache, buffers and context"
    return Quantized(
        name=name,
        size=computed(parts.on_one_gpu, "B", formula),
        fits=tuple(" + ".join(gpu.name for gpu in verdict.gpus) for verdict in verdicts if verdict.fits),
    )


def _scale(shape: ModelShape, bits: float) -> ModelShape:
    factor = shape.parameters * bits / 8 / shape.weights if shape.weights else 0.0
    blocks = tuple(
        replace(
            block,
            weights=Bytes(round(block.weights * factor)),
            expert_weights=Bytes(round(block.expert_weights * factor)),
        )
        for block in shape.blocks
    )
    embedding, output = Bytes(round(shape.embedding * factor)), Bytes(round(shape.output * factor))
    return replace(shape, blocks=blocks, embedding=embedding, output=output, tensors=())


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
