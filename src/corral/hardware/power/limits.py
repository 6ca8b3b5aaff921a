"""Power limits: whether a GPU accepts one, when to set one, and the speed that it costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from corral.figures import Figure, Origin
from corral.hardware.doubts import doubt_limit
from corral.hardware.gpu_names import name_class
from corral.hardware.makers import NVIDIA
from corral.hardware.power.values import GpuPower, Judgement, Verdict

ADVISED_SHARE = 5 / 6
"""The limit that is advised, as a share of a GPU's power: 250 W of 300 W.

Low enough to matter, and high enough that GPUs take it: the lowest limit of an RTX 5060 Ti is 150 W of its 180 W.
Four RTX 3090 kept over 95 % of their training speed at 280 W of 350 W, which is less (Puget Systems).
"""
HOT_GPU_W = 300
"""Two GPUs from this power on in one case heat each other; below, the usual two-slot coolers cope."""
_STEP_W = 5
_SEEN_MINIMUM: Mapping[str, tuple[int, str]] = {
    "5060ti": (150, "https://github.com/b00nz/mVolt/issues/39"),
    "3070ti": (100, "https://github.com/olafkfreund/nixos_config/pull/1396"),
    "3060": (100, "https://github.com/olafkfreund/nixos_config/pull/1396"),
}
"""The lowest reported limit of a board of this class; another maker's board can differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRange:
    """The limits that one GPU accepts, as its driver reports them (`nvidia-smi -q -d POWER`)."""

    minimum_w: float
    maximum_w: float
    source: str = "NVML"


def advise_limit(tgp_w: float) -> int:
    """Advise a limit for a GPU: five sixths of its power, to the next 5 W above."""
    return _STEP_W * -(-round(tgp_w * ADVISED_SHARE) // _STEP_W)


def check(gpu: GpuPower, known: LimitRange | None) -> Judgement | None:
    """Judge whether a GPU accepts the limit of the file; None without a limit.

    Without the driver's answer the maximum is unknown too: a GPU's power is only its default limit, and many go higher.
    """
    if gpu.limit is None:
        return None
    verdict, what, reason = _judge_known(gpu.limit.value, known) if known else _judge_unknown(gpu, gpu.limit.value)
    return Judgement(about=f"power limit of GPU {gpu.index}", verdict=verdict, what=what, reason=reason)


def _judge_known(limit_w: float, known: LimitRange) -> tuple[Verdict, str, str]:
    span = f"{known.minimum_w:g} W to {known.maximum_w:g} W"
    if known.minimum_w <= limit_w <= known.maximum_w:
        return Verdict.OK, f"{limit_w:g} W is within what the GPU takes, {span}", known.source
    return (
        Verdict.NOT_ENOUGH,
        f"{limit_w:g} W is outside what the GPU takes, {span}; it refuses it (C02)",
        known.source,
    )


def _judge_unknown(gpu: GpuPower, limit_w: float) -> tuple[Verdict, str, str]:
    is_nvidia = gpu.vendor == NVIDIA
    ask = f"ask the GPU: `nvidia-smi -i {gpu.index} -q -d POWER`" if is_nvidia else "ask the GPU's driver"
    seen = _SEEN_MINIMUM.get(name_class(gpu.model or ""))
    if seen is not None and limit_w < seen[0]:
        return (
            Verdict.TIGHT,
            f"{limit_w:g} W is under the {seen[0]} W that a GPU of this model takes at least",
            seen[1],
        )
    if gpu.tgp is None:
        return Verdict.UNKNOWN, f"{limit_w:g} W: which limits the GPU takes is not known", ask
    doubt = doubt_limit(limit_w, gpu.tgp.value)
    if doubt is not None:
        return Verdict.TIGHT, doubt, gpu.tgp.source
    if limit_w > gpu.tgp.value:
        what = f"{limit_w:g} W is over its default limit of {gpu.tgp.value:g} W; whether it goes higher is not known"
        return Verdict.UNKNOWN, what, ask
    what = f"{limit_w:g} W of {gpu.tgp.value:g} W; the lowest limit that the GPU takes is not known"
    return Verdict.UNKNOWN, what, ask


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


def list_speed_losses(model: str, limit_w: float) -> tuple[Figure, ...]:
    """List what a limit costs at most, in %, for each work that was measured on this model; empty if none was."""
    wanted = name_class(model)
    return tuple(
        loss for sweep in SWEEPS if sweep.gpu_class == wanted and (loss := _make_loss(sweep, limit_w)) is not None
    )


def _make_loss(sweep: Sweep, limit_w: float) -> Figure | None:
    at = max((limit for limit in sweep.speeds if limit <= limit_w), default=None)
    if at is None:
        return None
    return Figure(
        value=round(100 * (1 - sweep.speeds[at] / sweep.best), 1),
        unit="%",
        origin=Origin.DECLARED,
        source=f"{sweep.work}, measured at {at} W: {sweep.source}",
    )
