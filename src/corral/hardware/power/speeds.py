"""What power limits cost in speed, as others have measured it. Nothing is inferred from one model to another.

A limit between two measured ones costs at most what the lower of them did, since a card never gets faster by getting
less; that is what is told. Under the lowest measured limit, and for models that nobody measured, it is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from corral.figures import Figure, Origin
from corral.hardware.gpu_names import gpu_class


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """The speed of one kind of work on one model at several limits."""

    gpu_class: str
    work: str
    best: float
    """The highest speed of the sweep, in any unit."""
    speeds: Mapping[int, float]
    """By limit in W, in the unit of `best`."""
    source: str


_VLLM_SWEEP = (
    "https://github.com/Light-Heart-Labs/MMBT-Messy-Model-Bench-Tests/blob/main/"
    "hardware-tests/vllm-power-sweep-2026-04-29/findings.md"
)
SWEEPS = (
    Sweep(
        gpu_class="3090",
        work="training with TensorFlow on four GPUs",
        best=100,
        speeds={280: 95},
        source="https://www.pugetsystems.com/labs/hpc/quad-rtx3090-gpu-wattage-limited-maxq-tensorflow-performance-1974/",
    ),
    Sweep(
        gpu_class="3090",
        work="writing tokens with llama.cpp on six GPUs",
        best=72.6,
        speeds={300: 72.1, 250: 70.7, 200: 68.3, 150: 62.6, 100: 12.1},
        source="https://llmgarage.ai/power-limit-tokens-per-second-benchmark",
    ),
    Sweep(
        gpu_class="3090",
        work="reading long prompts with llama.cpp on six GPUs",
        best=9893,
        speeds={300: 9326, 250: 8436, 200: 5941, 150: 2549, 100: 1390},
        source="https://llmgarage.ai/power-limit-tokens-per-second-benchmark",
    ),
    Sweep(
        gpu_class="4090",
        work="writing tokens",
        best=100,
        speeds={315: 93.4, 270: 91.5},  # 70 % and 60 % of 450 W
        source="https://thorstenmeyerai.com/insights/undervolting-your-gpu-for-local-inference-lower-heat-same-tokens-sec/",
    ),
    Sweep(
        gpu_class="4090",
        work="games at 4K",
        best=100,
        speeds={300: 98, 268: 94},
        source="https://hardwaretimes.com/nvidia-rtx-4090-loses-almost-no-gaming-performance-at-4k-with-a-power-limit-of-300w/",
    ),
    Sweep(
        gpu_class="5060ti",
        work="writing tokens with llama.cpp",
        best=81.4,
        speeds={162: 81.4, 150: 80.4},
        source="https://inventivehq.com/blog/gpu-power-limit-tokens-per-watt",
    ),
    Sweep(
        gpu_class="pro6000blackwell",
        work="a 27B model with vLLM for 32 users at once",
        best=1382.1,
        speeds={550: 1357.9, 500: 1336.5, 450: 1382.1, 400: 1320.2, 350: 1201.5, 300: 1033.5},
        source=_VLLM_SWEEP,
    ),
    Sweep(
        gpu_class="pro6000blackwell",
        work="a 27B model with vLLM for one user",
        best=72.1,
        speeds={550: 72.1, 500: 72.1, 450: 72.0, 400: 71.3, 350: 68.6, 300: 62.6},
        source=_VLLM_SWEEP,
    ),
)


def speed_losses(model: str, limit_w: float) -> tuple[Figure, ...]:
    """List what a limit costs at most, in %, for each work that was measured on this model; empty if none was."""
    wanted = gpu_class(model)
    return tuple(loss for sweep in SWEEPS if sweep.gpu_class == wanted and (loss := _loss(sweep, limit_w)) is not None)


def _loss(sweep: Sweep, limit_w: float) -> Figure | None:
    at = max((limit for limit in sweep.speeds if limit <= limit_w), default=None)
    if at is None:
        return None
    return Figure(
        value=round(100 * (1 - sweep.speeds[at] / sweep.best), 1),
        unit="%",
        origin=Origin.DECLARED,
        source=f"{sweep.work}, measured at {at} W: {sweep.source}",
    )
