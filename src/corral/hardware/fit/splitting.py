"""Where one model fits, with the reason, and how fast it writes at most: on one GPU, split by layers, or spilled.

Writing one token reads every weight that takes part in it, and the cache so far, once. So tokens per second <=
bandwidth / bytes read (the memory-bound regime of the roofline model, Williams, Waterman, Patterson, CACM 52(4), 2009).
The bound is for an empty cache, as nothing is faster; the figure for a full one is next to it. Computing, sampling
and launching kernels come on top: a bound, not a forecast. Speculative decoding writes several tokens for one reading
and is not covered. Parts of a split work one after the other on a token, so their times add up.

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
    EXPERTS = "experts in main memory"
    """All layers on the GPU but for the experts of some, which the processor computes."""


SPILLS = frozenset({Way.SPILLED, Way.EXPERTS})
"""The ways in which the processor computes a part."""


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
    """The bound that memory bandwidth sets while the cache is empty; None when a bandwidth is unknown."""
    speed_when_full: Figure | None
    """The same with the whole context in the cache."""
    experts_on_processor: int = 0
    """Layers whose experts are in main memory: llama.cpp's `--n-cpu-moe`."""
    main_memory: Bytes | None = None
    """The size of the processor's part in main memory; None where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """One of the layers that llama.cpp deals out: what it takes, and what a token reads of it."""

    size: int
    weights_read: int
    cache_read: int
    """Of a full cache."""


Place = tuple[Sequence[_Layer], float | None]
"""Layers, and the bandwidth of the memory that they are in, in 10^9 bytes per second."""


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
    floor = parts.floor + shape.vision
    room = (gpu.room or 0) - floor
    count = _count_fitting(layers, room) if layers_on_gpu is None else min(layers_on_gpu, len(layers))
    there = layers[len(layers) - count :]
    here = layers[: len(layers) - count]
    size = Bytes(sum(layer.size for layer in there) + floor)
    fits = count > 0 and _has_room(gpu, size)
    places = ((there, gpu.bandwidth_gb_s), (here, processor_gb_s))
    explanation = f"{count} of {len(layers)} layers on the GPU ({format_bytes(size)}), the rest on the processor"
    return Verdict(
        gpus=(gpu,),
        way=Way.SPILLED,
        fits=fits,
        needs=(size,),
        layers_on_gpu=count,
        layers=len(layers),
        reason=explanation if fits else _explain_spill_lack(gpu, size, count),
        speed=_bound(places, full=False) if fits else None,
        speed_when_full=_bound(places, full=True) if fits else None,
        main_memory=Bytes(sum(layer.size for layer in here)),
    )


def move_experts(
    shape: ModelShape,
    running: Running,
    parts: Parts,
    gpu: CandidateGpu,
    *,
    processor_gb_s: float | None = None,
    layers: int | None = None,
) -> Verdict:
    """Say of how many layers the experts have to be in main memory so that a GPU holds the rest.

    `layers` asks for so many: the first ones with experts, as llama.cpp's `--n-cpu-moe` counts them.
    """
    listed = _list_layers(shape, running)
    whole = sum(layer.size for layer in listed) + parts.floor + shape.vision
    count = _count_to_move(shape, whole - (gpu.room or 0)) if layers is None else min(layers, len(shape.blocks))
    moved = [_take_experts(block, shape) for block in shape.blocks[:count]]
    kept = [*map(_take_away, listed[:count], moved), *listed[count:]]
    main = Bytes(sum(layer.size for layer in moved))
    size = Bytes(whole - main)
    fits = _has_room(gpu, size)
    places = ((kept, gpu.bandwidth_gb_s), (moved, processor_gb_s))
    explanation = f"experts of {count} of {len(shape.blocks)} layers in main memory ({format_bytes(main)}),"
    return Verdict(
        gpus=(gpu,),
        way=Way.EXPERTS,
        fits=fits,
        needs=(size,),
        layers_on_gpu=len(listed) if fits else 0,
        layers=len(listed),
        reason=f"{explanation} the rest on the GPU ({format_bytes(size)})" if fits else _explain_lack(gpu, size),
        speed=_bound(places, full=False) if fits else None,
        speed_when_full=_bound(places, full=True) if fits else None,
        experts_on_processor=count,
        main_memory=main,
    )


def _count_to_move(shape: ModelShape, excess: int) -> int:
    """Count the first layers whose experts are as large as what a GPU lacks; all of them when that is not enough."""
    for count, block in enumerate(shape.blocks):
        if excess <= 0:
            return count
        excess -= block.expert_weights
    return len(shape.blocks)


def _take_experts(block: Block, shape: ModelShape) -> _Layer:
    read = block.expert_weights * shape.experts_used // shape.experts if shape.experts else 0
    return _Layer(size=block.expert_weights, weights_read=read, cache_read=0)


def _take_away(layer: _Layer, part: _Layer) -> _Layer:
    return _Layer(
        size=layer.size - part.size,
        weights_read=layer.weights_read - part.weights_read,
        cache_read=layer.cache_read,
    )


def _judge_split(shape: ModelShape, running: Running, parts: Parts, gpus: tuple[CandidateGpu, ...]) -> Verdict:
    way = Way.SPLIT if len(gpus) > 1 else Way.ONE_GPU
    layers = _list_layers(shape, running)
    shares = _deal(layers, [gpu.room or 0 for gpu in gpus])
    needs = tuple(
        Bytes(sum(layer.size for layer in share) + parts.floor + (0 if index else shape.vision))
        for index, share in enumerate(shares)
    )
    short = [_explain_lack(gpu, need) for gpu, need in zip(gpus, needs, strict=True) if not _has_room(gpu, need)]
    places = [(share, gpu.bandwidth_gb_s) for share, gpu in zip(shares, gpus, strict=True)]
    return Verdict(
        gpus=gpus,
        way=way,
        fits=not short,
        needs=needs,
        layers_on_gpu=0 if short else len(layers),
        layers=len(layers),
        reason="; ".join(short) or _explain_fit(gpus, needs),
        speed=None if short else _bound(places, full=False),
        speed_when_full=None if short else _bound(places, full=True),
    )


def _list_layers(shape: ModelShape, running: Running) -> list[_Layer]:
    layers = list[_Layer]()
    for block in shape.blocks:
        cache = count_block_cache_bytes(block, running)
        layers.append(
            _Layer(
                size=block.weights + cache,
                weights_read=count_active_bytes(block, shape),
                cache_read=cache // running.parallel,
            )
        )
    rest = shape.weights_on_gpu - shape.vision - sum(block.weights for block in shape.blocks)
    return [*layers, _Layer(size=rest, weights_read=count_output_bytes(shape), cache_read=0)]


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


def count_output_bytes(shape: ModelShape) -> int:
    """Bytes of what follows the layers that one token reads; an embedding that is not the output is read by the row."""
    return shape.output + (shape.embedding - shape.input_only if shape.is_output_tied else 0)


def _bound(places: Sequence[Place], *, full: bool) -> Figure | None:
    """Bound the tokens per second of one sequence; None when the bandwidth of a place is unknown."""
    seconds, terms = 0.0, list[str]()
    for layers, bandwidth in places:
        size = sum(layer.weights_read + (layer.cache_read if full else 0) for layer in layers)
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
