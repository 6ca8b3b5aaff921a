"""Every model of the catalogue: a universe for properties of names. The product looks models up one by one."""

from __future__ import annotations

from corral.hardware.catalogue import GpuModel, _load_index  # no caller of the product asks for all of them


def every_model() -> tuple[GpuModel, ...]:
    """List the whole catalogue, in its order."""
    return _load_index("").models


def find_in_all(text: str) -> tuple[GpuModel, ...]:
    """Look a name up among all models, without narrowing them down first."""
    return _load_index("").find(text)
