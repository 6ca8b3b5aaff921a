"""Doubts about what a cluster file declares of GPUs and supplies, compared with the catalogue.

Doubts, not errors: GPUs are rebuilt with more memory, shared with other machines (vGPU, MIG), or flashed with another
maker's limits, and then the file is right and the catalogue is not. Unknown facts are not doubted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from corral.cluster.values import Gpu, Node
from corral.hardware.catalogue import GpuModel, is_about
from corral.units import format_bytes

_LOWEST_LIMIT = 0.2
"""Share of a GPU's power. The lowest limits that drivers name are mostly a quarter to a half of it (C02); where one
goes to 10 W, the GPU does next to nothing there."""
_HIGHEST_LIMIT = 2.0
"""Share of a GPU's power: boards for overclockers go to about 1.5 of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """A declared fact that contradicts the catalogue."""

    where: str
    """`hydra-ai/gpu0 memory`."""
    what: str
    hint: str


def list_doubts(node: Node, models: Mapping[str, GpuModel]) -> tuple[Doubt, ...]:
    """List the doubts about a node; `models` by the names that the cluster file has."""
    return tuple(_find_doubts(node, models))


def doubt_limit(limit_w: float, tgp_w: float) -> str | None:
    """Return the reason to doubt a power limit; None when it is plausible."""
    if _LOWEST_LIMIT * tgp_w <= limit_w <= _HIGHEST_LIMIT * tgp_w:
        return None
    return f"{limit_w:g} W is {100 * limit_w / tgp_w:.0f} % of the {tgp_w:g} W that the GPU takes; hardly meant so"


def _find_doubts(node: Node, models: Mapping[str, GpuModel]) -> Iterator[Doubt]:
    known = [(gpu, model) for gpu in node.gpus or () if (model := models.get(gpu.model or ""))]
    for gpu, model in known:
        yield from _doubt_gpu(f"{node.name}/gpu{gpu.index}", gpu, model)
    hungriest = max((model for _, model in known), key=lambda model: model.tdp_w or 0, default=None)
    if node.psu_w is not None and hungriest is not None and node.psu_w < (hungriest.tdp_w or 0):
        yield Doubt(
            where=f"{node.name} psu.watts",
            what=f"{node.psu_w} W is less than the {hungriest.tdp_w} W that its {hungriest.name} alone takes"
            f" ({hungriest.source})",
            hint="read the rating from the label of the power supply",
        )


def _doubt_gpu(name: str, gpu: Gpu, model: GpuModel) -> Iterator[Doubt]:
    if gpu.memory is not None and model.memory and not is_about(model.memory, gpu.memory):
        yield Doubt(
            where=f"{name} memory",
            what=f"the file gives the GPU {format_bytes(gpu.memory)} of VRAM; the catalogue's {model.name} has"
            f" {format_bytes(model.memory)} ({model.source})",
            hint="the file's size counts; correct it unless the GPU was rebuilt or gives a part of its memory away",
        )
    limit = doubt_limit(gpu.power_limit_w, model.tdp_w) if gpu.power_limit_w and model.tdp_w else None
    if limit is not None:
        yield Doubt(
            where=f"{name} powerLimit",
            what=f"{limit} ({model.name}: {model.source})",
            hint=f"ask the GPU which limits it takes, or leave `powerLimit` out: it then takes {model.tdp_w} W",
        )
