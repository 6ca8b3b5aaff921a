"""Checks the usual rule of thumb for splits: "33B at 4 bits needs about 16 GB per GPU"."""

from __future__ import annotations

from dataclasses import dataclass

from corral.figures import Figure, computed
from corral.hardware.fit.cache import cache_bytes
from corral.hardware.fit.likeness import shape_like
from corral.hardware.fit.parts import parts_of
from corral.hardware.fit.quantizations import BITS, BITS_SOURCE
from corral.hardware.fit.running import Running
from corral.units import format_bytes

_GIB = 2**30


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitClaim:
    """What a model of so many parameters takes on each card of an even split."""

    weights: Figure
    cache: Figure
    per_gpu: Figure
    spare: Figure | None
    """What is left of each card's memory, where that was given."""
    tokens_that_fit: Figure | None
    """The context that would fill the cards."""


def split_claim(
    parameters: int, bits: float, gpus: int, *, running: Running | None = None, memory: int | None = None
) -> SplitClaim:
    """Compute what each of so many equal cards holds of a model; `bits` per weight, `memory` of one card in bytes.

    >>> round(split_claim(33 * 10**9, BITS["Q4_K_M"], 2).per_gpu.value / 2**30, 1)
    10.4
    """
    how = running or Running()
    source = f"{parameters / 1e9:g}B parameters x {bits:g} bits ({BITS_SOURCE})"
    shape = shape_like("claim", parameters=parameters, bits=bits, quantization=f"{bits:g} bits", source=source)
    parts = parts_of(shape, how)
    cache = cache_bytes(shape, how) or 0
    per_gpu = (parts.divisible / gpus) + parts.floor
    told = f"({format_bytes(round(parts.weights.value))} weights + {format_bytes(cache)} KV cache) / {gpus}"
    spare = None if memory is None else memory - per_gpu
    per_token = cache / (how.context * how.parallel)
    return SplitClaim(
        weights=parts.weights,
        cache=computed(cache, "B", parts.cache.source if parts.cache else ""),
        per_gpu=computed(per_gpu, "B", f"{told} + {format_bytes(parts.floor)} on each for CUDA context and buffers"),
        spare=None
        if spare is None
        else computed(spare, "B", f"{format_bytes(memory or 0)} - {per_gpu / _GIB:.1f} GiB"),
        tokens_that_fit=None if spare is None else _tokens(spare, gpus, per_token, how),
    )


def _tokens(spare: float, gpus: int, per_token: float, running: Running) -> Figure:
    tokens = max(0, int(running.context + spare * gpus / per_token))
    formula = f"{running.context} + {gpus} x {spare / _GIB:.1f} GiB / {format_bytes(round(per_token))} per token"
    return computed(tokens, "tokens", formula)


USUAL_BITS = BITS["Q4_K_M"]
"""What people call 4 bits: Q4_K_M."""
