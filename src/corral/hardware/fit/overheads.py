"""Memory that goes to neither weights nor caches: constants, each with where it was found."""

from __future__ import annotations

from corral.figures import Figure, Origin
from corral.units import Bytes

_MIB = 2**20

CUDA_CONTEXT = Figure(
    value=457 * _MIB,
    unit="B",
    origin=Origin.DECLARED,
    source="457 MiB that Ollama sets aside on a GPU for context structures (ollama/ollama ml/device.go, MinimumMemory)",
)
"""What a process takes on a GPU before it loads anything: the CUDA context, kernels, the allocator's first pool."""

GPU_RESERVE = 512 * _MIB
"""Bytes of every card that no program gets.

A card reports less than its nominal size (an RTX 4090 24,564 of 24,576 MiB, an RTX 5070 Ti 16,303 of 16,384), and
the driver keeps a part of that for itself (`Reserved` in `nvidia-smi -q -d MEMORY`: some 200 to 500 MiB by card and
driver). The CUDA context of a program is not in this: it is part of what the program needs.
"""


def usable(memory: Bytes) -> Bytes:
    """Say how much of a card of so many bytes programs get."""
    return Bytes(max(0, memory - GPU_RESERVE))
