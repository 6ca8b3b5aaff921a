"""The NVIDIA GPUs of a node: facts that drivers and runtimes are chosen by, and their power limits."""

from __future__ import annotations

import re
from dataclasses import dataclass

from corral.cluster.values import Gpu, Node
from corral.hardware.catalogue import GpuModel, resolve_gpu
from corral.hardware.gpu_names import GEFORCE
from corral.hardware.makers import NVIDIA

POWER_LIMIT_UNIT = "gpu-power-limit"
"""The service that sets power limits: alerts, logs and people look for it by this name, on every system."""
PERSISTENCE_UNIT = "nvidia-persistenced.service"
"""The service of NVIDIA's driver that keeps it loaded, and with it the settings of GPUs, while they are unused."""
_SIZE = re.compile(r" \d+ ?GB$")


@dataclass(frozen=True, slots=True, kw_only=True)
class NvidiaGpu:
    """A GPU of the file that is NVIDIA's, or whose model is unknown."""

    gpu: Gpu
    model: GpuModel | None
    """None when the file names no model, or one that the catalogue does not know."""

    @property
    def name(self) -> str:
        """The usual name of its model; its place in the node when the model is unknown."""
        return self.model.name if self.model else f"GPU {self.gpu.index}"

    @property
    def capability(self) -> tuple[int, int] | None:
        """Its CUDA capability; None when it is unknown."""
        return self.model.cuda_capability if self.model else None


def list_nvidia_gpus(node: Node) -> tuple[NvidiaGpu, ...]:
    """List the GPUs of a node that are NVIDIA's, or of unknown make, in the order of the file."""
    nvidia_gpus = (NvidiaGpu(gpu=gpu, model=resolve_gpu(gpu.model, memory=gpu.memory)) for gpu in node.gpus or ())
    return tuple(
        nvidia_gpu for nvidia_gpu in nvidia_gpus if nvidia_gpu.model is None or nvidia_gpu.model.vendor == NVIDIA
    )


def list_limited_gpus(node: Node) -> tuple[NvidiaGpu, ...]:
    """List the GPUs with a power limit."""
    return tuple(nvidia_gpu for nvidia_gpu in list_nvidia_gpus(node) if nvidia_gpu.gpu.power_limit_w is not None)


def write_power_command(nvidia_gpu: NvidiaGpu) -> tuple[str, ...]:
    """Write the arguments of `nvidia-smi` that set a GPU's limit: by UUID if it is known, since an index can move."""
    return ("-i", name_for_driver(nvidia_gpu), "-pl", str(nvidia_gpu.gpu.power_limit_w))


def name_for_driver(nvidia_gpu: NvidiaGpu) -> str:
    """Name a GPU for `nvidia-smi -i`."""
    return nvidia_gpu.gpu.uuid or str(nvidia_gpu.gpu.index)


def is_geforce(model: str) -> bool:
    """Whether a GPU is a GeForce: those have no peer-to-peer access to one another (pitfall A27)."""
    return product_name(model).startswith("NVIDIA GeForce")


def product_name(model: str) -> str:
    """The name that NVIDIA's driver gives to a GPU: `NVIDIA GeForce RTX 5070 Ti`; a GeForce's has no size."""
    plain = model.removeprefix("NVIDIA ").removeprefix("GeForce ")
    if not GEFORCE.match(plain):
        return f"NVIDIA {plain}"
    return f"NVIDIA GeForce {_SIZE.sub('', plain).replace(' Mobile', ' Laptop GPU')}"
