"""Makers of GPUs, by the models that a cluster file names, and the resources by which Kubernetes gives those out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from corral.cluster.values import Gpu
from corral.hardware.catalogue import GpuModel, resolve_gpu
from corral.hardware.unlisted import APPLE

__all__ = ["AMD", "APPLE", "INTEL", "NVIDIA", "RESOURCES", "find_maker", "find_model", "find_resource"]

NVIDIA = "NVIDIA"
AMD = "AMD"
INTEL = "Intel"
RESOURCES: Mapping[str, tuple[str, ...]] = {
    NVIDIA: ("nvidia.com/gpu",),
    AMD: ("amd.com/gpu",),
    INTEL: ("gpu.intel.com/i915", "gpu.intel.com/xe"),
    APPLE: (),
}
"""By maker, as their device plugins name them; empty where no container gets such a GPU."""
_XE_DRIVER = re.compile(r"Xe2|Xe3")
"""Architectures that Linux drives with `xe` instead of `i915`: Battlemage, Lunar Lake and later (kernel 6.12)."""


def find_model(gpu: Gpu) -> GpuModel | None:
    """Find the model of a GPU; None where the file names none, or one that the catalogue does not know."""
    return resolve_gpu(gpu.model, memory=gpu.memory)


def find_maker(gpu: Gpu) -> str | None:
    """Find the maker of a GPU; None where its model is unknown."""
    model = find_model(gpu)
    if model is None:
        return None
    return AMD if model.vendor == "ATI" else model.vendor


def find_resource(gpus: Iterable[Gpu]) -> str | None:
    """Find the resource by which Kubernetes gives out these GPUs; None where no plugin does (a Mac's).

    GPUs of unknown model are taken for NVIDIA's.
    """
    for gpu in gpus:
        model = find_model(gpu)
        resources = RESOURCES.get(find_maker(gpu) or NVIDIA, ())
        if model is None or len(resources) < 2:
            return resources[0] if resources else None
        return resources[bool(_XE_DRIVER.search(model.architecture or ""))]
    return RESOURCES[NVIDIA][0]
