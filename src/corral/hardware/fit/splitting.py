"""Where one model fits: on one GPU, split over several by layers, or partly on the processor; each with its reason.

Layers are dealt out as llama.cpp does (`load_tensors`, src/llama-model.cpp): in order, each GPU's share in proportion
to its free memory, the output counted as one more layer; when not all layers go to GPUs, the last ones do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from corral.figures import Figure
from corral.hardware.fit.memory import Parts, Running, block_cache_bytes, usable
from corral.hardware.fit.shape import ModelShape
from corral.hardware.fit.speed import active_bytes, bound
from corral.units import Bytes, format_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A GPU that a model may go to."""

    name: str
    """`hydra-compute/gpu0`, or the model's name where it is no card of a cluster file."""
    model: str | None
    memory: Bytes | None
    """Its nominal size."""
    bandwidth_gb_s: float | None = None
    bus: str | None = None

    @property
    def room(self) -> Bytes | None:
        """What programs get of it, as placement counts too."""
        return None if self.memory is None else usable(self.memory)


class Way(StrEnum):
    """How a model lies on cards."""

    ONE_GPU = "one GPU"
    SPLIT = "split"
    SPILLED = "spilled"
    """Some layers on GPUs, the rest on the processor."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether a model fits on some cards, and why (not)."""

    cards: tuple[Card, ...]
    way: Way
    fits: bool
    needs: tuple[Bytes, ...]
    """On each card; all of the model's where it does not fit."""
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


def on_one(shape: ModelShape, running: Running, parts: Parts, card: Card) -> Verdict:
    """Say whether all layers fit on one card."""
    return _dealt(shape, running, parts, (card,))


def split_over(shape: ModelShape, running: Running, parts: Parts, cards: Sequence[Card]) -> Verdict:
    """Say whether the layers fit on several cards; each has the floor besides its layers."""
    return _dealt(shape, running, parts, tuple(cards))


def spilled(
    shape: ModelShape,
    running: Running,
    parts: Parts,
    card: Card,
    *,
    processor_gb_s: float | None = None,
    layers_on_gpu: int | None = None,
) -> Verdict:
    """Say how many layers fit on a card when the processor takes the rest; `layers_on_gpu` asks for so many.

    `processor_gb_s` is the bandwidth of the machine's memory; without it the speed is unknown.
    """
    layers = _layers(shape, running)
    room = (card.room or 0) - parts.floor
    count = _most_that_fit(layers, room) if layers_on_gpu is None else min(layers_on_gpu, len(layers))
    there = layers[len(layers) - count :]
    here = layers[: len(layers) - count]
    size = Bytes(sum(layer.size for layer in there) + parts.floor)
    fits = count > 0 and _has_room(card, size)
    reads = (
        (sum(layer.read for layer in there), card.bandwidth_gb_s),
        (sum(layer.read for layer in here), processor_gb_s),
    )
    explanation = f"{count} of {len(layers)} layers on the GPU ({format_bytes(size)}), the rest on the processor"
    return Verdict(
        cards=(card,),
        way=Way.SPILLED,
        fits=fits,
        needs=(size,),
        layers_on_gpu=count,
        layers=len(layers),
        reason=explanation if fits else _why_not_spilled(card, size, count),
        speed=bound(reads) if fits else None,
    )


def _dealt(shape: ModelShape, running: Running, parts: Parts, cards: tuple[Card, ...]) -> Verdict:
    way = Way.SPLIT if len(cards) > 1 else Way.ONE_GPU
    layers = _layers(shape, running)
    shares = _deal(layers, [card.room or 0 for card in cards])
    needs = tuple(Bytes(sum(layer.size for layer in share) + parts.floor) for share in shares)
    short = [_why_not(card, need) for card, need in zip(cards, needs, strict=True) if not _has_room(card, need)]
    reads = [
        (sum(layer.read for layer in share), card.bandwidth_gb_s) for share, card in zip(shares, cards, strict=True)
    ]
    return Verdict(
        cards=cards,
        way=way,
        fits=not short,
        needs=needs,
        layers_on_gpu=0 if short else len(layers),
        layers=len(layers),
        reason="; ".join(short) or _why(cards, needs),
        speed=None if short else bound(reads),
    )


def _layers(shape: ModelShape, running: Running) -> list[_Layer]:
    layers = list[_Layer]()
    for block in shape.blocks:
        cache = block_cache_bytes(block, running)
        read = active_bytes(block, shape) + cache // running.parallel
        layers.append(_Layer(size=block.weights + cache, read=read))
    rest = shape.weights_on_gpu - sum(block.weights for block in shape.blocks)
    return [*layers, _Layer(size=rest, read=rest)]


def _deal(layers: Sequence[_Layer], memories: Sequence[int]) -> list[list[_Layer]]:
    """Give each card its layers: card i takes layer l when l / count lies within its share of the memory."""
    total = sum(memories) or 1
    ends = [sum_so_far / total for sum_so_far in accumulate(memories)]
    shares: list[list[_Layer]] = [[] for _ in memories]
    for place, layer in enumerate(layers):
        shares[min(bisect_right(ends, place / len(layers)), len(memories) - 1)].append(layer)
    return shares


def _most_that_fit(layers: Sequence[_Layer], room: int) -> int:
    count = 0
    for layer in reversed(layers):
        room -= layer.size
        if room < 0:
            break
        count += 1
    return count


def _has_room(card: Card, need: int) -> bool:
    return card.room is not None and need <= card.room


def _why(cards: Sequence[Card], needs: Sequence[int]) -> str:
    return "; ".join(
        f"{format_bytes(need)} of {format_bytes(card.room or 0)}" for card, need in zip(cards, needs, strict=True)
    )


def _why_not(card: Card, need: int) -> str:
    if card.room is None:
        return f"{card.name}: its memory is unknown"
    return f"{card.name}: needs {format_bytes(need)}, {format_bytes(card.room)} usable"


def _why_not_spilled(card: Card, need: int, layers: int) -> str:
    if layers or card.room is None:
        return _why_not(card, need)
    return f"{card.name}: no layer on it, the processor computes all"
