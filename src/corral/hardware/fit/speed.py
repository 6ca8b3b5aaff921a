"""How fast a model can write at most, and what it costs that cards are joined by PCIe alone.

Writing one token reads every weight that takes part in it, and the cache, once. So tokens per second <= bandwidth /
bytes read (the memory-bound regime of the roofline model, Williams, Waterman, Patterson, CACM 52(4), 2009). Computing,
sampling and launching kernels come on top: a bound, not a forecast. Parts of a split work one after the other on a
token, so their times add up.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from corral.figures import Figure, computed
from corral.hardware.fit.shape import Block, ModelShape
from corral.units import format_bytes

_BUS = re.compile(r"PCIe (\d)\.0 x(\d+)")
_LANE_GB_S: Mapping[int, float] = MappingProxyType(
    {1: 2.5 * 8 / 10 / 8, 2: 5 * 8 / 10 / 8, 3: 8 * 128 / 130 / 8, 4: 16 * 128 / 130 / 8, 5: 32 * 128 / 130 / 8}
)
"""10^9 bytes per second of one lane and direction, by generation: transfers per second x encoding / 8 bits, as the PCI
Express specifications define them (8b/10b up to 2.0, 128b/130b from 3.0)."""
_FLOAT = 4
_REDUCTIONS_PER_LAYER = 2
"""A split inside layers adds up results after attention and after the feed-forward step."""


def active_bytes(block: Block, shape: ModelShape) -> int:
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


def bus_bandwidth(bus: str | None) -> float | None:
    """Say how many 10^9 bytes per second go one way over a card's bus (`PCIe 5.0 x16`); None when it is not known."""
    match = _BUS.search(bus or "")
    lane = None if match is None else _LANE_GB_S.get(int(match[1]))
    return None if match is None or lane is None else lane * int(match[2])


def layer_split_bytes(shape: ModelShape, gpus: int) -> int | None:
    """Bytes per token that cross the bus when whole layers are split: one vector at each boundary."""
    return None if shape.embedding_length is None else shape.embedding_length * _FLOAT * (gpus - 1)


def tensor_split_bytes(shape: ModelShape, gpus: int) -> int | None:
    """Bytes per token that each card sends when every layer is split: a ring all-reduce, 2 (n - 1) / n of a vector."""
    if shape.embedding_length is None or gpus < 1:
        return None
    vectors = _REDUCTIONS_PER_LAYER * len(shape.blocks)
    return round(vectors * shape.embedding_length * _FLOAT * 2 * (gpus - 1) / gpus)
