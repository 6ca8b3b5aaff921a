"""The sums over the tensors of a model, whatever kind of file lists them.

Blocks are those that have tensors, not those that the file claims: a claim of 10^9 layers costs nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from corral.hardware.fit.shape import Part, Tensor
from corral.units import Bytes


def sum_part(tensors: Iterable[Tensor], part: Part) -> Bytes:
    """Add up the tensors of one part."""
    return Bytes(sum(tensor.size for tensor in tensors if tensor.part is part))


def find_usual_type(tensors: Iterable[Tensor]) -> str | None:
    """Name the type that holds most of the bytes; None without tensors."""
    sizes: defaultdict[str, int] = defaultdict(int)
    for tensor in tensors:
        sizes[tensor.type] += tensor.size
    return max(sizes, key=lambda kind: sizes[kind], default=None)


def sum_blocks(tensors: Iterable[Tensor]) -> dict[int, tuple[Bytes, Bytes]]:
    """For each block, in order: its bytes, and how many of them are experts'."""
    weights: defaultdict[int, int] = defaultdict(int)
    experts: defaultdict[int, int] = defaultdict(int)
    for tensor in tensors:
        if tensor.block is not None:
            weights[tensor.block] += tensor.size
            experts[tensor.block] += tensor.size if tensor.is_expert else 0
    return {block: (Bytes(weights[block]), Bytes(experts[block])) for block in sorted(weights)}
