"""The machines that a test asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MIB = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedGpu:
    """A GPU, as NVIDIA's programs for Kubernetes describe it."""

    product: str
    memory_mib: int
    """As `nvidia-smi` reports it."""
    capability: str
    architecture: str


RTX_3060 = SimulatedGpu(product="NVIDIA GeForce RTX 3060", memory_mib=12288, capability="8.6", architecture="Ampere")
RTX_3090 = SimulatedGpu(product="NVIDIA GeForce RTX 3090", memory_mib=24576, capability="8.6", architecture="Ampere")
RTX_3090_TI = SimulatedGpu(
    product="NVIDIA GeForce RTX 3090 Ti", memory_mib=24564, capability="8.6", architecture="Ampere"
)
RTX_4080 = SimulatedGpu(
    product="NVIDIA GeForce RTX 4080", memory_mib=16376, capability="8.9", architecture="Ada Lovelace"
)
RTX_4090 = SimulatedGpu(
    product="NVIDIA GeForce RTX 4090", memory_mib=24564, capability="8.9", architecture="Ada Lovelace"
)
RTX_5070_TI = SimulatedGpu(
    product="NVIDIA GeForce RTX 5070 Ti", memory_mib=16303, capability="12.0", architecture="Blackwell"
)
RTX_5080 = SimulatedGpu(
    product="NVIDIA GeForce RTX 5080", memory_mib=16303, capability="12.0", architecture="Blackwell"
)
RTX_5090 = SimulatedGpu(
    product="NVIDIA GeForce RTX 5090", memory_mib=32607, capability="12.0", architecture="Blackwell"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedNode:
    """A node of Kubernetes."""

    name: str
    gpus: Sequence[SimulatedGpu] = ()
    gpu_mode: str = "device-plugin"
    """device-plugin, dra, or none (no driver of Kubernetes is there)."""
    has_discovery: bool = False
    """Whether GPU feature discovery has labelled it."""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    taints: Sequence[Mapping[str, str]] = ()
    cpus: int = 16
    memory: str = "64Gi"
    storage: str = "500Gi"
    runtimes: Sequence[str] = ("nvidia",)
    """Handlers of runtime classes that its container runtime has."""
    images: Sequence[str] = ()
    """Images that it has before anything is pulled."""
