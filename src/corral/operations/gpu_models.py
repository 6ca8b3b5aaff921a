"""Looks up GPU models in the catalogue."""

from __future__ import annotations

from dataclasses import dataclass, fields

from corral.hardware.catalogue import GpuModel, find_gpu, find_one_gpu
from corral.hardware.pools import name_class


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedGpu(GpuModel):
    """A model of the catalogue; null is unknown to the catalogue."""

    gpu_class: str
    """The name that labels and pools have for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuModels:
    """The models that a name can stand for."""

    items: tuple[ListedGpu, ...]


def find_models(name: str) -> GpuModels:
    """List the models that a name can stand for. Raises: UnknownGpuError."""
    matching = find_gpu(name)
    models = matching if isinstance(matching, tuple) else (matching,)
    return GpuModels(items=tuple(_list_model(model) for model in models))


def show_model(name: str) -> ListedGpu:
    """Return the one model that a name stands for. Raises: UnknownGpuError, AmbiguousGpuError."""
    return _list_model(find_one_gpu(name))


def _list_model(model: GpuModel) -> ListedGpu:
    facts = {field.name: getattr(model, field.name) for field in fields(model)}
    return ListedGpu(**facts, gpu_class=name_class(model.name))
