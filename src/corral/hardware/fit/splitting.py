"""Where one model fits, with the reason, and how fast it writes at most: on one GPU, split by layers, or spilled.

Writing one token reads every weight that takes part in it, and the cache, once. So tokens per second <= bandwidth /
bytes read (the memory-bound regime of the roofline model, Williams, Waterman, Patterson, CACM 52(4), 2009). Computing,
sampling and launching kernels come on top: a bound, not a forecast. Parts of a split work one after the other on a
token, so their times add up.

Layers are dealt out as llama.cpp does (`load_tensors`, src/llama-model.cpp): in order, each GPU's share in proportion
to its free memory, the output counted as one more layer; when not all layers go to GPUs, the last ones do.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate
from types import MappingProxyType

from corral.figures import Figure, computed
from corral.hardware.fit.memory import Parts, Running, count_block_cache_bytes, get_usable
from corral.hardware.fit.shape import Block, ModelShape
from corral.units import Bytes, format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateGpu:
    """A GPU that can get a model."""

    name: str
    """`hydra-compute/gpu0`, or the model's name where it is not a GPU of a cluster file."""
    model: str | None
    memory: Bytes | None
    """Its nominal size."""
    bandwidth_gb_s: float | None = None
    bus: str | None = None

    @property
    def room(self) -> Bytes | None:
        """What programs get of it, as placement counts too."""
        return None if self.memory is None else get_usable(self.memory)


class Way(StrEnum):
    """How a model is placed on GPUs."""

    ONE_GPU = "one GPU"
    SPLIT = "split"
    SPILLED = "spilled"
    """Some layers on GPUs, the rest on the processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a model fits on some GPUs, and why (not)."""

    gpus: tuple[CandidateGpu, ...]
    way: Way
    fits: bool
    needs: tuple[Bytes, ...]
    """On each GPU; all of the model's where it does not fit."""
    layers_on_gpu: int
    """What to give llama.cpp as `n_gpu_layers`; the output counts as one."""
    layers: int
    """Of the model, the output included."""
    reason: str
    speed: Figure | None
    """The bound that memory bandwidth sets; None when a bandwidth is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """One of the layers that llama.cpp deals out: what it takes and what a token reads of it, with a full cache."""

    size: int
    read: int


def place_on_one(shape: ModelShape, running: Running, parts: Parts, gpu: CandidateGpu) -> Verdict:
    """Judge whether all layers fit on one GPU."""
    return _judge_split(shape, running, parts, (gpu,))


def split_over(shape: ModelShape, running: Running, parts: Parts, gpus: Sequence[CandidateGpu]) -> Verdict:
    """Judge whether the layers fit on several GPUs; each has the floor in addition to its layers."""
    return _judge_split(shape, running, parts, tuple(gpus))


def spill(
    shape: ModelShape,
    running: Running,
    parts: Parts,
    gpu: CandidateGpu,
    *,
    processor_gb_s: float | None = None,
    layers_on_gpu: int | None = None,
) -> Verdict:
    """Say how many layers fit on a GPU when the processor takes the rest; `layers_on_gpu` asks for so many.

    `processor_gb_s` is the bandwidth of the machine's memory; without it the speed is unknown.
    """
    layers = _list_layers(shape, running)
    room = (gpu.room or 0) - parts.floor
    count = _count_fitting(layers, room) if layers_on_gpu is None else min(layers_on_gpu, len(layers))
    there = layers[len(layers) - count :]
    here = layers[: len(layers) - count]
    size = Bytes(sum(layer.size for layer in there) + parts.floor)
    fits = count > 0 and _has_room(gpu, size)
    reads = (
        (sum(layer.read for layer in there), gpu.bandwidth_gb_s),
        (sum(layer.read for layer in here), processor_gb_s),
    )
    explanation = f"{count} of {len(layers)} layers on the GPU ({format_bytes(size)}), the rest on the processor"
    return Verdict(
        gpus=(gpu,),
        way=Way.SPILLED,
        fits=fits,
        needs=(size,),
        layers_on_gpu=count,
        layers=len(layers),
        reason=explanation if fits else _explain_spill_lack(gpu, size, count),
        speed=bound(reads) if fits else None,
    )


def _judge_split(shape: ModelShape, running: Running, parts: Parts, gpus: tuple[CandidateGpu, ...]) -> Verdict:
    way = Way.SPLIT if len(gpus) > 1 else Way.ONE_GPU
    layers = _list_layers(shape, running)
    shares = _deal(layers, [gpu.room or 0 for gpu in gpus])
    needs = tuple(Bytes(sum(layer.size for layer in share) + parts.floor) for share in shares)
    short = [_explain_lack(gpu, need) for gpu, need in zip(gpus, needs, strict=True) if not _has_room(gpu, need)]
    reads = [(sum(layer.read for layer in share), gpu.bandwidth_gb_s) for share, gpu in zip(shares, gpus, strict=True)]
    return Verdict(
        gpus=gpus,
        way=way,
        fits=not short,
        needs=needs,
        layers_on_gpu=0 if short else len(layers),
        layers=len(layers),
        reason="; ".join(short) or _explain_fit(gpus, needs),
        speed=None if short else bound(reads),
    )


def _list_layers(shape: ModelShape, running: Running) -> list[_Layer]:
    layers = list[_Layer]()
    for block in shape.blocks:
        cache = count_block_cache_bytes(block, running)
        read = count_active_bytes(block, shape) + cache // running.parallel
        layers.append(_Layer(size=block.weights + cache, read=read))
    rest = shape.weights_on_gpu - sum(block.weights for block in shape.blocks)
    return [*layers, _Layer(size=rest, read=rest)]


def _deal(layers: Sequence[_Layer], memories: Sequence[int]) -> list[list[_Layer]]:
    """Give each GPU its layers: GPU i takes layer l when l / count lies within its share of the memory."""
    total = sum(memories) or 1
    ends = [sum_so_far / total for sum_so_far in accumulate(memories)]
    shares: list[list[_Layer]] = [[] for _ in memories]
    for index, layer in enumerate(layers):
        shares[min(bisect_right(ends, index / len(layers)), len(memories) - 1)].append(layer)
    return shares


def _count_fitting(layers: Sequence[_Layer], room: int) -> int:
    count = 0
    for layer in reversed(layers):
        room -= layer.size
        if room < 0:
            break
        count += 1
    return count


def _has_room(gpu: CandidateGpu, need: int) -> bool:
    return gpu.room is not None and need <= gpu.room


def _explain_fit(gpus: Sequence[CandidateGpu], needs: Sequence[int]) -> str:
    return "; ".join(
        f"{format_bytes(need)} of {format_bytes(gpu.room or 0)}" for gpu, need in zip(gpus, needs, strict=True)
    )


def _explain_lack(gpu: CandidateGpu, need: int) -> str:
    if gpu.room is None:
        return f"{gpu.name}: its memory is unknown"
    return f"{gpu.name}: needs {format_bytes(need)}, {format_bytes(gpu.room)} usable"


def _explain_spill_lack(gpu: CandidateGpu, need: int, layers: int) -> str:
    if layers or gpu.room is None:
        return _explain_lack(gpu, need)
    return f"{gpu.name}: no layer on it, the processor computes all"


_BUS = re.compile(r"PCIe (\d)\.0 x(\d+)")
_LANE_GB_S: Mapping[int, float] = MappingProxyType(
    {1: 2.5 * 8 / 10 / 8, 2: 5 * 8 / 10 / 8, 3: 8 * 128 / 130 / 8, 4: 16 * 128 / 130 / 8, 5: 32 * 128 / 130 / 8}
)
"""10^9 bytes per second of one lane and direction, by generation: transfers per second x encoding / 8 bits, as the PCI
Express specifications define them (8b/10b up to 2.0, 128b/130b from 3.0)."""
_FLOAT = 4
_REDUCTIONS_PER_LAYER = 2
"""A split inside layers adds up results after attention and after the feed-forward step."""


def count_active_bytes(block: Block, shape: ModelShape) -> int:
    """Bytes of a layer that one token reads: all but the experts that are not used."""
    if not shape.experts or not shape.experts_used:
        return block.weights
    idle = block.expert_weights * (shape.experts - shape.experts_used) // shape.experts
    return block.weights - idle


def bound(reads: Sequence[tuple[int, float | None]]) -> Figure | None:
    """Bound the tokens per second of one sequence; None when a bandwidth is unknown.

    `reads`: for each place in turn, bytes per token and its bandwidth in 10^9 bytes per second.
    """
    seconds, terms = 0.0, list[str]()
    for size, bandwidth in reads:
        if not size:
            continue
        if not bandwidth:
            return None
        seconds += size / (bandwidth * 1e9)
        terms.append(f"{format_bytes(size)} / {bandwidth:g} GB/s")
    return computed(1 / seconds, "tokens/s", f"1 / ({' + '.join(terms)})") if seconds else None


def compute_bus_bandwidth(bus: str | None) -> float | None:
    """Say how many 10^9 bytes per second go one way over a GPU's bus (`PCIe 5.0 x16`); None when it is not known."""
    match = _BUS.search(bus or "")
    lane = None if match is None else _LANE_GB_S.get(int(match[1]))
    return None if match is None or lane is None else lane * int(match[2])


def count_layer_split_bytes(shape: ModelShape, gpus: int) -> int | None:
    """Bytes per token that cross the bus when whole layers are split: one vector at each boundary."""
    return None if shape.embedding_length is None else shape.embedding_length * _FLOAT * (gpus - 1)


def count_tensor_split_bytes(shape: ModelShape, gpus: int) -> int | None:
    """Bytes per token that each GPU sends when every layer is split: a ring all-reduce, 2 (n - 1) / n of a vector."""
    if shape.embedding_length is None or gpus < 1:
        return None
    vectors = _REDUCTIONS_PER_LAYER * len(shape.blocks)
    return round(vectors * shape.embedding_length * _FLOAT * 2 * (gpus - 1) / gpus)
