"""The facts about GPUs that reading a cluster file needs of a catalogue."""

from __future__ import annotations

from typing import Protocol

from corral.units import Bytes


class GpuFacts(Protocol):
    """A catalogue's facts about one model of GPU."""

    @property
    def name(self) -> str: ...
    @property
    def memory(self) -> Bytes: ...
    @property
    def is_unified(self) -> bool: ...
    def find_memory(self, machine: int | None) -> Bytes | None: ...


class FindGpu(Protocol):
    """A catalogue of GPUs: resolves a name to one model, or to several candidates; raises CorralError when unknown."""

    def __call__(self, text: str, *, memory: int | None = None) -> GpuFacts | tuple[GpuFacts, ...]: ...
