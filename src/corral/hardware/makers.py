"""Makers of GPUs, by the models that a cluster file names."""

from __future__ import annotations

from corral.cluster.values import Gpu
from corral.hardware.catalogue import GpuModel, resolve_gpu
from corral.hardware.unlisted import APPLE

__all__ = ["AMD", "APPLE", "INTEL", "NVIDIA", "find_maker", "find_model"]

NVIDIA = "NVIDIA"
AMD = "AMD"
INTEL = "Intel"


def find_model(gpu: Gpu) -> GpuModel | None:
    """Find the model of a GPU; None where the file names none, or one that the catalogue does not know."""
    return resolve_gpu(gpu.model, memory=gpu.memory)


def find_maker(gpu: Gpu) -> str | None:
    """Find the maker of a GPU; None where its model is unknown."""
    model = find_model(gpu)
    if model is None:
        return None
    return AMD if model.vendor == "ATI" else model.vendor
