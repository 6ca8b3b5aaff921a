"""What the cluster file asks of a catalogue of GPUs; `corral.hardware.catalogue.find_gpu` answers it."""

from __future__ import annotations

from typing import Protocol

from corral.units import Bytes


class GpuFacts(Protocol):
    """What a catalogue of GPUs says about one model."""

    @property
    def name(self) -> str: ...
    @property
    def memory(self) -> Bytes: ...


class FindGpu(Protocol):
    """A catalogue of GPUs: resolves a name to one model, or to several candidates; raises CorralError when unknown."""

    def __call__(self, text: str, *, memory: int | None = None) -> GpuFacts | tuple[GpuFacts, ...]: ...
