"""Memory that goes to neither weights nor caches: constants, each with where it was found."""

from __future__ import annotations

from corral.figures import Figure, Origin

_MIB = 2**20

CUDA_CONTEXT = Figure(
    value=457 * _MIB,
    unit="B",
    origin=Origin.DECLARED,
    source="457 MiB that Ollama sets aside on a GPU for context structures (ollama/ollama ml/device.go, MinimumMemory)",
)
"""What a process takes on a GPU before it loads anything: the CUDA context, kernels, the allocator's first pool."""
